"""Validation tables: what an operation's request may contain, and AWS's words for everything else.

An operation lists its :class:`Field` objects in a :class:`Table`, which checks as the service does: shapes first (one
``SerializationException``), then constraints (all violations, up to ten, in one ``ValidationException``). Unknown
members are ignored and nulls are as if absent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

from cluster.api.shapes import check_shape
from cluster.core.errors import ApiError, invalid
from cluster.wire.json import encode

VIOLATIONS_MAX = 10
TABLE_ARN = re.compile(r"arn:[a-z-]+:dynamodb:[a-z0-9-]*:[0-9]*:table/([a-zA-Z0-9_.-]{1,255})")
TABLE_NAME_PATTERN = "[a-zA-Z0-9_.-]+"
TABLES_CONSTRAINT = (
    "Map keys must satisfy constraint: [Member must have length less than or equal to 255, Member must have length "
    f"greater than or equal to 3, Member must satisfy regular expression pattern: {TABLE_NAME_PATTERN}]"
)


class Field(NamedTuple):
    """One member of a request. ``kind`` is ``str bool int list map struct item value`` (``value``: an attribute value,
    ``item``: a map of them; both are checked by the operation). Lengths are of text, lists or maps; values are
    inclusive."""

    name: str
    kind: str
    required: bool = False
    enum: tuple[str, ...] = ()
    pattern: str | None = None
    length: tuple[int, int] | None = None
    value: tuple[int, int] | None = None
    element: Field | None = None
    """What a list or map holds."""
    members: tuple[Field, ...] = ()
    """What a struct holds."""
    alone: bool = False
    """A violation here is reported by itself, before later members are looked at."""
    terse: bool = False
    """A violation here, if it is the only one, is told by the member's name as it is in the request, without its
    value."""
    tables: bool = False
    """A map's keys are names of tables, or their ARNs."""
    shape: str = ""
    """The service's name of a struct, which its messages print; of an integer, ``Long`` where it is no ``Integer``."""


class Table:
    """An operation's members. Compiled so that a proper request costs a look-up and a type test for each member that it
    has, and nothing for those that it might have had."""

    __slots__ = ("_required", "_rows", "_tests", "fields")

    _TYPES: ClassVar[dict[str, type]] = {"str": str, "bool": bool, "int": int, "item": dict, "value": dict}

    def __init__(self, *fields: Field) -> None:
        self.fields = fields
        self._rows = [(field.name, self._TYPES.get(field.kind), _quick_test(field), field) for field in fields]
        self._tests = {name: (kind, accepts) for name, kind, accepts, _ in self._rows}
        self._required = [field.name for field in fields if field.required]

    def check(self, body: dict[str, Any]) -> None:
        """Refuse a request that does not fit. An ARN in place of a table's name is replaced by the name in it."""
        tests = self._tests
        for name, value in body.items():
            test = tests.get(name)
            if test is None:
                continue
            kind, accepts = test
            if type(value) is not kind or (accepts is not None and not accepts(value)):
                break
        else:
            for name in self._required:
                if name not in body:
                    break
            else:
                return
        self._check_closely(body)

    def _check_closely(self, body: dict[str, Any]) -> None:
        """The same for a request of which a member is missing, null, of a kind without a quick test, or not proper: in
        the order of the members."""
        suspects: list[Field] = []
        for name, kind, accepts, field in self._rows:
            value = body.get(name)
            if value is None:
                if field.required:
                    suspects.append(field)
                continue
            if type(value) is not kind:
                check_shape(field, value)
            if accepts is not None and not accepts(value):
                arn = TABLE_ARN.fullmatch(str(value)) if field is TABLE_NAME else None
                if arn is None:
                    suspects.append(field)
                else:
                    body[name] = arn[1]
        if suspects:
            self.check_shapes(body)
            _check_all(suspects, body)

    def check_shapes(self, body: dict[str, Any]) -> None:
        """Refuse a request with a value of the wrong type anywhere: all of it is read before any rule is looked at."""
        for field in self.fields:
            check_shape(field, body.get(field.name))


def _quick_test(field: Field) -> Callable[[Any], object] | None:
    """A test that proper values pass (what fails it is looked at closely); None where any value is proper."""
    if field.enum:
        return frozenset(field.enum).__contains__
    if field.pattern is not None and field.length is not None and field.pattern.endswith("]+"):
        return re.compile(f"{field.pattern[:-1]}{{{field.length[0]},{field.length[1]}}}").fullmatch
    return (lambda value: False) if _has_constraints(field) else None


def _has_constraints(field: Field) -> bool:
    return bool(
        field.enum
        or field.pattern
        or field.length
        or field.value
        or field.tables
        or any(member.required or _has_constraints(member) for member in field.members)
        or (field.element is not None and _has_constraints(field.element))
    )


def _check_all(fields: Sequence[Field], body: Mapping[str, Any]) -> None:
    violations: list[str] = []
    for field in fields:
        _check_constraints(field, body.get(field.name), "", violations)
        if violations and field.alone:
            break
    if violations:
        if len(violations) == 1:
            violations = [_tersely(violations[0], fields)]
        shown = violations[:VIOLATIONS_MAX]
        raise invalid(f"{len(shown)} validation error{'s' if len(shown) > 1 else ''} detected: {'; '.join(shown)}")


def _tersely(violation: str, fields: Sequence[Field]) -> str:
    for field in fields:
        place = f" at '{_lower_first(field.name)}' "
        if field.terse and place in violation:
            return f"Value at '{field.name}' {violation.split(place, 1)[1]}"
    return violation


