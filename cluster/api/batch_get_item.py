"""BatchGetItem: up to a hundred items by key, from any tables, each read by itself."""

from __future__ import annotations

from typing import Any, NamedTuple

from cluster.api.answers import consumed, read_units, throttled
from cluster.api.batches import check_some, settle, table_of
from cluster.api.clauses import read_clauses
from cluster.api.fields import EXPRESSION_NAMES, RETURN_CAPACITY, Field, Table
from cluster.api.legacy import ATTRIBUTES_TO_GET, check_mixture, read_attributes_to_get
from cluster.api.operation import CompositeOperation, ServedTable, Services
from cluster.api.paths import check_paths
from cluster.core.commands import Clause, Command, Outcome
from cluster.core.errors import ApiError, invalid
from cluster.core.expressions.projections import project
from cluster.core.items import Item, normalise_item
from cluster.core.keys import check_lookup_key, encode_key
from cluster.wire.json import decode, encode

KEYS_MAX = 100
ANSWER_BYTES_MAX = 16 * 1024 * 1024
"""Sum of the items' sizes in one answer [DG]; keys beyond it are handed back."""

FIELDS = Table(
    Field(
        "RequestItems",
        "map",
        required=True,
        tables=True,
        element=Field(
            "request",
            "struct",
            members=(
                Field("Keys", "list", required=True, element=Field("key", "item")),
                ATTRIBUTES_TO_GET,
                Field("ConsistentRead", "bool"),
                Field("ProjectionExpression", "str"),
                EXPRESSION_NAMES,
            ),
            shape="KeysAndAttributes",
        ),
    ),
    RETURN_CAPACITY,
)


class TableKeys(NamedTuple):
    """What is wanted of one table."""

    name: str
    """As the request calls it."""
    entry: dict[str, Any]
    keys: list[Item]
    projection: Clause | None


class Batch(NamedTuple):
    """A checked request."""

    body: dict[str, Any]
    tables: list[TableKeys]


def check_request(body: dict[str, Any]) -> Batch:
    """Everything that needs no table."""
    FIELDS.check(body)
    check_some(body)
    tables = []
    total = 0
    for name, entry in body["RequestItems"].items():
        _check_count(name, len(entry["Keys"]))
        check_mixture(entry, ("ProjectionExpression",), ("AttributesToGet",))
        keys = [normalise_item(key or {}) for key in entry["Keys"]]
        if len({encode(sorted(key.items())) for key in keys}) < len(keys):
            raise invalid("Provided list of item keys contains duplicates")
        total += len(keys)
        if total > KEYS_MAX:
            raise invalid("Too many items requested for the BatchGetItem call")
        projection = read_attributes_to_get(entry) or read_clauses(entry, projection=True).projection
        tables.append(TableKeys(name, entry, keys, projection))
    _check_together(body["RequestItems"])
    return Batch(body, tables)


def _check_count(name: str, keys: int) -> None:
    limit = f"less than or equal to {KEYS_MAX}" if keys > KEYS_MAX else "greater than or equal to 1" if not keys else ""
    if limit:
        raise invalid(
            f"1 validation error detected: Value at 'RequestItems.{name}.member.Keys' failed to satisfy constraint: "
            f"Member must have length {limit}"
        )


def _check_together(requests: dict[str, Any]) -> None:
    """Expressions and what they replace cannot be mixed between tables either."""
    names = ("AttributesToGet", "ProjectionExpression")
    used = {name: True for entry in requests.values() for name in names if entry.get(name) is not None}
    check_mixture(used, ("ProjectionExpression",), ("AttributesToGet",))


async def plan(batch: Batch, services: Services) -> bytes:
    """Read every key that the tables' budgets allow, beside each other."""
    commands: list[tuple[ServedTable, Command]] = []
    for wanted in batch.tables:
        table = await services.table(table_of(wanted.name))
        check_paths(table.schema, projection=wanted.projection)
        consistent = bool(wanted.entry.get("ConsistentRead"))
        for key in wanted.keys:
            check_lookup_key(table.schema.key, key)
            place = encode_key(table.schema.key, key)
            commands.append((table, Command("get", table.schema.name, place, consistent=consistent)))
    admitted = [services.take(table, reads=read_units(0, consistent=one.consistent)) for table, one in commands]
    if not any(admitted):
        raise throttled()
    steps = [services.run(*one) for one, allowed in zip(commands, admitted, strict=True) if allowed]
    answers = iter(await services.each(steps))
    results: list[Outcome | ApiError | None] = [next(answers) if allowed else None for allowed in admitted]
    return _answer(batch, services, commands, settle(results))


def _answer(
    batch: Batch, services: Services, commands: list[tuple[ServedTable, Command]], outcomes: list[Outcome | None]
) -> bytes:
    responses: list[bytes] = []
    unprocessed: dict[str, Any] = {}
    done: dict[str, list[tuple[Command, Outcome]]] = {wanted.name: [] for wanted in batch.tables}
    size = at = 0
    for wanted in batch.tables:
        found: list[bytes] = []
        for key in wanted.entry["Keys"]:
            (table, command), outcome = commands[at], outcomes[at]
            at += 1
            if outcome is None or size + outcome.size_before > ANSWER_BYTES_MAX:
                unprocessed.setdefault(wanted.name, {**wanted.entry, "Keys": []})["Keys"].append(key)
                continue
            size += outcome.size_before
            spent = read_units(outcome.size_before, consistent=command.consistent)
            services.charge(table, reads=spent - read_units(0, consistent=command.consistent))
            done[wanted.name].append((command, outcome))
            if outcome.attributes is not None:
                found.append(_projected(wanted.projection, outcome.attributes))
        responses.append(b"%s:[%s]" % (encode(wanted.name), b",".join(found)))
    parts = [b'"Responses":{%s}' % b",".join(responses), b'"UnprocessedKeys":' + encode(unprocessed)]
    detail = batch.body.get("ReturnConsumedCapacity") or "NONE"
    if detail != "NONE":
        parts.append(b'"ConsumedCapacity":' + encode([consumed(name, detail, reads) for name, reads in done.items()]))
    return b"{%s}" % b",".join(parts)


def _projected(projection: Clause | None, item: bytes) -> bytes:
    return item if projection is None else encode(project(projection, decode(item)))


OPERATION = CompositeOperation("BatchGetItem", check_request, plan)
