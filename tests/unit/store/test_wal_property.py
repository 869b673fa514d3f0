"""One random damage to one random log, judged against an oracle that saw everything being written.

The verdict may be too strict (a group is quarantined that lost nothing) but never too lax, and where it can be exact it
is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cluster.store.batch import ALIGN_BYTES, ENTRY, HARD_STATE, HEADER, parse
from cluster.store.memory import MemoryDisk
from cluster.store.recovery import STATE_NAME, Recovery, Verdict, segment_number
from cluster.store.wal import Wal

STORE = 77
GROUPS = ["g0", "g1", "g2", "g3"]


@dataclass
class Oracle:
    """What a log should hold, by group; ``begin`` and ``trim`` make earlier records void."""

    disk: MemoryDisk = field(default_factory=MemoryDisk)
    lives: int = 0
    live: dict[str, list[tuple[int, bytes]]] = field(default_factory=dict)
    next_slot: int = 0

    def open(self) -> tuple[Wal, Recovery]:
        self.lives += 1
        return Wal.open(
            self.disk.log,
            store_id=STORE,
            incarnation=self.lives,
            fresh=self.lives == 1,
            segment_bytes=4 * ALIGN_BYTES,
        )

    async def live_once(self, rng: Random) -> None:
        """A life of random appends, new chains, restatements and trims; everything is synced and marked at its end."""
        wal, recovery = self.open()
        assert recovery.damage == []
        assert self.missing(recovery) == set()
        wal.restate_with(lambda: [(group, b"state of " + group.encode()) for group in self.live])
        for _ in range(rng.randrange(1, 25)):
            for _ in range(rng.randrange(1, 5)):
                group = rng.choice(GROUPS)
                if rng.random() < 0.05:
                    wal.begin(group)
                    self.live[group] = []
                body = rng.randbytes(rng.choice((0, 20, 900, 5000)))
                wal.append(group, self.next_slot, body)
                self.live.setdefault(group, []).append((self.next_slot, body))
                self.next_slot += 1
            await wal.sync()
            if rng.random() < 0.1:
                lowest = max(0, self.next_slot - rng.randrange(40))
                await wal.trim(lambda _, lowest=lowest: lowest)
                self.live = {g: [r for r in records if r[0] >= lowest] for g, records in self.live.items()}
        await wal.mark()

    def missing(self, recovery: Recovery) -> set[str]:
        """Groups that lack a live record; fails if one came back altered or out of order."""
        found = recovery.by_group()
        lacking = set()
        for group, records in self.live.items():
            there = [(r.slot, r.body) for r in found.get(group, []) if r.slot != HARD_STATE]
            assert [slot for slot, _ in there] == sorted(slot for slot, _ in there)
            if not recovery.quarantined(group):
                wanted = [record for record in there if record in records]
                if wanted != records:
                    lacking.add(group)
        return lacking


def damage(disk: MemoryDisk, rng: Random) -> tuple[str, str, int]:
    """Hurt one file; returns (kind, file, offset)."""
    names = disk.log.list()
    name = rng.choice(names)
    data = bytearray(disk.log.contents[name].data)
    kind = rng.choice(["flip", "flip", "flip", "truncate", "remove", "zero block", "copy block"])
    offset = rng.randrange(len(data)) if data else 0
    if kind == "remove" or not data:
        disk.log.remove(name)
        return "remove", name, 0
    block = offset // ALIGN_BYTES * ALIGN_BYTES
    if kind == "flip":
        if rng.random() < 0.5:
            offset = min(len(data) - 1, block + rng.randrange(HEADER.size + 60))
        data[offset] ^= 1 << rng.randrange(8)
    elif kind == "truncate":
        del data[offset:]
    elif kind == "zero block":
        data[block : block + ALIGN_BYTES] = bytes(len(data[block : block + ALIGN_BYTES]))
    else:
        source = rng.randrange(len(data)) // ALIGN_BYTES * ALIGN_BYTES
        data[block : block + ALIGN_BYTES] = data[source : source + ALIGN_BYTES]
        if source == block:
            kind = "nothing"
    disk.log.contents[name].replace(bytes(data))
    return kind, name, offset


@settings(max_examples=100)
@example(1505)  # a chain that began within the lost segment and went on after it
@given(seed=st.integers(0, 2**32))
def test_one_damage_is_never_missed_and_never_lets_a_group_vote_that_lost_something(seed: int) -> None:
    judge(seed)


@pytest.mark.parametrize(
    ("method", "lax"),
    [
        ("quarantined", lambda verdict, group: group in verdict.broken),
        ("quarantined", lambda verdict, group: verdict.unproven and group not in verdict.sound),
    ],
)
def test_the_oracle_catches_a_verdict_that_is_too_lax(
    method: str, lax: Callable[[Verdict, str], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Verdict, method, lax)
    caught = 0
    for seed in range(40):
        try:
            judge(seed)
        except AssertionError as error:
            caught += "may still vote" in str(error)
    assert caught


def judge(seed: int) -> None:
    """Write a log, hurt it, recover it, and compare with the oracle."""
    rng = Random(seed)
    oracle = Oracle()
    for _ in range(rng.randrange(1, 4)):
        asyncio.run(oracle.live_once(rng))
        oracle.disk.crash(rng)
    empty = {name for name in oracle.disk.log.list() if not oracle.disk.log.contents[name].data}
    before = {name: bytes(content.data) for name, content in oracle.disk.log.contents.items()}
    kind, name, offset = damage(oracle.disk, rng)
    _, recovery = oracle.open()
    assert oracle.missing(recovery) == set(), f"{kind} at {name}:{offset}: a group that lost records may still vote"
    if kind == "nothing" or name in empty:
        assert recovery.damage == []
        return
    assert recovery.damage, f"{kind} at {name}:{offset} went unnoticed"
    if name == STATE_NAME:
        assert not recovery.lost_votes
        assert not any(recovery.quarantined(group) for group in GROUPS)
    else:
        assert recovery.lost_votes
    if kind == "flip" and name != STATE_NAME:
        assert_exact_where_it_can_be(recovery, before[name], name, offset)


def assert_exact_where_it_can_be(recovery: Recovery, original: bytes, name: str, offset: int) -> None:
    """A flip within a batch's bodies quarantines only groups that had records in that batch."""
    number = segment_number(name)
    assert number is not None
    at = 0
    while (batch := parse(original, at, STORE, number)) is not None and batch.end <= offset:
        at = batch.end
    assert batch is not None
    groups = {record.group for record in batch.records}
    directory = sum(ENTRY.size + len(group.encode()) for group in (record.group for record in batch.records))
    if offset >= at + HEADER.size + directory:
        assert {group for group in GROUPS if recovery.quarantined(group)} <= groups