def _check_constraints(field: Field, value: Any, parent: str, violations: list[str]) -> None:
    if value is None:
        if field.required:
            violations.append(_violation(field, value, parent, "Member must not be null"))
        return
    for constraint in _broken(field, value):
        violations.append(_violation(field, value, parent, constraint))
    if field.members or field.element is not None:
        path = f"{parent}{_lower_first(field.name)}."
        for member in field.members:
            _check_constraints(member, value.get(member.name), path, violations)
        if field.element is not None:
            entries = value.items() if isinstance(value, dict) else enumerate(value, 1)
            for label, element in entries:
                _check_constraints(field.element._replace(name=f"{label}.member"), element, path, violations)


def _broken(field: Field, value: Any) -> list[str]:
    """The constraints a value breaks, in AWS's words."""
    broken: list[str] = []
    if field.enum and value not in field.enum:
        broken.append(f"Member must satisfy enum value set: [{', '.join(field.enum)}]")
    # An empty name of a table is told for its length alone.
    if field.pattern is not None and (value or field.name != "TableName") and not matches(field.pattern, value):
        broken.append(f"Member must satisfy regular expression pattern: {field.pattern}")
    if field.length is not None:
        broken += _out_of_range(field.length, "length", len(value))
    if field.value is not None:
        broken += _out_of_range(field.value, "value", value)
    if field.tables and not all(map(is_table, value)):
        broken.append(TABLES_CONSTRAINT)
    return broken


def is_table(name: str) -> bool:
    """Whether it can be what a batch calls a table: a name or an ARN."""
    proper = 3 <= len(name) <= 255 and matches(TABLE_NAME_PATTERN, name)
    return proper or TABLE_ARN.fullmatch(name) is not None


def matches(pattern: str, text: str) -> bool:
    return _compiled(pattern).fullmatch(text) is not None


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def _out_of_range(limits: tuple[int, int], what: str, measured: int) -> list[str]:
    if measured < limits[0]:
        return [f"Member must have {what} greater than or equal to {limits[0]}"]
    if measured > limits[1]:
        return [f"Member must have {what} less than or equal to {limits[1]}"]
    return []


def _violation(field: Field, value: Any, parent: str, constraint: str) -> str:
    shown = "null" if value is None else f"'{_shown(field, value)}'"
    return f"Value {shown} at '{parent}{_lower_first(field.name)}' failed to satisfy constraint: {constraint}"


def _lower_first(name: str) -> str:
    return name[0].lower() + name[1:]


def _shown(field: Field, value: Any) -> str:
    if isinstance(value, list) and field.element is not None:
        return "[" + ", ".join(_shown(field.element, element) for element in value) + "]"
    if field.shape and isinstance(value, dict):
        members = [f"{_lower_first(member.name)}={value.get(member.name)}" for member in field.members]
        return f"{field.shape}({', '.join(members)})"
    return value if isinstance(value, str) else encode(value).decode()


def envelope(error: ApiError) -> ApiError:
    """A refused write as the service words it: rules of the request stand behind ``1 validation error detected:``,
    those of the item's structure do not. Reads have no such envelope."""
    text = error.message
    if error.kind != "ValidationException" or text.startswith("Supplied AttributeValue"):
        return error
    return invalid(f"1 validation error detected: {text}")


def check_control_name(body: dict[str, Any], table: Table, *, measured: bool = True) -> None:
    """What operations on tables, unlike those on items, say of a table's name before all other rules. Leaves the name
    of an ARN in its place. ``measured``: its length, too, is told before them."""
    table.check_shapes(body)
    name = body.get("TableName")
    if name is None:
        raise invalid("The parameter 'TableName' is required but was not present in the request")
    arn = TABLE_ARN.fullmatch(name)
    if arn is not None:
        name = body["TableName"] = arn[1]
    if measured and not 3 <= len(name) <= 255:
        raise invalid("TableName must be at least 3 characters long and at most 255 characters long")


TABLE_NAME = Field("TableName", "str", required=True, pattern=TABLE_NAME_PATTERN, length=(1, 255), alone=True)
RETURN_CAPACITY = Field("ReturnConsumedCapacity", "str", enum=("INDEXES", "TOTAL", "NONE"))
RETURN_METRICS = Field("ReturnItemCollectionMetrics", "str", enum=("SIZE", "NONE"))
ON_CONDITION_FAILURE = Field("ReturnValuesOnConditionCheckFailure", "str", enum=("ALL_OLD", "NONE"))
RETURN_VALUES = Field("ReturnValues", "str", enum=("ALL_NEW", "UPDATED_OLD", "ALL_OLD", "NONE", "UPDATED_NEW"))
EXPRESSION_NAMES = Field("ExpressionAttributeNames", "map", element=Field("name", "str"))
EXPRESSION_VALUES = Field("ExpressionAttributeValues", "item")
CONDITION = Field("ConditionExpression", "str")
KEY = Field("Key", "item", required=True)
INDEX_NAME = Field("IndexName", "str", pattern=TABLE_NAME_PATTERN, length=(3, 255))
LIMIT = Field("Limit", "int", value=(1, 2**31 - 1), terse=True)
SELECT = Field("Select", "str", enum=("SPECIFIC_ATTRIBUTES", "COUNT", "ALL_ATTRIBUTES", "ALL_PROJECTED_ATTRIBUTES"))
START_KEY = Field("ExclusiveStartKey", "item")
