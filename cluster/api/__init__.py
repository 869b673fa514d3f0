"""The DynamoDB API: one module per operation, each with one validation table; :data:`OPERATIONS` finds them by name.

How a router serves a request, once its signature is verified::

    body = read_body(request.body)                      # SerializationException
    operation = find_operation(request.headers)           # by x-amz-target; UnknownOperationException
    if isinstance(operation, DataOperation):
        checked = operation.check(body)                   # everything that needs no table; checked.table names it
        command = operation.prepare(checked, schema)      # everything that needs its key schema
        outcome = ...the leader's cluster.core.commands.evaluate(command, image, CODEC).outcome...
        answer = operation.respond(command, outcome)      # raises the outcome's failure
    elif isinstance(operation, CompositeOperation):
        answer = await operation.plan(operation.check(body), services)
    else:
        wanted = operation.check(body)                    # plain values for the control plane
        answer = operation.respond(...what it answered...)

Every refusal is an :class:`~cluster.core.errors.ApiError`; :mod:`cluster.wire.errors` puts it on the wire. Checks
are made in AWS's order: shapes (Serialization), constraints of single members (all in one message), rules between
members, then whether the table exists, then the key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module

from cluster.api.operation import (
    CompositeOperation,
    ControlOperation,
    DataOperation,
    DataRequest,
    Operation,
    Services,
    find_in,
    read_body,
)
from cluster.api.tables import TableSchema

__all__ = [
    "OPERATIONS",
    "CompositeOperation",
    "ControlOperation",
    "DataOperation",
    "DataRequest",
    "Operation",
    "Services",
    "TableSchema",
    "find_operation",
    "read_body",
]


class _Operations(Mapping[str, Operation]):
    """Operations by name, each loaded when it is first asked for: most nodes serve none of them, and a cluster starts
    dozens of nodes at once."""

    def __init__(self, modules: Mapping[str, str]) -> None:
        self._modules = modules
        self._loaded: dict[str, Operation] = {}

    def __getitem__(self, name: str) -> Operation:
        found = self._loaded.get(name)
        if found is None:
            found = self._loaded[name] = import_module(self._modules[name]).OPERATION
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._modules

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __len__(self) -> int:
        return len(self._modules)


OPERATIONS: Mapping[str, Operation] = _Operations(
    {
        "PutItem": "cluster.api.put_item",
        "Query": "cluster.api.query",
        "Scan": "cluster.api.scan",
        "BatchGetItem": "cluster.api.batch_get_item",
        "BatchWriteItem": "cluster.api.batch_write_item",
        "GetItem": "cluster.api.get_item",
        "UpdateItem": "cluster.api.update_item",
        "DeleteItem": "cluster.api.delete_item",
        "CreateTable": "cluster.api.create_table",
        "DescribeTable": "cluster.api.describe_table",
        "ListTables": "cluster.api.list_tables",
        "DeleteTable": "cluster.api.delete_table",
        "DescribeLimits": "cluster.api.describe_limits",
        "DescribeEndpoints": "cluster.api.describe_endpoints",
        "UpdateTable": "cluster.api.update_table",
        "UpdateTimeToLive": "cluster.api.update_time_to_live",
        "ExecuteTransaction": "cluster.api.execute_transaction",
        "ExecuteStatement": "cluster.api.execute_statement",
        "BatchExecuteStatement": "cluster.api.batch_execute_statement",
        "UntagResource": "cluster.api.untag_resource",
        "TagResource": "cluster.api.tag_resource",
        "ListTagsOfResource": "cluster.api.list_tags_of_resource",
        "DescribeTimeToLive": "cluster.api.describe_time_to_live",
        "DescribeContinuousBackups": "cluster.api.describe_continuous_backups",
        "TransactGetItems": "cluster.api.transact_get_items",
        "TransactWriteItems": "cluster.api.transact_write_items",
    }
)
"""Every operation that is served, by its name in ``x-amz-target``."""


_by_target: dict[str, Operation] = {}
"""Operations that were asked for, by the whole header."""


def find_operation(headers: Mapping[str, str]) -> Operation:
    """The operation a request's headers name. Raises ``UnknownOperationException``."""
    target = headers.get("x-amz-target", "")
    found = _by_target.get(target)
    if found is None:
        found = _by_target[target] = find_in(OPERATIONS, target)
    return found
