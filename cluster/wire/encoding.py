"""Content codings: gzip for what comes in, gzip or deflate for what goes out, as DynamoDB has them.

A signature and a checksum are of the bytes that travel, so both are dealt with on the coded side. What a caller's gzip
unfolds to is bounded like a request that came as it is: a few bytes can unfold to a thousand times their size.
"""

from __future__ import annotations

import re
import zlib

from cluster.core.errors import ApiError

COMPRESSED_FROM_BYTES = 4096
"""Smaller answers are not worth it."""

_LEVEL = 1
"""The fastest: the router has other requests to serve."""

_GZIP = 16 + zlib.MAX_WBITS

_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]*)?", re.ASCII)


def expand(body: bytes, coding: str, limit_bytes: int) -> bytes:
    """A request's body as it was before ``coding``. What cannot be undone is answered as the service does: 500."""
    if coding.strip().lower() != "gzip":
        raise _broken()
    parts: list[bytes] = []
    size = 0
    rest = body
    while rest or not parts:  # several gzips, one after another, are one gzip
        unzip = zlib.decompressobj(_GZIP)
        try:
            part = unzip.decompress(rest, limit_bytes - size + 1)
        except zlib.error:
            raise _broken() from None
        size += len(part)
        if size > limit_bytes:
            raise ApiError("RequestEntityTooLargeException", "the request's body is too long")
        if not unzip.eof:
            raise _broken()
        parts.append(part)
        rest = unzip.unused_data
    return b"".join(parts)


def _broken() -> ApiError:
    return ApiError("InternalServerError", "The request's content coding is unknown or broken.")


def choose(accepted: str) -> str | None:
    """The coding to answer with, from an Accept-Encoding header: the one with the greatest weight, of those the one
    named first, and gzip of those that only ``*`` stands for. None: as it is. Of what is no proper header, AWS's
    reading is kept: a coding counts by the best of its entries, an entry by its first proper weight, and no weight
    exceeds 1."""
    weights: dict[str, float] = {}
    for entry in accepted.split(","):
        name, _, parameters = entry.partition(";")
        coding = name.strip().lower()
        weights[coding] = max(weights.get(coding, 0.0), _weight(parameters))
    named = [name for name in weights if name in ("gzip", "deflate")]
    order = named + [name for name in ("gzip", "deflate") if name not in named and "*" in weights]
    best = max(order, key=lambda name: weights.get(name, weights.get("*", 0.0)), default=None)
    return best if best is not None and weights.get(best, weights.get("*", 0.0)) > 0.0 else None


def _weight(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q" and _NUMBER.fullmatch(value.strip()):
            return min(max(float(value), 0.0), 1.0)
    return 1.0


def compress(body: bytes, coding: str) -> bytes:
    """A body in a coding of :func:`choose`."""
    maker = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP if coding == "gzip" else zlib.MAX_WBITS)
    return maker.compress(body) + maker.flush()
