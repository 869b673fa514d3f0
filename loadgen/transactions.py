"""Loads of transactions: what to do next, as steps, and steps as requests and answers. Pure.

A step is ``[kind, key, ...]`` as the history has it (:mod:`reports.rundir.history`). Keys of these loads are their own,
apart from those of items that are written whole.
"""

from __future__ import annotations

from hashlib import sha256
from random import Random
from typing import Any, Protocol

import msgspec

from loadgen.schema import SORT, group_of

Step = list[Any]

encode = msgspec.json.Encoder().encode
decode_steps = msgspec.json.Decoder(list[Step]).decode

FIRST_BALANCE = 100
"""What every account holds before its first transfer, without being there."""

TRANSFER_MAX = 10

APPENDS_MAX = 3
READS_MAX = 4
ACTIVE = 8
"""Lists that are appended to at a time; they move on together, so that lists stay short."""

MOVES_EVERY = 12
"""Transactions of one generator between two moves."""

CHECKED = 0.4
"""Share of writing transactions of lists that also demand that another list is as it was last seen."""


class Workload(Protocol):
    """Chooses transactions; fed with what the reads among them saw."""

    def write(self, rng: Random, value: str) -> list[Step]:
        """The steps of a writing transaction; ``value`` is unique in the run."""
        ...

    def read(self, rng: Random) -> list[Step]: ...

    def learn(self, steps: list[Step]) -> None:
        """A read saw this."""
        ...

    def sweep(self) -> list[list[Step]]:
        """Reads of everything there may be, for the end."""
        ...


class Bank:
    """Transfers between few accounts; every read is of all of them."""

    def __init__(self, keys: int) -> None:
        self._accounts = [f"account-{number:03d}" for number in range(max(2, min(keys, 25)))]

    def write(self, rng: Random, value: str) -> list[Step]:
        payer, payee = rng.sample(self._accounts, 2)
        amount = rng.randint(1, TRANSFER_MAX)
        return [["add", payer, -amount], ["add", payee, amount]]

    def read(self, rng: Random) -> list[Step]:
        return [["balance", account, FIRST_BALANCE] for account in self._accounts]

    def learn(self, steps: list[Step]) -> None:
        """Transfers depend on nothing that was read."""

    def sweep(self) -> list[list[Step]]:
        return [self.read(Random(0))]


class Lists:
    """Appends to several lists at once, reads of several at once, and appends on condition of another list."""

    def __init__(self, keys: int) -> None:
        self._keys = max(keys, ACTIVE)
        self._begun = 0
        self._known: dict[str, list[str]] = {}

    def _choose(self, rng: Random, most: int) -> list[str]:
        base = self._begun // MOVES_EVERY
        places = rng.sample(range(ACTIVE), rng.randint(1, most))
        return [_list_name((base + place) % self._keys) for place in places]

    def write(self, rng: Random, value: str) -> list[Step]:
        self._begun += 1
        keys = self._choose(rng, APPENDS_MAX)
        checked = None
        if len(keys) > 1 and rng.random() < CHECKED and keys[-1] in self._known:
            checked = keys.pop()
        steps: list[Step] = [["append", key, value] for key in keys]
        if checked is not None:
            steps.append(["r", checked, self._known[checked]])
        return steps

    def read(self, rng: Random) -> list[Step]:
        self._begun += 1
        return [["r", key, None] for key in self._choose(rng, READS_MAX)]

    def learn(self, steps: list[Step]) -> None:
        for kind, key, seen in steps:
            if kind == "r":
                self._known[key] = seen or []
        if len(self._known) > 4 * ACTIVE:
            self._known = dict(list(self._known.items())[-2 * ACTIVE :])

    def sweep(self) -> list[list[Step]]:
        names = [_list_name(number) for number in range(self._keys)]
        return [[["r", key, None] for key in names[start : start + 20]] for start in range(0, len(names), 20)]


def _list_name(number: int) -> str:
    return f"list-{number:05d}"


