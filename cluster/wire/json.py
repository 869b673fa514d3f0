"""JSON through msgspec, and the codec that ``core`` is given because it may import only the standard library."""

from __future__ import annotations

from typing import Any

import msgspec

from cluster.core.errors import ApiError
from cluster.core.items import Codec

decode = msgspec.json.Decoder().decode
encode = msgspec.json.Encoder().encode

CODEC = Codec(decode, encode)
"""What :func:`cluster.core.commands.evaluate` wants as its codec."""


def read_body(body: bytes) -> dict[str, Any]:
    """A request body as a dict. Raises ``SerializationException``, without text, for anything that is no JSON object;
    nesting beyond the decoder's own limit is one such thing."""
    try:
        value = decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise ApiError("SerializationException") from None
    if type(value) is not dict:
        raise ApiError("SerializationException")
    return value
