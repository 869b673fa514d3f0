"""The requests of a closed loop against DynamoDB, by the names that its job gives them, and what must come back. Pure.

Items are ``{"pk", "v", "pad"}`` as the load generator has them; those of a query have a sort key, too.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Literal, NamedTuple

from loadgen.plan import Operation, key_name
from loadgen.translate import body_of, filler

FILLED = 25
"""Items in one request of ``fill``: as many as a batch may have."""

QUERIED, SCANNED, BATCH, TRANSACTION = 10, 100, 10, 4
"""Items of a query, of a page of a scan, of a batch, of a larger transaction."""


class Items:
    """Which items of a table are asked for, and their JSON."""

    def __init__(self, table: str, keys: int, item_bytes: int) -> None:
        self.table = table
        self.keys = keys
        self.item_bytes = item_bytes
        self._rng = Random(1)
        self._tokens = Random()

    def any(self) -> str:
        return key_name(int(self._rng.random() * self.keys))

    def token(self) -> str:
        """A member that makes a request one of its own for ten minutes, other runs' included: as SDKs add to theirs."""
        return f',"ClientRequestToken":"{self._tokens.getrandbits(128):032x}"'

    def several(self, count: int) -> list[str]:
        """Different keys."""
        return [key_name(index) for index in self._rng.sample(range(self.keys), count)]

    def turn(self, count: int, number: int) -> list[str]:
        """Keys that no request of about the same time has: transactions on them do not conflict."""
        return [key_name((number * count + index) % self.keys) for index in range(count)]

    def item(self, key: str, number: int, sort: str = "") -> str:
        value = f"bench.{number}"
        size, second = self.item_bytes, ""
        if sort:
            size, second = size - len("sk") - len(sort), f',"sk":{{"S":"{sort}"}}'
        return f'{{"pk":{{"S":"{key}"}}{second},"v":{{"S":"{value}"}},"pad":{{"S":"{filler(key, value, size)}"}}}}'

    def put(self, key: str, number: int, more: str = "") -> str:
        return f'{{"TableName":"{self.table}","Item":{self.item(key, number)}{more}}}'

    def place(self, key: str, more: str = "") -> str:
        return f'{{"TableName":"{self.table}","Key":{{"pk":{{"S":"{key}"}}}}{more}}}'

    def batch(self, items: list[str]) -> str:
        puts = ",".join(f'{{"PutRequest":{{"Item":{item}}}}}' for item in items)
        return f'{{"RequestItems":{{"{self.table}":[{puts}]}}}}'


def _get(kind: Literal["get", "eget"]) -> Callable[[Items, int], str]:
    return lambda it, number: body_of(Operation(kind, it.table, it.any(), None, None), it.item_bytes).decode()


def _conditional_put(it: Items, number: int) -> str:
    return it.put(it.any(), number, ',"ConditionExpression":"attribute_exists(pk)"')


def _update(it: Items, number: int) -> str:
    """PAD is one of DynamoDB's reserved words, hence the placeholder."""
    key, value = it.any(), f"bench.{number}"
    change = (
        ',"UpdateExpression":"SET v = :v, #p = :p","ExpressionAttributeNames":{"#p":"pad"},'
        f'"ExpressionAttributeValues":{{":v":{{"S":"{value}"}},":p":{{"S":"{filler(key, value, it.item_bytes)}"}}}}'
    )
    return it.place(key, change)


def _delete(it: Items, number: int) -> str:
    """Each beyond the keys of all other requests, and each once: what is deleted was there if it was filled."""
    return it.place(key_name(it.keys + number - 1))


def _query(it: Items, number: int) -> str:
    return (
        f'{{"TableName":"{it.table}","KeyConditionExpression":"pk = :k","ExpressionAttributeValues":'
        f'{{":k":{{"S":"{it.any()}"}}}},"ConsistentRead":true}}'
    )


def _scan(it: Items, number: int) -> str:
    return f'{{"TableName":"{it.table}","Limit":{SCANNED},"ConsistentRead":true}}'


