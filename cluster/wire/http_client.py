"""The client's half of HTTP/1.1, sans-IO: bytes in, responses out. For load generators and canaries.

The caller sends a request (see :meth:`cluster.wire.sigv4.Signer.request`), feeds what it receives to a
:class:`ResponseParser`, and gets whole responses. One parser per connection; feed order is receive order. A connection
that closes early is the caller's to notice: :meth:`ResponseParser.eof` says whether an answer was cut off.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

HEADERS_BYTES_MAX = 64 * 1024
_BODILESS = (204, 304)
BODY_BYTES_MAX = 64 * 1024 * 1024


class BadResponse(Exception):
    """The server sent something that is no HTTP/1.1 response; the connection must be closed."""


class Response(NamedTuple):
    """One whole response. Header names are lower case; of duplicates the last wins."""

    status: int
    headers: dict[str, str]
    body: bytes
    keep_alive: bool


_response: Callable[[tuple[Any, ...]], Response] = partial(tuple.__new__, Response)
"""A response from all its fields, without a call of Python code."""

_lines: dict[str, tuple[str, str]] = {}
"""Header lines as they came, as name in lower case and value: a server sends the same few in every answer."""

_statuses: dict[str, int] = {}
"""Status lines of HTTP/1.1, as they came, of answers that have a body."""

_LINES_MAX = 1024
_STATUSES_MAX = 64
_LINE_CHARS_MAX = 64
_FLEETING = frozenset(("x-amz-crc32", "x-amzn-requestid"))
"""Headers of which no two answers have the same."""


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon:
        raise BadResponse(f"no header line: {line[:80]!r}")
    found = name.lower(), value.strip()
    if found[0] not in _FLEETING and len(line) <= _LINE_CHARS_MAX:
        if len(_lines) >= _LINES_MAX:
            _lines.clear()
        _lines[line] = found
    return found


def _plain_response(data: bytes) -> Response | None:
    """The response that ``data`` is, where it is exactly one and has nothing unusual: nearly every answer comes whole
    and alone. Raises :class:`BadResponse` where the parser would."""
    end = data.find(b"\r\n\r\n")
    lines = data[: max(end, 0)].decode("latin-1").split("\r\n")
    status = _statuses.get(lines[0])
    if status is None:
        return None
    del lines[0]
    known = _lines.get
    headers = dict([known(line) or _header(line) for line in lines])
    body = data[end + 4 :]
    if (
        headers.get("content-length") != str(len(body))
        or headers.get("connection", "keep-alive") != "keep-alive"
        or "transfer-encoding" in headers
        or len(body) > BODY_BYTES_MAX
    ):
        return None
    return _response((status, headers, body, True))


class ResponseParser:
    """Splits a byte stream into responses: Content-Length, chunked and read-until-close bodies; 1xx are skipped."""

    __slots__ = ("_buffer", "_chunks", "_head", "_need", "_state")

    def __init__(self) -> None:
        self._buffer = b""
        self._state = "head"
        self._head: tuple[int, dict[str, str], bool] = (0, {}, False)
        self._need = 0
        self._chunks: list[bytes] = []

    def feed(self, data: bytes) -> list[Response]:
        """Take received bytes; give the responses they complete. Raises :class:`BadResponse`."""
        if not self._buffer and self._state == "head":
            response = _plain_response(data)
            if response is not None:
                return [response]
        self._buffer = self._buffer + data if self._buffer else data
        done: list[Response] = []
        while self._step(done):
            pass
        return done

    def eof(self) -> Response | None:
        """The peer closed. The response whose body ran until the close, None at a clean end between responses;
        raises :class:`BadResponse` where an answer was cut off."""
        if self._state == "close":
            status, headers, _ = self._head
            return Response(status, headers, self._buffer, False)
        if self._state != "head" or self._buffer:
            raise BadResponse("the connection closed in the middle of a response")
        return None

    def _step(self, done: list[Response]) -> bool:
        """Make one step of progress; False where more bytes are needed."""
        if self._state == "head":
            return self._read_head(done)
        if self._state == "body":
            if len(self._buffer) < self._need:
                return False
            body, self._buffer = self._buffer[: self._need], self._buffer[self._need :]
            self._finish(body, done)
            return True
        if self._state == "close":
            if len(self._buffer) > BODY_BYTES_MAX:
                raise BadResponse("the body is too long")
            return False
        return self._read_chunk(done)

    def _read_head(self, done: list[Response]) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > HEADERS_BYTES_MAX:
                raise BadResponse("the headers are too long")
            return False
        lines = self._buffer[:end].decode("latin-1").split("\r\n")
        self._buffer = self._buffer[end + 4 :]
        version, _, rest = lines[0].partition(" ")
        if version not in ("HTTP/1.1", "HTTP/1.0") or not rest[:3].isascii() or not rest[:3].isdigit():
            raise BadResponse(f"no status line: {lines[0][:80]!r}")
        status = int(rest[:3])
        if version == "HTTP/1.1" and status >= 200 and status not in _BODILESS and len(_statuses) < _STATUSES_MAX:
            _statuses[lines[0]] = status
        headers = dict([_header(line) for line in lines[1:]])
        if 100 <= status < 200:
            return True
        connection = headers.get("connection", "").lower()
        keep_alive = connection != "close" and (version == "HTTP/1.1" or connection == "keep-alive")
        self._head = (status, headers, keep_alive)
        self._begin_body(status, headers, done)
        return True

    def _begin_body(self, status: int, headers: dict[str, str], done: list[Response]) -> None:
        length = headers.get("content-length")
        if status in _BODILESS:
            self._finish(b"", done)
        elif "chunked" in headers.get("transfer-encoding", "").lower():
            self._state, self._need, self._chunks = "chunk", 0, []
        elif length is None:
            self._state = "close"
        elif not length.isascii() or not length.isdigit() or int(length) > BODY_BYTES_MAX:
            raise BadResponse(f"bad content-length: {length[:40]!r}")
        else:
            self._state, self._need = "body", int(length)

    def _read_chunk(self, done: list[Response]) -> bool:
        end = self._buffer.find(b"\r\n")
        if end < 0:
            if len(self._buffer) > 1024:
                raise BadResponse("the chunk header is too long")
            return False
        if self._state == "trailer":
            self._buffer = self._buffer[end + 2 :]
            if end == 0:
                self._finish(b"".join(self._chunks), done)
            return True
        try:
            size = int(self._buffer[:end].partition(b";")[0], 16)
        except ValueError:
            raise BadResponse("bad chunk size") from None
        if size < 0 or self._need + size > BODY_BYTES_MAX:
            raise BadResponse("the body is too long")
        if size == 0:
            self._state, self._buffer = "trailer", self._buffer[end + 2 :]
            return True
        start = end + 2
        if len(self._buffer) < start + size + 2:
            return False
        self._chunks.append(self._buffer[start : start + size])
        self._need += size
        self._buffer = self._buffer[start + size + 2 :]
        return True

    def _finish(self, body: bytes, done: list[Response]) -> None:
        status, headers, keep_alive = self._head
        self._state = "head"
        done.append(_response((status, headers, body, keep_alive)))
