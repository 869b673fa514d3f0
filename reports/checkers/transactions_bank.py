"""Histories of transfers between accounts: money is neither made nor lost, at any moment that anybody can see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Balances(NamedTuple):
    """One transactional read of all accounts: (account, what it held, what it held at first)."""

    name: str
    accounts: tuple[tuple[str, int, int], ...]


def wrong(reads: Sequence[Balances]) -> Iterator[tuple[int, str]]:
    """By number, each read whose total is not the first one, or that shows an account overdrawn, and why."""
    for number, read in enumerate(reads):
        total = sum(balance for _, balance, _ in read.accounts)
        expected = sum(initial for _, _, initial in read.accounts)
        if total != expected:
            yield number, f"{read.name} found {total} in {len(read.accounts)} accounts that hold {expected}"
            continue
        overdrawn = [(account, balance) for account, balance, _ in read.accounts if balance < 0]
        if overdrawn:
            account, balance = overdrawn[0]
            yield number, f"{read.name} found {balance} in {account}, which no transfer may overdraw"
