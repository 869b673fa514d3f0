"""Scrubbing one group: everybody digests at a barrier, whoever differs is located to the item, healed, looked at again.

The one procedure for all who scrub: the leader's node in the background, the controller on demand and after a run, on
real clusters and simulated ones. It knows nodes only by what it may call on them (:class:`Calls`).

Locating takes a second barrier: the first tells the range of keys, replicas are then asked to keep that range's rows at
the next one, and so the first differing item is found at one exact position even under load.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from cluster.core import scrub
from cluster.node.reference import Reference
from cluster.store.digest import Digest, leaf_range

CALL_S = 2.0
DIGEST_S = 20.0
HEAL_S = 60.0
HEAL_LOOK_S = 0.5
HEAL_LOOK_MAX_S = 4.0
"""Between looks at a group that is being healed, doubling: each look is a barrier, and ends an archived segment."""


class Calls(Protocol):
    """What scrubbing needs of the world. ``call`` raises whatever it likes where there is no answer."""

    async def call(self, node: str, method: str, params: Any, timeout_s: float) -> Any: ...

    async def sleep(self, seconds: float) -> None: ...

    def now(self) -> float: ...


Rebuild = Callable[[int], Awaitable[Reference]]
"""The group's rows at a position, from the archive."""


@dataclass(slots=True)
class Answer:
    """What one replica says it held at the barrier, or why it said nothing."""

    node: str
    digest: str | None = None
    items: int = 0
    bytes: int = 0
    error: str | None = None


@dataclass(slots=True)
class Difference:
    """A replica that is not what it should be: the range of keys, and the first item in it that differs."""

    node: str
    slot: int
    start: bytes = b""
    end: bytes = b""
    key: bytes | None = None
    what: str = ""
    healed_s: float | None = None
    """Seconds from the finding until a later barrier showed it equal; None while that has not happened."""


@dataclass(slots=True)
class Scrubbed:
    """One group's result."""

    group: str
    slot: int = 0
    answers: list[Answer] = field(default_factory=list)
    reference: Digest | None = None
    problems: list[str] = field(default_factory=list)
    """Why the reference proves nothing, or what is wrong with the archive."""
    segments: int = 0
    archived_bytes: int = 0
    bridged: list[tuple[int, int]] = field(default_factory=list)
    damaged_objects: list[str] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    unsettled: bool = False
    """Replicas differ, and nobody can say who is right."""
    error: str | None = None


async def scrub_group(
    calls: Calls,
    group: str,
    leader: str,
    members: Sequence[str],
    rebuild: Rebuild | None = None,
    *,
    heal: bool = False,
    found: Callable[[Difference], None] = lambda difference: None,
) -> Scrubbed:
    """Scrub a group once. ``members`` are the nodes of its voters and learners; ``rebuild`` gives the reference.

    ``found`` is told of each difference as soon as it is located, before anything is healed.
    """
    result = Scrubbed(group)
    try:
        slot = await _barrier(calls, group, leader, members)
    except Exception as error:
        result.error = f"no barrier: {error}"
        return result
    result.slot = slot
    result.answers = [await _digest(calls, group, node, slot) for node in members]
    digests = {answer.node: answer.digest for answer in result.answers if answer.digest is not None}
    right = None
    if rebuild is not None:
        right = await _reference(result, rebuild, slot)
    agreement = scrub.judge(digests, len(members), right)
    if not agreement.bad:
        return result
    if agreement.digest is None:
        result.unsettled = True
        return result
    await _locate(calls, result, leader, members, agreement, rebuild)
    for difference in result.differences:
        found(difference)
    if heal and agreement.good:
        await _heal(calls, result, leader, members, agreement)
    return result


async def _barrier(calls: Calls, group: str, leader: str, members: Sequence[str]) -> int:
    """A barrier's slot, from whoever leads by now."""
    refusal: Exception | None = None
    for node in dict.fromkeys((leader, *members)):
        try:
            return int((await calls.call(node, "barrier", {"group": group}, CALL_S))["slot"])
        except Exception as error:
            refusal = refusal or error
    raise refusal if refusal is not None else LookupError("the group has no members")


