"""The syntax tree. Placeholders stay as written (``#name``, ``:value``): a tree belongs to a text, not to a request."""

from __future__ import annotations

from typing import NamedTuple


class Path(NamedTuple):
    """A document path: attribute names (or ``#name``) and list indexes. The first part is a name."""

    parts: tuple[str | int, ...]


class Value(NamedTuple):
    """A ``:value`` placeholder."""

    name: str


class Call(NamedTuple):
    """A function; ``size`` is an operand, ``if_not_exists`` and ``list_append`` are operands of SET, the rest
    conditions."""

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


class Not(NamedTuple):
    condition: Condition


class All(NamedTuple):
    """AND over two or more conditions."""

    conditions: tuple[Condition, ...]


class Any(NamedTuple):
    """OR over two or more conditions."""

    conditions: tuple[Condition, ...]


class Action(NamedTuple):
    """One clause of an update: ``SET path = value``, ``REMOVE path``, ``ADD path :v`` or ``DELETE path :v``."""

    section: str
    path: Path
    value: Operand | None


Operand = Path | Value | Call | Arithmetic
Condition = Compare | Between | In | Not | All | Any | Call


class Parsed(NamedTuple):
    """A whole expression. Exactly one of the three roots is used, by kind of expression."""

    text: str
    condition: Condition | None
    actions: tuple[Action, ...]
    paths: tuple[Path, ...]
    names: tuple[str, ...]
    """Every ``#name`` used, in order of first use."""
    values: tuple[str, ...]
    """Every ``:value`` used, in order of first use."""
