"""The server's half of HTTP/1.1, sans-IO, over httptools: bytes in, requests out.

Nearly every request of a DynamoDB client is a plain ``POST /`` that arrives whole and alone. Those are taken apart by
:func:`_plain_request`, which takes two thirds of the time of a parser that calls us back for every header. Whatever is
in the least unusual goes through httptools; where both could read a request they read the same
(``tests/property/test_http_fuzz.py``).

A driver owns the socket. It calls :meth:`HttpConnection.feed` with what arrived, writes
:meth:`HttpConnection.take_outgoing` (an interim ``100 Continue``), serves the requests in order (pipelining), and
answers with :func:`response`. When :attr:`HttpConnection.failure` is set nothing further is parsed: the driver
answers the requests already given, then sends ``failure_response(failure)`` and closes. Deadlines (slow loris) are
the driver's: :attr:`HttpConnection.mid_request` says whether a request has begun and not ended, which is when the
clock should run.

Every limit is enforced before bytes are kept: headers by what has arrived, bodies by what was announced.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping
from email.utils import formatdate
from functools import partial
from typing import Any, NamedTuple

import httptools

HEADERS_BYTES_MAX = 16 * 1024
HEADERS_MAX = 100
BODY_BYTES_MAX = 16 * 1024 * 1024

REASONS: dict[int, str] = {
    100: "Continue",
    200: "OK",
    204: "No Content",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    408: "Request Timeout",
    413: "Request Entity Too Large",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
}


_names: dict[bytes, str] = {}
"""Header names as they came, in lower case: clients send the same few over and over."""

_NAMES_MAX = 1024


def _lower(name: bytes) -> str:
    lower = name.decode("latin-1").lower()
    if len(_names) < _NAMES_MAX and len(name) <= 64:
        _names[name] = lower
    return lower


class Request(NamedTuple):
    """One whole request. Header names are lower case; duplicates are joined by commas, as SigV4 wants them."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    keep_alive: bool


_request: Callable[[tuple[Any, ...]], Request] = partial(tuple.__new__, Request)
"""A request from all its fields, without a call of Python code."""


class Failure(NamedTuple):
    """Why a connection can be read no further, as the status to answer before closing."""

    status: int
    reason: str


