"""The shapes of a request's members: JSON of the wrong type, in the words of the service's parser.

A request is read as a whole before any of its rules are looked at, so that a value of the wrong type anywhere is told
before a member that is missing. Names are those of the service's own (Java) types.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from cluster.core.errors import ApiError
from cluster.core.items import DEPTH_MAX, TRUTHS, check_base64

if TYPE_CHECKING:
    from cluster.api.fields import Field

MODEL = "com.amazonaws.dynamodb.v20120810."
MAP_WHERE_NOT_EXPECTED = "Start of structure or map found where not expected"
BAD_CAST = (
    "class sun.reflect.generics.reflectiveObjects.ParameterizedTypeImpl cannot be cast to class java.lang.Class "
    "(sun.reflect.generics.reflectiveObjects.ParameterizedTypeImpl and java.lang.Class are in module java.base of "
    "loader 'bootstrap')"
)
"""Of a scalar where a container of containers has one; the service's own mishap."""

_SCALARS = {"str": "String", "bool": "Boolean", "int": "Integer"}


def check_shape(field: Field, value: Any, *, element: bool = False) -> None:
    """Raise ``SerializationException`` for a value that cannot be this member's. ``element``: it is one of a list's or
    a map's. Constraints are no matter here."""
    kind = field.kind
    if value is None:
        return
    if kind in _SCALARS:
        _check_scalar(value, field.shape or _SCALARS[kind])
    elif kind == "value":
        check_value_shape(value, element=element)
    elif kind == "list":
        _check_list(value, element)
        if field.element is not None:
            inner = field.element
            if inner.kind == "struct" and not inner.shape:
                inner = inner._replace(name=field.name[: -2 if field.name.endswith("xes") else -1])  # the singular
            for one in value:
                check_shape(inner, one, element=True)
    elif kind == "struct":
        _check_struct(value, field.shape or field.name, element)
        for member in field.members:
            check_shape(member, value.get(member.name))
    else:
        _check_map(value, _of(field), element)
        for one in value.values():
            if kind == "item":
                if one is not None:
                    check_value_shape(one, element=True)
            elif field.element is not None:
                check_shape(field.element, one, element=True)


def _of(field: Field) -> str:
    """What a map holds."""
    if field.kind == "item" or field.element is None:
        return f"{MODEL}AttributeValue"
    inner = field.element
    if inner.kind == "str":
        return "java.lang.String"
    if inner.kind == "list" and inner.element is not None:
        return f"java.util.List<{MODEL}{inner.element.shape}>"
    return f"{MODEL}{inner.shape}"


def check_value_shape(value: Any, *, element: bool, depth: int = 1) -> None:
    """The same for an attribute value; what is nested too deeply to be one is told elsewhere."""
    _check_struct(value, "AttributeValue", element)
    if depth > DEPTH_MAX + 1:
        return
    for kind, content in value.items():
        if content is None or kind not in _CONTENTS:
            continue
        if kind in ("L", "M"):
            if kind == "L":
                _check_list(content, False)
            else:
                _check_map(content, f"{MODEL}AttributeValue", False)
            for one in content if kind == "L" else content.values():
                if one is not None:
                    check_value_shape(one, element=True, depth=depth + 1)
        elif kind in ("SS", "NS", "BS"):
            _check_list(content, False)
            for one in content:
                if one is not None:
                    _CONTENTS[kind](one)
        else:
            _CONTENTS[kind](content)


def _check_scalar(value: Any, target: str) -> None:
    if type(value) is {"String": str, "Boolean": bool}.get(target, int):
        return
    if type(value) is list:
        raise wrong(f"Unrecognized collection type class java.lang.{target}")
    if type(value) is dict:
        raise wrong(MAP_WHERE_NOT_EXPECTED)
    if type(value) is bool:
        token = "TRUE_VALUE" if value else "FALSE_VALUE"
    elif type(value) is str:
        if target == "Boolean":
            raise wrong("Unexpected token received from parser")
        token = "STRING_VALUE"
    else:
        token = "NUMBER_VALUE" if type(value) is int else "DECIMAL_VALUE"
    raise wrong(f"{token} cannot be converted to {target}")


def _check_string(content: Any) -> None:
    _check_scalar(content, "String")


def _check_truth(content: Any) -> None:
    if type(content) is not str or content.upper() not in TRUTHS:
        _check_scalar(content, "Boolean")


def _check_blob(content: Any) -> None:
    if type(content) is list:
        raise wrong("Unrecognized collection type class java.nio.ByteBuffer")
    if type(content) is dict:
        raise wrong(MAP_WHERE_NOT_EXPECTED)
    if type(content) is not str:
        raise wrong("only base-64-encoded strings are convertible to bytes")
    if len(content) % 4:
        raise wrong(f"Base64 encoded length is expected a multiple of 4 bytes but found: {len(content)}")
    try:
        check_base64(content)
    except ApiError:
        raise wrong("Invalid last non-pad Base64 character dectected") from None


_CONTENTS: dict[str, Callable[[Any], None]] = {
    "S": _check_string,
    "N": _check_string,
    "B": _check_blob,
    "BOOL": _check_truth,
    "NULL": _check_truth,
    "SS": _check_string,
    "NS": _check_string,
    "BS": _check_blob,
    "L": _check_string,
    "M": _check_string,
}
"""What checks a type's content, or one element of it."""


def _check_list(value: Any, element: bool) -> None:
    if type(value) is dict:
        raise wrong(MAP_WHERE_NOT_EXPECTED)
    if type(value) is not list:
        raise wrong(BAD_CAST if element else "Unexpected field type")


def _check_map(value: Any, holds: str, element: bool) -> None:
    if type(value) is list:
        raise wrong(f"Unrecognized collection type java.util.Map<java.lang.String, {holds}>")
    if type(value) is not dict:
        raise wrong(BAD_CAST if element else "Unexpected field type")


def _check_struct(value: Any, shape: str, element: bool) -> None:
    if type(value) is list:
        raise wrong(f"Unrecognized collection type class {MODEL}{shape}")
    if type(value) is not dict:
        raise wrong("Unexpected value type in payload" if element else "Unexpected field type")


def wrong(message: str) -> ApiError:
    """JSON that is not what the member takes."""
    return ApiError("SerializationException", message)
