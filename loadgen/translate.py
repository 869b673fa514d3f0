"""Operations as DynamoDB requests, and answers as outcomes. Pure.

An item is ``{"pk": key, "v": value, "pad": filler}``. The filler is derived from the value and sized so that the item
has the wanted size by DynamoDB's rules (attribute names and values in UTF-8); whoever reads an item checks it, so an
item pieced together from two writes, or served under a wrong key, is recorded as a value that nobody ever wrote,
which the checkers then report by name.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from loadgen import transactions
from loadgen.plan import ABSENT, Operation, Plan
from loadgen.profiles import TRANSACTIONS
from loadgen.schema import SORT, group_of
from loadgen.stats import OutcomeName
from reports.rundir.history import CANCELLED, CONDITION_FAILED

API: dict[str, str] = {
    "put": "PutItem",
    "cput": "PutItem",
    "update": "UpdateItem",
    "delete": "DeleteItem",
    "get": "GetItem",
    "eget": "GetItem",
    "final": "GetItem",
    "twrite": "TransactWriteItems",
    "tread": "TransactGetItems",
}
"""The DynamoDB operation of each of ours."""
_NAMES_BYTES = len("pk") + len("v") + len("pad")

_SORT = f',"sk":{{"S":"{SORT}"}}'
_RETURNS = '"ReturnValues":"ALL_OLD","ReturnValuesOnConditionCheckFailure":"ALL_OLD"'


class _Text(msgspec.Struct):
    text: str = msgspec.field(name="S")


class _Item(msgspec.Struct):
    pk: _Text
    v: _Text
    pad: _Text


class _Answer(msgspec.Struct):
    """The union of all answers: every field is optional, and an error has only the last two or three."""

    Item: _Item | None = None
    Attributes: _Item | None = None
    type: str | None = msgspec.field(name="__type", default=None)


_DECODER = msgspec.json.Decoder(_Answer)


class Outcome(NamedTuple):
    """What became of one operation, in the words of the history.

    ``value``: the value read, or for a write the predecessor it replaced or met; None where the item was absent.
    ``error``: DynamoDB's error name, or ours for what happened on the way (``ConnectFailed``, ``AnswerTimeout`` ...).
    """

    outcome: OutcomeName
    status: int
    error: str | None
    value: str | None

    @property
    def unmet(self) -> bool:
        """Whether it was refused for what the item is: a condition that does not hold, a transaction in the way."""
        return self.outcome == "fail" and self.error in (CONDITION_FAILED, *CANCELLED)


@lru_cache(maxsize=4096)
def filler(key: str, value: str, item_bytes: int) -> str:
    """The ``pad`` attribute that belongs to a value."""
    wanted = max(1, item_bytes - _NAMES_BYTES - len(key) - len(value))
    unit = value + "/"
    return (unit * (wanted // len(unit) + 1))[:wanted]


def body_of(operation: Operation, item_bytes: int, *, indexed: bool = False) -> bytes:
    """The JSON body of the request. Keys, values and table names of ours need no escaping in JSON. ``indexed``: the
    table has indexes, and a sort key."""
    op, table, key, value, expect = operation
    if op in TRANSACTIONS:
        return transactions.body_of(table, transactions.decode_steps(value or "[]"), indexed=indexed)
    sort = _SORT if indexed else ""
    if op == "get" or op == "final":
        return f'{{"TableName":"{table}","Key":{{"pk":{{"S":"{key}"}}{sort}}},"ConsistentRead":true}}'.encode()
    if op == "eget":
        return f'{{"TableName":"{table}","Key":{{"pk":{{"S":"{key}"}}{sort}}}}}'.encode()
    if op == "delete":
        return f'{{"TableName":"{table}","Key":{{"pk":{{"S":"{key}"}}{sort}}},{_RETURNS}}}'.encode()
    assert value is not None, operation
    pad = filler(key, value, item_bytes)
    group = group_of(value) if indexed else None
    if op == "update":
        return _update(table, key, value, pad, expect, sort, (group,) if indexed else ())
    more = sort if group is None else f'{sort},"g":{{"S":"{group}"}}'
    condition = ""
    if expect == ABSENT:
        condition = ',"ConditionExpression":"attribute_not_exists(pk)"'
    elif expect is not None:
        condition = f',"ConditionExpression":"v = :e","ExpressionAttributeValues":{{":e":{{"S":"{expect}"}}}}'
    return (
        f'{{"TableName":"{table}","Item":{{"pk":{{"S":"{key}"}}{more},"v":{{"S":"{value}"}},"pad":{{"S":"{pad}"}}}},'
        f"{_RETURNS}{condition}}}"
    ).encode()


def _update(
    table: str, key: str, value: str, pad: str, expect: str | None, sort: str, group: tuple[str | None, ...]
) -> bytes:
    """PAD is one of DynamoDB's reserved words, hence the placeholder. ``group``: what the item's group becomes, if it
    is of a table that has any."""
    change = grouped = ""
    if group:
        change, grouped = (" REMOVE g", "") if group[0] is None else (", g = :g", f',":g":{{"S":"{group[0]}"}}')
    condition = expected = ""
    if expect == ABSENT:
        condition = ',"ConditionExpression":"attribute_not_exists(pk)"'
    elif expect is not None:
        condition = ',"ConditionExpression":"v = :e"'
        expected = f',":e":{{"S":"{expect}"}}'
    return (
        f'{{"TableName":"{table}","Key":{{"pk":{{"S":"{key}"}}{sort}}},'
        f'"UpdateExpression":"SET v = :v, #p = :p{change}"{condition},'
        f'"ExpressionAttributeNames":{{"#p":"pad"}},"ExpressionAttributeValues":{{":v":{{"S":"{value}"}},":p":{{"S":"{pad}"}}{grouped}{expected}}},{_RETURNS}}}'
    ).encode()


def _value(item: _Item | None, key: str, item_bytes: int) -> str | None:
    """The value id of an item, or a name that was never written where the parts of the item do not belong together."""
    if item is None:
        return None
    value = item.v.text
    if item.pk.text != key:
        return f"!wrong-key:{item.pk.text}:{value}"
    if item.pad.text != filler(key, value, item_bytes):
        return f"!torn:{value}"
    return value


def outcome_of(operation: Operation, status: int, body: bytes, item_bytes: int) -> Outcome:
    """Judge an answer. ``fail`` means that the operation certainly did not happen; in doubt it is ``unknown``."""
    if operation.op in TRANSACTIONS and status == 200:
        return _transaction(operation, body)
    try:
        answer = _DECODER.decode(body)
    except msgspec.MsgspecError:
        return _undecodable(operation, status, body)
    if status == 200:
        item = answer.Item if operation.op in ("get", "eget", "final") else answer.Attributes
        return Outcome("ok", 200, None, _value(item, operation.key, item_bytes))
    error = (answer.type or f"HTTP{status}").rpartition("#")[2]
    if error == CONDITION_FAILED and status == 400:
        return Outcome("fail", status, error, _value(answer.Item, operation.key, item_bytes))
    return Outcome(_by_status(status), status, error, None)


def _transaction(operation: Operation, body: bytes) -> Outcome:
    """A transaction that succeeded; of a read, the value is its steps with what it saw."""
    if operation.op == "twrite":
        return Outcome("ok", 200, None, None)
    try:
        seen = transactions.seen_of(transactions.decode_steps(operation.value or "[]"), msgspec.json.decode(body))
    except (msgspec.MsgspecError, KeyError, ValueError, TypeError):
        return Outcome("unknown", 200, "MalformedAnswer", None)
    return Outcome("ok", 200, None, transactions.encode(seen).decode())


def _undecodable(operation: Operation, status: int, body: bytes) -> Outcome:
    """Not the JSON we know: an item of a foreign shape is itself a finding, anything else says nothing."""
    if status != 200:
        return Outcome(_by_status(status), status, f"HTTP{status}", None)
    try:
        answer: Any = msgspec.json.decode(body)
    except msgspec.MsgspecError:
        return Outcome("unknown", status, "MalformedAnswer", None)
    if isinstance(answer, dict) and ("Item" in answer or "Attributes" in answer):
        return Outcome("ok", 200, None, f"!foreign-item:{operation.key}")
    return Outcome("unknown", status, "MalformedAnswer", None)


def _by_status(status: int) -> OutcomeName:
    """4xx was refused, 503 was not attempted; 500 and everything else may have happened."""
    if 400 <= status < 500 or status == 503:
        return "fail"
    return "unknown"


def teach(plan: Plan, operation: Operation, outcome: Outcome) -> None:
    """Tell a plan what an operation of its own has shown of what is stored."""
    if outcome.outcome == "ok" and operation.op == "tread":
        plan.learn("", outcome.value)
    elif operation.op == "twrite":
        return  # it says nothing about what is there
    elif outcome.outcome == "ok" and operation.value is not None:
        plan.learn(operation.key, operation.value)
    elif outcome.outcome == "ok" and operation.op == "delete":
        plan.learn(operation.key, None)
    elif outcome.outcome == "ok" or outcome.error == CONDITION_FAILED:
        plan.learn(operation.key, outcome.value)
