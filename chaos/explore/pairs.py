"""Two conditional puts in one transaction, on the items that the plain load writes.

Transactions proper (:mod:`loadgen.transactions`) have items of their own and a check of their own. These meet plain
writes, reads and each other on the same items, and are judged item by item as the two conditional puts that they are:
both happened, or neither; and what a refused condition was shown was there.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from loadgen.plan import ABSENT, Operation
from loadgen.translate import Outcome, body_of, outcome_of
from reports.rundir.history import CANCELLED, CONDITION_FAILED

NAME: Final = "TransactWriteItems"
REFUSED: Final = "ConditionalCheckFailed"


def request_of(pair: tuple[Operation, ...], item_bytes: int, *, indexed: bool) -> dict[str, Any]:
    """The body of the transaction. What a put by itself returns on success, one in a transaction may not ask for."""
    puts = [msgspec.json.decode(body_of(planned, item_bytes, indexed=indexed)) for planned in pair]
    return {"TransactItems": [{"Put": {k: v for k, v in put.items() if k != "ReturnValues"}} for put in puts]}


def outcomes_of(pair: tuple[Operation, ...], status: int, body: bytes, item_bytes: int) -> list[Outcome]:
    """What became of each put. Where all is well its predecessor is what its condition named."""
    if status == 200:
        return [Outcome("ok", 200, None, None if put.expect == ABSENT else put.expect) for put in pair]
    whole = [outcome_of(put, status, body, item_bytes) for put in pair]
    if whole[0].error != CANCELLED[0]:
        return whole
    reasons = msgspec.json.decode(body)["CancellationReasons"]
    return [
        _refused(put, reason, item_bytes) if reason["Code"] == REFUSED else cancelled
        for put, reason, cancelled in zip(pair, reasons, whole, strict=True)
    ]


def _refused(put: Operation, reason: dict[str, Any], item_bytes: int) -> Outcome:
    """As the put by itself would have been refused, with the item that stood in its way."""
    answer = {"__type": f"#{CONDITION_FAILED}"} | ({"Item": reason["Item"]} if "Item" in reason else {})
    return outcome_of(put, 400, msgspec.json.encode(answer), item_bytes)
