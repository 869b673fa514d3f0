"""Items: DynamoDB JSON as Python dicts (``{"pk": {"S": "x"}}``), checked and normalised once, at the router.

An *image* is an item as the log and the B-tree hold it: the *stamp* of its last write (u64), a version byte, the item's
DynamoDB size (u32, so that capacity is known without decoding), then the compact JSON that is returned to callers as it
is. A stamp is a time in microseconds, assigned when the group's leader decides the write; along the writes of one item
stamps only rise. An image on its way to a leader has none yet and begins with the version byte. The two are told apart
by the first byte: a stamp's is 0 until the year 4253, and no version is. Code that reads an image must accept every
version ever written; today there is one.
"""

from __future__ import annotations

import struct
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from cluster.core import numbers
from cluster.core.errors import ApiError, RefusedValue, invalid

Item = dict[str, Any]
"""Attribute name to attribute value."""

Value = dict[str, Any]
"""One attribute value: exactly one of the ten type letters to its content."""

TYPES = ("S", "N", "B", "BOOL", "NULL", "M", "L", "SS", "NS", "BS")
ITEM_BYTES_MAX = 400 * 1024
DEPTH_MAX = 32
"""Levels of nesting; an item's own attributes are the first."""
NAME_BYTES_MAX = 65_535
IMAGE_VERSION = 1
TOO_DEEP = (
    "Nesting Levels have exceeded supported limits: Attributes in the item have nested levels beyond supported limit"
)

TOO_LARGE = "Item size has exceeded the maximum allowed size"
EMPTY_NAME = "Empty attribute name"
_WRONG = "One or more parameter values were invalid: "

_HEADER = struct.Struct(">BI")
_HEADER_BYTES = _HEADER.size
_STAMP_BYTES = 8
_STAMPED_HEADER_BYTES = _STAMP_BYTES + _HEADER_BYTES


class Codec(NamedTuple):
    """JSON, injected, because ``core`` imports only the standard library. ``encode`` writes compact UTF-8."""

    decode: Callable[[bytes], Any]
    encode: Callable[[Any], bytes]


def pack_image(size: int, body: bytes) -> bytes:
    """An image, not stamped yet, from an item's size in bytes and its JSON."""
    return _HEADER.pack(IMAGE_VERSION, size) + body


def stamped(image: bytes, stamp: int) -> bytes:
    """The image with the time of its write, whatever it had before."""
    return stamp.to_bytes(_STAMP_BYTES, "big") + (image if image[0] else image[_STAMP_BYTES:])


def image_stamp(image: bytes) -> int:
    """When the image was written, in microseconds since the epoch; 0: not stamped."""
    return 0 if image[0] else int.from_bytes(image[:_STAMP_BYTES], "big")


def image_size(image: bytes) -> int:
    """The item's DynamoDB size in bytes, names included."""
    version, size = _HEADER.unpack_from(image, 0 if image[0] else _STAMP_BYTES)
    if version != IMAGE_VERSION:
        raise ValueError(f"item image of version {version}: written by newer code than this")
    return int(size)


def image_body(image: bytes) -> bytes:
    """The item's JSON."""
    return image[_HEADER_BYTES:] if image[0] else image[_STAMPED_HEADER_BYTES:]


def shown_image(image: bytes | None) -> bytes | None:
    """The item's JSON, or None for no item."""
    return None if image is None else image_body(image)


def item_size(item: Mapping[str, Any]) -> int:
    """An item's size as DynamoDB counts it: names and values, UTF-8 [DG]."""
    total = 0
    for name, value in item.items():
        total += (len(name) if name.isascii() else len(name.encode())) + value_size(value)
    return total


def checked_size(item: Mapping[str, Any]) -> int:
    """The same of an item that is to be stored whole; refuses one that is too large."""
    size = item_size(item)
    if size > ITEM_BYTES_MAX:
        raise invalid(TOO_LARGE)
    return size


def value_size(value: Mapping[str, Any]) -> int:
    """One normalised attribute value's size in bytes."""
    ((kind, content),) = value.items()
    if kind == "S":
        return len(content) if content.isascii() else len(content.encode())
    if kind == "N":
        return numbers.size(content)
    if kind == "B":
        return _base64_bytes(content)
    if kind == "SS":
        return sum(len(text.encode()) for text in content)
    if kind == "NS":
        return sum(numbers.size(text) for text in content)
    if kind == "BS":
        return sum(_base64_bytes(text) for text in content)
    if kind == "M":
        return 3 + len(content) + item_size(content)
    if kind == "L":
        return 3 + len(content) + sum(value_size(element) for element in content)
    return 1


