"""Ballots: the total order of leaderships in one replication group (Lamport, "Paxos Made Simple", section 2.2)."""

from __future__ import annotations

from typing import NamedTuple


class Ballot(NamedTuple):
    """One attempt to lead. ``replica`` owns it, which makes ballots of different replicas distinct; replica ids start
    at 1."""

    round: int
    replica: int

    def __str__(self) -> str:
        return f"{self.round}.{self.replica}"


NO_BALLOT = Ballot(0, 0)
"""Lower than every ballot that anyone can own; the ballot of slot 0."""
