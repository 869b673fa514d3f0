"""Tables over rows in memory, for the tests of operations that take several steps."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from cluster.api import OPERATIONS, CompositeOperation, TableSchema, create_table
from cluster.api.operation import DataOperation
from cluster.api.tables import item_table_not_found
from cluster.core.errors import ApiError

sys.path.insert(0, str(Path(__file__).parents[2] / "contract"))

from in_process_rows import LocalServices, Rows, drive

KEYS = {"HASH": "a", "RANGE": "b"}


def schema_of(name: str, *, sort: str | None = "S", indexes: bool = False) -> TableSchema:
    """A table with the key ``a`` (S) and ``b``; its indexes are ``local`` on c (KEYS_ONLY), ``all`` on c (ALL) and
    ``few`` on c and d (INCLUDE e)."""
    types = {"a": "S", **({"b": sort} if sort else {}), **({"c": "S", "d": "S"} if indexes else {})}
    body: dict[str, Any] = {
        "TableName": name,
        "KeySchema": _keys("a", "b" if sort else None),
        "AttributeDefinitions": [{"AttributeName": key, "AttributeType": kind} for key, kind in types.items()],
        "BillingMode": "PAY_PER_REQUEST",
    }
    if indexes:
        body["LocalSecondaryIndexes"] = [
            {"IndexName": "local", "KeySchema": _keys("a", "c"), "Projection": {"ProjectionType": "KEYS_ONLY"}}
        ]
        include = {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["e"]}
        body["GlobalSecondaryIndexes"] = [
            {"IndexName": "all", "KeySchema": _keys("c", None), "Projection": {"ProjectionType": "ALL"}},
            {"IndexName": "few", "KeySchema": _keys("c", "d"), "Projection": include},
        ]
    description = create_table.describe(create_table.OPERATION.check(body), table_id=f"id-{name}", region="x", now=0)
    return TableSchema.from_description(description)


def _keys(first: str, second: str | None) -> list[dict[str, str]]:
    names = ((first, "HASH"), (second, "RANGE"))
    return [{"AttributeName": name, "KeyType": role} for name, role in names if name is not None]


class World:
    """Tables ``plain`` (a, b), ``hashed`` (a), ``numbered`` (a, b: N) and ``indexed``."""

    def __init__(self) -> None:
        self.schemas = {
            "plain": schema_of("plain"),
            "hashed": schema_of("hashed", sort=None),
            "numbered": schema_of("numbered", sort="N"),
            "indexed": schema_of("indexed", indexes=True),
        }
        self.rows = Rows()
        self.services = LocalServices(self.rows, self._schema)

    def _schema(self, name: str) -> TableSchema:
        if name not in self.schemas:
            raise item_table_not_found()
        return self.schemas[name]

    def call(self, name: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Carry an operation out; the decoded answer. Raises :class:`ApiError`."""
        operation, request = OPERATIONS[name], json.loads(json.dumps(body))
        if isinstance(operation, CompositeOperation):
            answer = drive(operation.plan(operation.check(request), self.services))  # type: ignore[arg-type]
        else:
            assert isinstance(operation, DataOperation)
            checked = operation.check(request)
            schema = self._schema(checked.table)
            command = operation.prepare(checked, schema)
            answer = operation.respond(command, self.rows.run(schema, command))
        decoded: dict[str, Any] = json.loads(answer)
        return decoded

    def put(self, table: str, **attributes: Any) -> dict[str, Any]:
        """Store an item: strings are S, numbers N, anything else is an attribute value."""
        item = {name: value_of(content) for name, content in attributes.items()}
        self.call("PutItem", {"TableName": table, "Item": item})
        return item

    def refused(self, name: str, body: Mapping[str, Any], message: str) -> None:
        """The operation is refused with exactly these words."""
        with pytest.raises(ApiError) as refusal:
            self.call(name, body)
        assert (refusal.value.kind, refusal.value.message) == ("ValidationException", message)


def value_of(content: Any) -> Any:
    """A string as S, a number as N."""
    if isinstance(content, str):
        return {"S": content}
    return {"N": str(content)} if isinstance(content, int) else content
