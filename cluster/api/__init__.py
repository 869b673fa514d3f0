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

from collections.abc import Mapping

from cluster.api import (
    batch_execute_statement,
    batch_get_item,
    batch_write_item,
    create_table,
    delete_item,
    delete_table,
    describe_continuous_backups,
    describe_endpoints,
    describe_limits,
    describe_table,
    describe_time_to_live,
    execute_statement,
    execute_transaction,
    get_item,
    list_tables,
    list_tags_of_resource,
    put_item,
    query,
    scan,
    tag_resource,
    transact_get_items,
    transact_write_items,
    untag_resource,
    update_item,
    update_table,
    update_time_to_live,
)
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

OPERATIONS: dict[str, Operation] = {
    module.OPERATION.name: module.OPERATION
    for module in (
        put_item,
        query,
        scan,
        batch_get_item,
        batch_write_item,
        get_item,
        update_item,
        delete_item,
        create_table,
        describe_table,
        list_tables,
        delete_table,
        describe_limits,
        describe_endpoints,
        update_table,
        update_time_to_live,
        execute_transaction,
        execute_statement,
        batch_execute_statement,
        untag_resource,
        tag_resource,
        list_tags_of_resource,
        describe_time_to_live,
        describe_continuous_backups,
        transact_get_items,
        transact_write_items,
    )
}
"""Every operation that is served, by its name in ``x-amz-target``."""


def find_operation(headers: Mapping[str, str]) -> Operation:
    """The operation a request's headers name. Raises ``UnknownOperationException``."""
    return find_in(OPERATIONS, headers.get("x-amz-target", ""))
