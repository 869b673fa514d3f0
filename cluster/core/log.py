"""The part of a replica's log that is in memory: a gapless run of entries above a base, and the configurations in it.

Everything at or below the base was decided and trimmed; of it only the base's ballot and configuration are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cluster.core import config as configuration
from cluster.core.ballot import Ballot
from cluster.core.config import Configuration
from cluster.core.failures import ProtocolBroken
from cluster.core.messages import CONFIG, Accepted, Entry

ENTRY_OVERHEAD_BYTES = 64
"""What an entry weighs beside its payload, in the limits on bytes; rough, but no entry may weigh nothing."""


class Log:
    """Slots ``base_slot + 1 .. last_slot``. Reading at the base itself gives its ballot and configuration, no entry."""

    __slots__ = (
        "_configs", "_entries", "base_ballot", "base_config", "base_slot", "config", "config_slot", "last_slot",
    )  # fmt: skip

    def __init__(self, base_slot: int, base_ballot: Ballot, base_config: Configuration) -> None:
        self._entries: list[Entry] = []
        self.reset(base_slot, base_ballot, base_config)

    def reset(self, base_slot: int, base_ballot: Ballot, base_config: Configuration) -> None:
        """Forget everything and begin above ``base_slot``."""
        self.base_slot = base_slot
        self.base_ballot = base_ballot
        self.base_config = base_config
        self.last_slot = base_slot
        self._entries.clear()
        self._configs: list[tuple[int, Configuration]] = []
        self._note_config()

    @property
    def last_ballot(self) -> Ballot:
        return self._entries[-1].ballot if self._entries else self.base_ballot

    @property
    def end(self) -> tuple[Ballot, int]:
        """What logs are compared by: of two, the one with the greater end holds everything that can have been
        decided."""
        return self.last_ballot, self.last_slot

    def entry(self, slot: int) -> Entry:
        return self._entries[slot - self.base_slot - 1]

    def ballot_at(self, slot: int) -> Ballot:
        """The ballot of a slot from the base to the end."""
        return self.base_ballot if slot == self.base_slot else self._entries[slot - self.base_slot - 1].ballot

    def holds(self, slot: int, ballot: Ballot) -> bool:
        """Whether the entry identified by (slot, ballot) is here: then so is everything before it, as its leader had
        it."""
        return self.base_slot <= slot <= self.last_slot and self.ballot_at(slot) == ballot

    def config_at(self, slot: int) -> Configuration:
        """The newest configuration at or below a slot."""
        found = self.base_config
        for at, config in self._configs:
            if at > slot:
                break
            found = config
        return found

    def slice(self, first: int, last: int) -> list[Entry]:
        """Entries ``first .. last``, both included; they must be there."""
        return self._entries[first - self.base_slot - 1 : last - self.base_slot]

    def chunk(self, first: int, bytes_max: int) -> tuple[Entry, ...]:
        """Entries from ``first`` on, as many as fit, but at least one."""
        entries = self._entries
        start = first - self.base_slot - 1
        end, size, total = start, 0, len(entries)
        while end < total:
            size += len(entries[end].payload) + ENTRY_OVERHEAD_BYTES
            if size > bytes_max and end > start:
                break
            end += 1
        return tuple(entries[start:end])

    def append(self, entry: Entry) -> None:
        if entry.slot != self.last_slot + 1:
            raise ProtocolBroken(f"slot {entry.slot} appended after slot {self.last_slot}")
        if entry.ballot < self.last_ballot:
            raise ProtocolBroken(f"ballots fall from {self.last_ballot} to {entry.ballot} at slot {entry.slot}")
        self._entries.append(entry)
        self.last_slot = entry.slot
        if entry.kind == CONFIG:
            self._configs.append((entry.slot, configuration.decode(entry.payload)))
            self._note_config()

    def truncate(self, first: int) -> None:
        """Drop ``first`` and everything above."""
        if first <= self.base_slot:
            raise ProtocolBroken(f"slot {first} is decided and trimmed (base {self.base_slot}); it cannot be truncated")
        if first > self.last_slot:
            return
        del self._entries[first - self.base_slot - 1 :]
        self.last_slot = first - 1
        if self._configs and self._configs[-1][0] >= first:
            self._configs = [(slot, config) for slot, config in self._configs if slot < first]
            self._note_config()

    def trim(self, slot: int) -> None:
        """Drop everything up to ``slot``, which becomes the base."""
        if not self.base_slot <= slot <= self.last_slot:
            raise ProtocolBroken(f"cannot trim to slot {slot}: the log holds {self.base_slot} to {self.last_slot}")
        ballot, config = self.ballot_at(slot), self.config_at(slot)
        del self._entries[: slot - self.base_slot]
        self.base_slot, self.base_ballot, self.base_config = slot, ballot, config
        self._configs = [(at, config) for at, config in self._configs if at > slot]
        self._note_config()

    def install(self, slot: int, config: Configuration, ballot: Ballot) -> None:
        """Begin above a snapshot at ``slot``. Where the entry there is the snapshot's, what follows it here is kept:
        it goes on from this history and votes for it may have counted. Otherwise it is of another history, which was
        not decided."""
        if self.holds(slot, ballot):
            self.trim(slot)
        else:
            self.reset(slot, ballot, config)

    def records(self) -> Iterable[Accepted]:
        """Records that restore the entries."""
        return (Accepted(entry) for entry in self._entries)

    def _note_config(self) -> None:
        self.config_slot, self.config = self._configs[-1] if self._configs else (self.base_slot, self.base_config)


def weight(entries: Sequence[Entry]) -> int:
    """Bytes that entries count for in the limits."""
    return sum([len(entry.payload) for entry in entries]) + len(entries) * ENTRY_OVERHEAD_BYTES