WORKLOADS: dict[str, type[Bank] | type[Lists]] = {"bank": Bank, "list-append": Lists}
"""By the name that a profile gives."""


def body_of(table: str, steps: list[Step], *, indexed: bool = False) -> bytes:
    """The request of a transaction: a read if no step changes anything. ``indexed``: the table has indexes, and a sort
    key."""
    write = any(step[0] in ("append", "add") for step in steps)
    if write:
        return encode({"TransactItems": [_action(table, step, indexed) for step in steps], **_token(steps)})
    return encode({"TransactItems": [{"Get": _place(table, step[1], indexed)} for step in steps]})


def _token(steps: list[Step]) -> dict[str, str]:
    """SDKs send a token with every write, other callers need not, and the two go different ways: every second append
    has one. It is made of what is appended, which is unique; a transfer may be like another, and has none."""
    for kind, _, what in steps:
        if kind == "append":
            digest = sha256(what.encode()).hexdigest()
            return {"ClientRequestToken": digest[:36]} if int(digest, 16) % 2 else {}
    return {}


def _place(table: str, key: str, indexed: bool) -> dict[str, Any]:
    sort = {"sk": {"S": SORT}} if indexed else {}
    return {"TableName": table, "Key": {"pk": {"S": key}} | sort}


def _action(table: str, step: Step, indexed: bool) -> dict[str, Any]:
    kind, key, what = step
    place = _place(table, key, indexed)
    if kind == "append":
        place["UpdateExpression"] = "SET ids = list_append(if_not_exists(ids, :none), :new)"
        place["ExpressionAttributeValues"] = {":none": {"L": []}, ":new": {"L": [{"S": what}]}}
        return {"Update": _grouped(place, what) if indexed else place}
    if kind == "r":
        if what:
            place["ConditionExpression"] = "ids = :seen"
            place["ExpressionAttributeValues"] = {":seen": {"L": [{"S": id_} for id_ in what]}}
        else:
            place["ConditionExpression"] = "attribute_not_exists(pk)"
        return {"ConditionCheck": place}
    place["UpdateExpression"] = "SET balance = if_not_exists(balance, :first) + :amount"
    values = {":first": {"N": str(FIRST_BALANCE)}, ":amount": {"N": str(what)}}
    if what < 0:
        place["ConditionExpression"] = "attribute_not_exists(pk) OR balance >= :least"
        values[":least"] = {"N": str(-what)}
    place["ExpressionAttributeValues"] = values
    return {"Update": _grouped(place, f"{key}/{what}") if indexed else place}


def _grouped(update: dict[str, Any], value: str) -> dict[str, Any]:
    """An update that moves its item in the table's indexes, too, as one to this value of an item written whole does."""
    group = group_of(value)
    update["UpdateExpression"] += ", v = :v" + (", g = :g" if group is not None else " REMOVE g")
    update["ExpressionAttributeValues"][":v"] = {"S": value}
    if group is not None:
        update["ExpressionAttributeValues"][":g"] = {"S": group}
    return update


def seen_of(steps: list[Step], answer: dict[str, Any]) -> list[Step]:
    """The steps of a read with what it saw. Raises :class:`KeyError`, :class:`ValueError` or :class:`TypeError` for an
    answer of another shape."""
    responses = answer["Responses"]
    if len(responses) != len(steps):
        raise ValueError(f"{len(responses)} answers to {len(steps)} questions")
    return [_seen(step, entry.get("Item")) for step, entry in zip(steps, responses, strict=True)]


def _seen(step: Step, item: dict[str, Any] | None) -> Step:
    kind, key, first = step
    if item is not None and item["pk"]["S"] != key:
        return [kind, key, [f"!wrong-key:{item['pk']['S']}"]]
    if kind == "r":
        return [kind, key, [entry["S"] for entry in item["ids"]["L"]] if item is not None else None]
    return [kind, key, int(item["balance"]["N"]) if item is not None else first]