def _base64_bytes(text: str) -> int:
    return len(text) // 4 * 3 - text.count("=", -2)


def check_names(names: Iterable[str]) -> None:
    """Refuse attribute names that are too long."""
    for name in names:
        if len(name) * 4 > NAME_BYTES_MAX and len(name.encode()) > NAME_BYTES_MAX:
            raise invalid(
                "One or more parameter values were invalid: Attribute name is too large, must be less than "
                f"{NAME_BYTES_MAX + 1} bytes"
            )


def normalise_item(item: Any) -> Item:
    """Check an item from a request and put its numbers into canonical form. Returns a new dict."""
    check_top_names(item)
    try:
        return {name: normalise_value(value) for name, value in item.items()}
    except _EmptyName:
        # A name within a document is told last of all: the other values may have worse to say.
        for value in item.values():
            with suppress(_EmptyName):
                normalise_value(value)
        raise


def check_top_names(item: Mapping[str, Any]) -> None:
    """Refuse an item with an attribute without a name; those within documents are :func:`normalise_item`'s."""
    if "" in item:
        raise invalid(EMPTY_NAME)


class _EmptyName(ApiError):
    """A map in a document with an empty name."""

    def __init__(self) -> None:
        super().__init__("ValidationException", EMPTY_NAME)


def normalise_value(value: Any, depth: int = 1) -> Value:
    """Check one attribute value from a request; ``depth`` is how deep it is nested, 1 for an item's own attributes.

    Raises ``SerializationException`` for JSON of the wrong shape and ``ValidationException`` for values DynamoDB
    refuses.
    """
    if type(value) is not dict:
        raise _wrong_shape(value)
    if len(value) != 1:
        return _sole_type(value, depth)
    ((kind, content),) = value.items()
    if kind == "S":
        if type(content) is str:
            return value
        if content is not None:
            raise _not_a_string(content)
    check = _CHECKS.get(kind)
    if check is None or content is None:
        return _sole_type(value, depth)
    return check(content, depth)


def _sole_type(value: Mapping[str, Any], depth: int) -> Value:
    """The rare shapes: nulls beside a type are as if absent, unknown members are ignored."""
    known = {kind: content for kind, content in value.items() if kind in TYPES and content is not None}
    if not known:
        raise invalid("Supplied AttributeValue is empty, must contain exactly one of the supported datatypes")
    checked = [normalise_value({kind: content}, depth) for kind, content in known.items()]
    if len(checked) > 1:
        raise invalid(
            "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported "
            "datatypes"
        )
    return checked[0]


def _number(content: Any, depth: int) -> Value:
    if type(content) is not str:
        raise _not_a_string(content)
    return {"N": numbers.normalise(content)}


def _binary(content: Any, depth: int) -> Value:
    return {"B": check_base64(content)}


TRUTHS = {"TRUE": True, "YES": True, "1": True, "FALSE": False, "NO": False, "0": False}
"""Texts, in capitals, that are truth values to the service."""


def _truth(content: Any) -> bool:
    if type(content) is bool:
        return content
    truth = TRUTHS.get(content.upper()) if type(content) is str else None
    if truth is None:
        raise _serialization(_cannot_convert(content, "Boolean"))
    return truth


def _boolean(content: Any, depth: int) -> Value:
    return {"BOOL": _truth(content)}


def _null(content: Any, depth: int) -> Value:
    if not _truth(content):
        raise invalid(f"{_WRONG}Null attribute value types must have the value of true")
    return {"NULL": True}


def _map(content: Any, depth: int) -> Value:
    if type(content) is not dict:
        raise _serialization(
            "Start of list found where not expected" if type(content) is list else "Expected map or null"
        )
    if content:
        _check_depth(depth + 1)
        if "" in content:
            _refuse_empty_name(content, depth)
    return {"M": {name: normalise_value(value, depth + 1) for name, value in content.items()}}


def _list(content: Any, depth: int) -> Value:
    _check_is_list(content)
    if content:
        _check_depth(depth + 1)
    return {"L": [normalise_value(value, depth + 1) for value in content]}


def _refuse_empty_name(content: Mapping[str, Any], depth: int) -> None:
    for value in content.values():
        normalise_value(value, depth + 1)
    raise _EmptyName


