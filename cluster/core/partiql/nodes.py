"""The syntax tree of a statement. Values are DynamoDB's, with parameters already in their places."""

from __future__ import annotations

from typing import NamedTuple

from cluster.core.items import Item, Value


class Path(NamedTuple):
    """An attribute, or a part of one: names and list indexes; the first is a name."""

    parts: tuple[str | int, ...]


class Literal(NamedTuple):
    value: Value


class Function(NamedTuple):
    name: str
    arguments: tuple[Operand, ...]


class Arithmetic(NamedTuple):
    """``+`` or ``-`` in SET."""

    operator: str
    left: Operand
    right: Operand


class Compare(NamedTuple):
    operator: str
    left: Operand
    right: Operand


class Between(NamedTuple):
    operand: Operand
    low: Operand
    high: Operand


class In(NamedTuple):
    operand: Operand
    options: tuple[Operand, ...]


class Is(NamedTuple):
    """``IS [NOT] MISSING``, ``IS [NOT] NULL`` or ``IS [NOT]`` a type."""

    path: Path
    what: str
    """``MISSING`` or the letters of a type."""
    negated: bool


class Not(NamedTuple):
    condition: Condition


class And(NamedTuple):
    conditions: tuple[Condition, ...]


class Or(NamedTuple):
    conditions: tuple[Condition, ...]


Operand = Path | Literal | Function | Arithmetic
Condition = Compare | Between | In | Is | Not | And | Or | Function


class Select(NamedTuple):
    table: str
    index_name: str | None
    columns: tuple[Path, ...] | None
    """None: ``*``."""
    where: Condition | None
    order: tuple[tuple[Path, bool], ...]
    """Attribute and whether it falls."""


class Exists(NamedTuple):
    """``EXISTS(SELECT ...)``: a condition check in a transaction."""

    select: Select


class Insert(NamedTuple):
    table: str
    item: Item


class Set(NamedTuple):
    """One assignment of UPDATE, or with no value a REMOVE."""

    path: Path
    value: Operand | None


class Update(NamedTuple):
    table: str
    sets: tuple[Set, ...]
    where: Condition | None
    returning: str


class Delete(NamedTuple):
    table: str
    where: Condition | None
    returning: str
    """Such as ``ALL OLD``; empty: nothing."""


Statement = Select | Exists | Insert | Update | Delete