def _batch_get(it: Items, number: int) -> str:
    keys = ",".join(f'{{"pk":{{"S":"{key}"}}}}' for key in it.several(BATCH))
    return f'{{"RequestItems":{{"{it.table}":{{"Keys":[{keys}],"ConsistentRead":true}}}}}}'


def _transact(kind: str, entries: list[str], more: str = "") -> str:
    actions = ",".join(f'{{"{kind}":{entry}}}' for entry in entries)
    return f'{{"TransactItems":[{actions}]{more}}}'


def _transact_write(count: int) -> Callable[[Items, int], str]:
    return lambda it, number: _transact("Put", [it.put(key, number) for key in it.turn(count, number)], it.token())


def _transact_get(count: int) -> Callable[[Items, int], str]:
    return lambda it, number: _transact("Get", [it.place(key) for key in it.turn(count, number)])


def _select(it: Items, number: int) -> str:
    statement = f'SELECT * FROM \\"{it.table}\\" WHERE pk = ?'
    return f'{{"Statement":"{statement}","Parameters":[{{"S":"{it.any()}"}}],"ConsistentRead":true}}'


def _fill(it: Items, number: int) -> str:
    first = (number - 1) * FILLED
    return it.batch([it.item(key_name(index), number) for index in range(first, first + FILLED)])


def _fill_sorted(it: Items, number: int) -> str:
    """All the items of one partition key."""
    key = key_name(number - 1)
    return it.batch([it.item(key, number, f"s{index:02}") for index in range(QUERIED)])


class Request(NamedTuple):
    """``items``: how many an answer must have; None: nobody looks."""

    api: str
    body: Callable[[Items, int], str]
    items: int | None = None


REQUESTS = {
    "put": Request("PutItem", lambda it, number: it.put(it.any(), number)),
    "get": Request("GetItem", _get("get")),
    "tput": Request("TransactWriteItems", lambda it, number: _transact("Put", [it.put(it.any(), number)])),
    "tput-token": Request(
        "TransactWriteItems", lambda it, number: _transact("Put", [it.put(it.any(), number)], it.token())
    ),
    "tget": Request("TransactGetItems", lambda it, number: _transact("Get", [it.place(it.any())])),
    "cput": Request("PutItem", _conditional_put, 0),
    "update": Request("UpdateItem", _update, 0),
    "delete": Request("DeleteItem", _delete, 0),
    "sget": Request("GetItem", _get("get"), 1),
    "eget": Request("GetItem", _get("eget"), 1),
    "query": Request("Query", _query, QUERIED),
    "scan": Request("Scan", _scan, SCANNED),
    "batch-get": Request("BatchGetItem", _batch_get, BATCH),
    "batch-write": Request(
        "BatchWriteItem", lambda it, number: it.batch([it.item(key, number) for key in it.several(BATCH)]), 0
    ),
    "transact-write-1": Request("TransactWriteItems", _transact_write(1), 0),
    "transact-write-4": Request("TransactWriteItems", _transact_write(TRANSACTION), 0),
    "transact-get-1": Request("TransactGetItems", _transact_get(1), 1),
    "transact-get-4": Request("TransactGetItems", _transact_get(TRANSACTION), TRANSACTION),
    "select": Request("ExecuteStatement", _select, 1),
    "fill": Request("BatchWriteItem", _fill, 0),
    "fill-sorted": Request("BatchWriteItem", _fill_sorted, 0),
}
"""By the operation of a job."""


def trouble(operation: str, status: int, body: bytes) -> str | None:
    """What is wrong with an answer, or None: a refusal, or items that are missing or were not written."""
    if status != 200:
        return f"{status} {body[:200].decode('utf-8', 'replace')}"
    wanted = REQUESTS[operation].items if operation in REQUESTS else None
    if wanted is None:
        return None
    found = body.count(b'"pad"')
    if found != wanted or (b'"UnprocessedItems"' in body and b'"UnprocessedItems":{}' not in body):
        return f"an answer to {operation} with {found} items: {body[:200].decode('utf-8', 'replace')}"
    return None