def _check_depth(depth: int) -> None:
    if depth > DEPTH_MAX:
        raise invalid(TOO_DEEP)


def _check_is_list(content: Any) -> None:
    if type(content) is not list:
        raise _serialization(
            "Start of structure or map found where not expected." if type(content) is dict else "Expected list or null"
        )


def _string_set(content: Any, depth: int) -> Value:
    texts = _set_members(content, "string")
    if len(set(texts)) != len(texts):
        raise _duplicates(texts, sorted, ", ", "")
    return {"SS": texts}


def _number_set(content: Any, depth: int) -> Value:
    texts = [numbers.normalise(text) for text in _set_members(content, "number")]
    if len(set(texts)) != len(texts):
        raise RefusedValue(f"{_WRONG}Input collection contains duplicates.", "Input collection contains duplicates")
    return {"NS": texts}


def _binary_set(content: Any, depth: int) -> Value:
    texts = [check_base64(text) for text in _set_members(content, "binary")]
    if len(set(texts)) != len(texts):
        raise _duplicates(texts, lambda members: sorted(members, key=a2b_base64), ",", "of type BS")
    return {"BS": texts}


def _set_members(content: Any, what: str) -> list[str]:
    _check_is_list(content)
    if not content:
        reason = "Binary sets should not be empty" if what == "binary" else f"An {what} set  may not be empty"
        raise invalid(f"{_WRONG}{reason}")
    for text in content:
        if type(text) is not str:
            raise _not_a_string(text)
    return list(content)


def _duplicates(texts: list[str], order: Callable[[list[str]], list[str]], comma: str, what: str) -> ApiError:
    """The newer layer lists members in the order of their bytes until the first that repeats one, the rest as sent."""
    first_at = {text: at for at, text in reversed(list(enumerate(texts)))}
    at = next(at for at, text in enumerate(texts) if first_at[text] < at)
    shown = comma.join(f'"{text}"' for text in (*order(texts[:at]), *texts[at:]))
    said = f"{_WRONG}Input collection [{{}}]{what} contains duplicates."
    return RefusedValue(said.format(shown), said.format(", ".join(texts)))


def check_base64(text: Any) -> str:
    """Strict, canonical base64 (so that equal binaries have equal texts), or AWS's ``SerializationException``."""
    if type(text) is not str:
        raise _serialization(_cannot_convert(text, "Blob", "a"))
    if len(text) % 4:
        raise _serialization(
            f"'{text}' can not be converted to a Blob: Base64 encoded length is expected a multiple of 4 bytes but "
            f"found: {len(text)}"
        )
    if not text:
        return text
    try:
        a2b_base64(text, strict_mode=True)
    except (Base64Error, ValueError):
        raise _serialization(f"'{text}' can not be converted to a Blob: Invalid Base64 character") from None
    if text[-1] == "=" and b2a_base64(a2b_base64(text[-4:]), newline=False).decode() != text[-4:]:
        raise _serialization(
            f"'{text}' can not be converted to a Blob: Invalid last non-pad Base64 character dectected"
        )
    return text


def _serialization(message: str) -> ApiError:
    return ApiError("SerializationException", message)


def _wrong_shape(value: Any) -> ApiError:
    return _serialization("Start of list found where not expected" if type(value) is list else "Expected null")


def _not_a_string(content: Any) -> ApiError:
    return _serialization(_cannot_convert(content, "String"))


def _cannot_convert(content: Any, target: str, article: str = "an") -> str:
    """AWS's words for JSON of the wrong type, its grammar included."""
    if content is None:
        return "Unexpected null"
    if type(content) is list:
        return "Start of list found where not expected"
    if type(content) is dict:
        return "Start of structure or map found where not expected."
    if type(content) is bool:
        return f"{'TRUE_VALUE' if content else 'FALSE_VALUE'} cannot be converted to {target}"
    if type(content) is str:
        return f"STRING_VALUE cannot be converted to {target}"
    return f"{'NUMBER_VALUE' if type(content) is int else 'DECIMAL_VALUE'} cannot be converted to {target}"


_CHECKS: dict[str, Callable[[Any, int], Value]] = {
    "N": _number,
    "B": _binary,
    "BOOL": _boolean,
    "NULL": _null,
    "M": _map,
    "L": _list,
    "SS": _string_set,
    "NS": _number_set,
    "BS": _binary_set,
}
