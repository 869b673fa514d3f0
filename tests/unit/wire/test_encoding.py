"""Content codings: what is unfolded and what not, and which one an answer is given in."""

from __future__ import annotations

import gzip
import zlib

import pytest

from cluster.core.errors import ApiError
from cluster.wire.encoding import choose, compress, expand


def test_gzips_unfold_one_after_another() -> None:
    assert expand(gzip.compress(b"abc", mtime=0), "gzip", 10) == b"abc"
    assert expand(gzip.compress(b"abc", mtime=0) + gzip.compress(b"def"), " GZIP ", 10) == b"abcdef"


@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (b"no gzip", "gzip"),
        (b"", "gzip"),
        (gzip.compress(b"abc", mtime=0)[:-1], "gzip"),
        (gzip.compress(b"abc", mtime=0) + b"junk", "gzip"),
        (b"{}", "garbage"),
    ],
)
def test_what_does_not_unfold_is_the_services_fault(body: bytes, coding: str) -> None:
    with pytest.raises(ApiError) as failed:
        expand(body, coding, 1000)
    assert failed.value.kind == "InternalServerError"


def test_a_bomb_is_not_unfolded() -> None:
    bomb = gzip.compress(b" " * 20_000_000)
    assert len(bomb) < 100_000
    with pytest.raises(ApiError) as failed:
        expand(bomb, "gzip", 16 * 1024 * 1024)
    assert failed.value.kind == "RequestEntityTooLargeException"


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("identity", None),
        ("", None),
        ("br", None),
        ("x-gzip", None),
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("gzip, deflate", "gzip"),
        ("br, identity, deflate, gzip", "deflate"),
        ("GZIP, identity", "gzip"),
        ("dog, gzip ,, cat", "gzip"),
        ("gzip;q=0.8, deflate;q=0.5", "gzip"),
        ("br, gzip;q=0, deflate; q = 0.5 , identity;q=0", "deflate"),
        ("*", "gzip"),
        ("*, deflate;q=0.5", "gzip"),
        ("*, deflate", "deflate"),
        ("gzip;q=31,deflate;q=51", "gzip"),  # no weight exceeds 1
        ("deflate;q=-0.5, gzip;q=0.2", "gzip"),
        ("deflate;q=0.5, gzip;q=1;q=0.2", "gzip"),  # the first counts
        ("gzip;level=1;q=0 ", None),
        ("deflate;q=0.5, gzip;q=0.", "deflate"),
        ("deflate;q=0.5, gzip;q=0.x", "gzip"),  # as if there were none
        ("deflate;q=0.5, gzip;q=nan", "gzip"),
        ("gzip;q=0, gzip;q=1, gzip;q=0", "gzip"),
        ("*, identity", "gzip"),
        ("*, gzip;q=0.5", "deflate"),
        ("gzip ;q=0", None),
        ("gzip;q=x", "gzip"),
    ],
)
def test_the_coding_of_an_answer(accepted: str, coding: str | None) -> None:
    assert choose(accepted) == coding


def test_codings_are_what_they_are_called() -> None:
    body = b"x" * 5000
    assert gzip.decompress(compress(body, "gzip")) == body
    assert zlib.decompress(compress(body, "deflate")) == body