_PLAIN_START = b"POST / HTTP/1.1\r\n"
_PLAIN_END = b"\r\n\r\n{"
_PLAIN_NAME = re.compile("[A-Za-z0-9-]{1,64}")
_PLAIN_HEAD_BYTES_MAX = 4096
_PLAIN_LENGTH_DIGITS_MAX = 7
_UNUSUAL = frozenset(("connection", "expect", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"))
"""Headers that may change how the rest is to be read."""
_FLEETING = frozenset(("amz-sdk-invocation-id", "authorization"))
"""Headers whose lines are never seen again."""

_lines: dict[str, tuple[str, str]] = {"Connection: keep-alive": ("connection", "keep-alive")}
"""Whole header lines as they came, taken apart: a client sends the same few in nearly every request."""

_signed: dict[str, int] = {}
"""Authorization headers up to their signature, which alone differs from request to request, and where values begin."""

_LINES_MAX = 2048
_LINE_CHARS_MAX = 256


def _plain_line(line: str) -> tuple[str, str] | None:
    """Name and value of a header line of ASCII; None where there is anything to it that a real parser must look at."""
    until, _, signature = line.rpartition("Signature=")
    start = _signed.get(until)
    if start is not None and signature.isalnum():
        return "authorization", line[start:]
    name, _, value = line.partition(": ")
    if not value or not value.isprintable() or value.strip() != value or not _PLAIN_NAME.fullmatch(name):
        return None
    lower = name.lower()
    if lower in _UNUSUAL:
        return None
    if lower not in _FLEETING:
        _remember(_lines, line, (lower, value))
    elif lower == "authorization" and until:
        _remember(_signed, until, len(name) + 2)
    return lower, value


def _remember(where: dict[str, Any], line: str, found: Any) -> None:
    if len(line) <= _LINE_CHARS_MAX:
        if len(where) >= _LINES_MAX:
            where.clear()
        where[line] = found


def _plain_request(data: bytes, body_bytes_max: int) -> Request | None:
    """The request that ``data`` is, where it is exactly one and a plain one; data begins with the plain start."""
    end = data.find(_PLAIN_END, 0, _PLAIN_HEAD_BYTES_MAX)
    if end < len(_PLAIN_START):
        return None
    try:
        lines = data[len(_PLAIN_START) : end].decode("ascii").split("\r\n")
    except UnicodeDecodeError:
        return None
    headers: dict[str, str] = {}
    known = _lines.get
    for line in lines:
        pair = known(line) or _plain_line(line)
        if pair is None:
            return None
        headers[pair[0]] = pair[1]
    length = headers.get("content-length", "")
    if len(headers) != len(lines) or not length.isdigit() or len(length) > _PLAIN_LENGTH_DIGITS_MAX:
        return None
    body = data[end + 4 :]
    if len(body) != int(length) or len(body) > body_bytes_max or len(headers) >= HEADERS_MAX:
        return None
    return _request(("POST", "/", headers, body, True))


class _Refused(Exception):
    """Raised inside a parser callback to stop the parser; the failure is already recorded."""


class HttpConnection:
    """One connection's parser and its limits."""

    __slots__ = (
        "_body",
        "_body_bytes",
        "_done",
        "_header_bytes",
        "_headers",
        "_headers_done",
        "_keep_alive",
        "_last",
        "_method",
        "_outgoing",
        "_parser",
        "_target",
        "_unfinished_header_bytes",
        "body_bytes_max",
        "failure",
        "mid_request",
    )

    def __init__(self, body_bytes_max: int = BODY_BYTES_MAX) -> None:
        self.body_bytes_max = body_bytes_max
        self.failure: Failure | None = None
        self.mid_request = False
        self._parser = httptools.HttpRequestParser(self)
        self._done: list[Request] = []
        self._last = False  # the parser takes no further request: the last one said so
        self._outgoing = b""
        self._reset()

    def _reset(self) -> None:
        self._target = b""
        self._headers: dict[str, str] = {}
        self._header_bytes = 0
        self._unfinished_header_bytes = 0
        self._headers_done = False
        self._body: list[bytes] = []
        self._body_bytes = 0

    def feed(self, data: bytes) -> list[Request]:
        """Take received bytes; give the requests they complete, in order. Never raises: see :attr:`failure`."""
        if not self.mid_request and not self._last and self.failure is None and data.startswith(_PLAIN_START):
            request = _plain_request(data, self.body_bytes_max)
            if request is not None:
                return [request]
        while data and self.failure is None:
            data = self._feed_parser(data)
        done, self._done = self._done, []
        return done

    def _feed_parser(self, data: bytes) -> bytes:
        """Feed once; the bytes still to be fed after a request that asked for an upgrade (which we ignore)."""
        done_before = len(self._done)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return self._without_upgrade(data[upgrade.args[0] :])
        except (httptools.HttpParserError, _Refused) as error:
            if self.failure is None:
                self.failure = Failure(400, f"no HTTP/1.1 request: {error}"[:200])
            return b""
        if not self.mid_request or self._headers_done:
            self._unfinished_header_bytes = 0
        elif len(self._done) == done_before:
            # A header line that never ends reaches no callback, so what has arrived is what counts.
            self._unfinished_header_bytes += len(data)
            if self._unfinished_header_bytes > HEADERS_BYTES_MAX:
                self.failure = Failure(431, "the request's headers are too long")
        return b""

    def _without_upgrade(self, rest: bytes) -> bytes:
        """Go on as if the request had not offered an upgrade: what to feed next. The parser ends such a request at its
        headers, so one with a body is fed again without the offer."""
        self._parser = httptools.HttpRequestParser(self)
        request = self._done[-1]
        if request.method == "CONNECT":
            self._done.pop()
            self.failure = Failure(400, "this is no proxy")
            return b""
        headers = request.headers
        if "transfer-encoding" not in headers and headers.get("content-length", "0") == "0":
            return rest
        self._done.pop()
        kept = [f"{name}: {value}" for name, value in headers.items() if name not in ("upgrade", "connection")]
        head = "\r\n".join([f"{request.method} {request.target} HTTP/1.1", *kept, "", ""])
        return head.encode("latin-1") + rest

    def take_outgoing(self) -> bytes:
        """Interim bytes to be sent before any response (``100 Continue``); usually none."""
        outgoing, self._outgoing = self._outgoing, b""
        return outgoing

    def _refuse(self, status: int, reason: str) -> None:
        self.failure = Failure(status, reason)
        raise _Refused(reason)

    # Callbacks of httptools.

    def on_message_begin(self) -> None:
        self._reset()
        self.mid_request = True

    def on_url(self, url: bytes) -> None:
        self._target += url
        self._header_bytes += len(url)
        if self._header_bytes > HEADERS_BYTES_MAX:
            self._refuse(431, "the request's target is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value) + 4
        headers = self._headers
        if self._header_bytes > HEADERS_BYTES_MAX or len(headers) >= HEADERS_MAX:
            self._refuse(431, "the request's headers are too long")
        key = _names.get(name) or _lower(name)
        text = value.decode("latin-1")
        headers[key] = f"{headers[key]},{text}" if key in headers else text

    def on_headers_complete(self) -> None:
        self._headers_done = True
        self._method = self._parser.get_method().decode("latin-1")
        self._keep_alive = self._parser.should_keep_alive()
        self._last = not self._keep_alive
        length = self._headers.get("content-length")
        if length is not None and len(length) > 7 and int(length) > self.body_bytes_max:
            self._refuse(413, "the request's body is too long")
        if "expect" in self._headers and self._headers["expect"].lower() == "100-continue":
            self._outgoing += b"HTTP/1.1 100 Continue\r\n\r\n"

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes > self.body_bytes_max:
            self._refuse(413, "the request's body is too long")
        self._body.append(body)

    def on_message_complete(self) -> None:
        self.mid_request = False
        parts = self._body
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        target = self._target.decode("latin-1")
        self._done.append(Request(self._method, target, self._headers, body, self._keep_alive))
        self._body = []


def response(status: int, headers: dict[str, str], body: bytes, *, keep_alive: bool = True) -> bytes:
    """A whole response; Content-Length and Connection are added."""
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Unknown')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines.append(f"Content-Length: {len(body)}")
    lines.append(f"Connection: {'keep-alive' if keep_alive else 'close'}\r\n\r\n")
    return "\r\n".join(lines).encode("latin-1") + body


def dynamodb_response(
    status: int,
    body: bytes,
    request_id: str,
    *,
    keep_alive: bool = True,
    content_type: str = "application/x-amz-json-1.0",
    date: str = "",
    more: Mapping[str, str] | None = None,
) -> bytes:
    """A DynamoDB answer with the headers the SDKs read: ``x-amzn-requestid`` and ``x-amz-crc32``. ``date`` is a whole
    header line (:func:`date_line`), or nothing."""
    head = (
        f"HTTP/1.1 {status} {REASONS.get(status, 'Unknown')}\r\nServer: Server\r\n{date}"
        f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        f"Connection: {'keep-alive' if keep_alive else 'close'}\r\n"
        f"x-amzn-RequestId: {request_id}\r\nx-amz-crc32: {zlib.crc32(body)}\r\n"
    )
    if more:
        head += "".join(f"{name}: {value}\r\n" for name, value in more.items())
    return head.encode("latin-1") + b"\r\n" + body


def date_line(wall_s: int) -> str:
    """The Date header of a second since the epoch."""
    return formatdate(wall_s, usegmt=True).join(("Date: ", "\r\n"))


def failure_response(failure: Failure) -> bytes:
    """The last answer on a connection that can be read no further."""
    body = failure.reason.encode("latin-1", "replace")
    return response(failure.status, {"Content-Type": "text/plain"}, body, keep_alive=False)