async def _digest(calls: Calls, group: str, node: str, slot: int) -> Answer:
    params = {"group": group, "slot": slot, "timeout_s": DIGEST_S - 1.0}
    try:
        said: Mapping[str, Any] = await calls.call(node, "digest", params, DIGEST_S)
    except Exception as error:
        return Answer(node, error=str(error) or type(error).__name__)
    if int(said.get("slot", slot)) != slot:
        return Answer(node, error=f"it answered for slot {said['slot']}, not {slot}")
    return Answer(node, str(said["digest"]), int(said.get("items", 0)), int(said.get("bytes", 0)))


async def _reference(result: Scrubbed, rebuild: Rebuild, slot: int) -> str | None:
    """The reference's digest, where the archive is whole enough to have one."""
    try:
        copy = await rebuild(slot)
    except Exception as error:
        result.problems.append(f"the archive cannot be read: {error}")
        return None
    result.problems += copy.problems
    result.damaged_objects += copy.damaged
    result.segments, result.archived_bytes, result.bridged = copy.segments, copy.bytes, copy.bridged
    if copy.problems:
        return None
    result.reference = copy.digest()
    return result.reference.digest


async def _locate(
    calls: Calls,
    result: Scrubbed,
    leader: str,
    members: Sequence[str],
    agreement: scrub.Agreement,
    rebuild: Rebuild | None,
) -> None:
    """Range by range, then row by row, for every replica that differs; what cannot be located is still told."""
    group = result.group
    for node in agreement.bad:
        difference = Difference(node, result.slot)
        result.differences.append(difference)
        try:
            if agreement.good:
                right = await _leaves(calls, group, agreement.good[0], result.slot)
            else:
                assert result.reference is not None
                right = result.reference.leaves
            leaf = scrub.first_leaf(right, await _leaves(calls, group, node, result.slot))
            if leaf is None:
                continue
            difference.start, difference.end = leaf_range(leaf)
            await _first_item(calls, group, leader, members, difference, leaf, agreement, rebuild)
        except Exception as error:
            difference.what = difference.what or f"not located: {error}"


async def _first_item(
    calls: Calls,
    group: str,
    leader: str,
    members: Sequence[str],
    difference: Difference,
    leaf: int,
    agreement: scrub.Agreement,
    rebuild: Rebuild | None,
) -> None:
    asked = [difference.node, *agreement.good[:1]]
    for node in asked:
        await calls.call(node, "scrub-watch", {"group": group, "leaf": leaf}, CALL_S)
    slot = await _barrier(calls, group, leader, members)
    rows = {}
    for node in asked:
        await _digest(calls, group, node, slot)
        rows[node] = [
            (key, value) for key, value in await calls.call(node, "scrub-rows", {"group": group, "slot": slot}, CALL_S)
        ]
    if agreement.good:
        right = rows[agreement.good[0]]
    else:
        assert rebuild is not None
        right = (await rebuild(slot)).digest(leaf).rows
    first = scrub.first_row(right, rows[difference.node])
    if first is not None:
        difference.key, difference.what, difference.slot = first.key, first.what, slot


async def _leaves(calls: Calls, group: str, node: str, slot: int) -> dict[int, bytes]:
    said = await calls.call(node, "scrub-leaves", {"group": group, "slot": slot}, CALL_S)
    return {int(leaf): value for leaf, value in said}


async def _heal(
    calls: Calls, result: Scrubbed, leader: str, members: Sequence[str], agreement: scrub.Agreement
) -> None:
    """Have every replica that differs rebuilt from those that agree, and see that it helped."""
    group, began = result.group, calls.now()
    for difference in result.differences:
        why = f"the scrub at slot {result.slot} found it to differ"
        params = {"group": group, "why": why, "sources": list(agreement.good)}
        try:
            await calls.call(difference.node, "rebuild-replica", params, CALL_S)
        except Exception as error:
            difference.what += f"; not healed: {error}"
    pause_s = HEAL_LOOK_S
    while calls.now() - began < HEAL_S and any(d.healed_s is None for d in result.differences):
        await calls.sleep(pause_s)
        pause_s = min(2 * pause_s, HEAL_LOOK_MAX_S)
        try:
            slot = await _barrier(calls, group, leader, members)
        except Exception:
            continue
        said = {node: (await _digest(calls, group, node, slot)).digest for node in members}
        settled = scrub.judge({n: d for n, d in said.items() if d is not None}, len(members))
        for difference in result.differences:
            if difference.node in settled.good and difference.healed_s is None:
                difference.healed_s = calls.now() - began
