"""Equality, order and size of attribute values."""

from __future__ import annotations

from binascii import a2b_base64
from decimal import Decimal
from typing import Any

from cluster.core.items import Value

ORDERED = ("N", "S", "B")
"""Types that ``<`` and BETWEEN compare; S by UTF-8 bytes, B by unsigned bytes."""

SETS = ("SS", "NS", "BS")


def kind_of(value: Value) -> str:
    """A value's type letter."""
    return next(iter(value))


def equal(left: Value, right: Value) -> bool:
    """DynamoDB equality: same type and content; the order of a set's elements does not matter, at any depth."""
    if left == right:
        return True
    kind = kind_of(left)
    if kind != kind_of(right):
        return False
    one, other = left[kind], right[kind]
    if kind in SETS:
        return len(one) == len(other) and set(one) == set(other)
    if kind == "L":
        return len(one) == len(other) and all(equal(a, b) for a, b in zip(one, other, strict=True))
    if kind == "M":
        return one.keys() == other.keys() and all(equal(value, other[name]) for name, value in one.items())
    return False


def ordering(value: Value) -> Any:
    """Something Python orders as DynamoDB orders this value among values of its type; only for :data:`ORDERED`."""
    kind = kind_of(value)
    if kind == "N":
        return Decimal(value["N"])
    if kind == "B":
        return a2b_base64(value["B"])
    return value["S"]


def compare(operator: str, left: Value | None, right: Value | None) -> bool:
    """One comparison; None stands for a missing attribute, which equals nothing and is ordered nowhere."""
    if operator == "=":
        return left is not None and right is not None and equal(left, right)
    if operator == "<>":
        return left is None or right is None or not equal(left, right)
    if left is None or right is None:
        return False
    kind = kind_of(left)
    if kind != kind_of(right) or kind not in ORDERED:
        return False
    one, other = ordering(left), ordering(right)
    if operator == "<":
        return bool(one < other)
    if operator == "<=":
        return bool(one <= other)
    if operator == ">":
        return bool(one > other)
    return bool(one >= other)


def begins_with(value: Value, prefix: Value) -> bool:
    """Strings or binaries; any other pair is false."""
    if "S" in value and "S" in prefix:
        return bool(value["S"].startswith(prefix["S"]))
    if "B" in value and "B" in prefix:
        return a2b_base64(value["B"]).startswith(a2b_base64(prefix["B"]))
    return False


def contains(value: Value, part: Value) -> bool:
    """A substring, an element of a set, or an element of a list."""
    kind, other = kind_of(value), kind_of(part)
    if kind in ("S", "B"):
        if kind != other:
            return False
        if kind == "S":
            return part["S"] in value["S"]
        return a2b_base64(part["B"]) in a2b_base64(value["B"])
    if kind in SETS:
        return other == kind[0] and part[other] in value[kind]
    return kind == "L" and any(equal(element, part) for element in value["L"])


def size(value: Value) -> int | None:
    """What ``size()`` gives: UTF-16 units of a string, as in Java, bytes of a binary, elements of a set, list or map;
    None for other types."""
    kind = kind_of(value)
    if kind == "S":
        text: str = value["S"]
        return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2
    if kind == "B":
        return len(a2b_base64(value["B"]))
    if kind in ("N", "BOOL", "NULL"):
        return None
    return len(value[kind])
