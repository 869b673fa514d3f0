"""DynamoDB over raw sockets under gevent: one connection per user and endpoint, one attempt per operation.

What can happen on the way is told apart by the one question that matters to a checker, whether the operation may have
happened: :class:`NotSent` says that it certainly did not, :class:`MaybeSent` that it may have. Nothing is ever retried.
"""

from __future__ import annotations

import time
import zlib

from cluster.wire.http_client import BadResponse, Response, ResponseParser
from cluster.wire.sigv4 import Signer
from loadgen.address import Address, Timeouts
from loadgen.stream import Stream


class NotSent(Exception):
    """No byte of the request left us: the operation did not happen. The message names the reason."""


class MaybeSent(Exception):
    """The request was sent, wholly or in part, and no proper answer came: the operation may have happened."""


class Connection:
    """One keep-alive connection to one endpoint; opened on first use, dropped on any trouble."""

    __slots__ = ("_parser", "_stream", "address", "timeouts")

    def __init__(self, address: Address, timeouts: Timeouts) -> None:
        self.address = address
        self.timeouts = timeouts
        self._stream: Stream | None = None
        self._parser = ResponseParser()

    def exchange(self, request: bytes) -> Response:
        """Send one request and return its answer. Raises :class:`NotSent` or :class:`MaybeSent`."""
        stream = self._ready()
        timeout_s = self.timeouts.answer_s
        try:
            stream.send(request, timeout_s)
            responses = self._feed(stream.receive(timeout_s))
            if not responses:
                responses = self._read_on(stream, time.monotonic() + timeout_s)
        except TimeoutError:
            self.close()
            raise MaybeSent("AnswerTimeout") from None
        except OSError:
            self.close()
            raise MaybeSent("ConnectionLost") from None
        except BadResponse:
            self.close()
            raise MaybeSent("BadResponse") from None
        except BaseException:  # a greenlet killed in the middle must not leave an answer to the next request
            self.close()
            raise
        response = responses[0]
        if not response.keep_alive or len(responses) > 1:
            self.close()
        return _checked(response)

    def _read_on(self, stream: Stream, deadline: float) -> list[Response]:
        """An answer that comes in pieces: the time bound is for all of them."""
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            responses = self._feed(stream.receive(left))
            if responses:
                return responses

    def _feed(self, data: bytes) -> list[Response]:
        if data:
            return self._parser.feed(data)
        last = self._parser.eof()
        if last is None:
            raise ConnectionResetError("closed without an answer")
        return [last]

    def _ready(self) -> Stream:
        """A connection that the peer has not closed meanwhile. One found closed here is replaced: nothing was sent
        yet, so this is not a retry."""
        stream = self._stream
        if stream is not None:
            if stream.is_idle():
                return stream
            self.close()
        address = self.address
        try:
            stream = Stream(address.family, address.ip, address.port, self.timeouts.connect_s)
        except TimeoutError:
            raise NotSent("ConnectTimeout") from None
        except ConnectionRefusedError:
            raise NotSent("ConnectRefused") from None
        except OSError:
            raise NotSent("ConnectFailed") from None
        self._stream = stream
        self._parser = ResponseParser()
        return stream

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None


def _checked(response: Response) -> Response:
    """DynamoDB sends the CRC32 of the body; an answer damaged on the way says nothing."""
    crc = response.headers.get("x-amz-crc32")
    if crc is not None and crc != str(zlib.crc32(response.body)):
        raise MaybeSent("ChecksumMismatch")
    return response


class Client:
    """What one user holds: a connection to each endpoint, and the means to sign."""

    __slots__ = ("_connections", "_signers")

    def __init__(self, addresses: tuple[Address, ...], signers: tuple[Signer, ...], timeouts: Timeouts) -> None:
        self._connections = [Connection(address, timeouts) for address in addresses]
        self._signers = signers

    def call(self, endpoint: int, operation: str, body: bytes) -> Response:
        """One DynamoDB call, such as ``GetItem``, at one endpoint. Raises :class:`NotSent` or :class:`MaybeSent`."""
        request = self._signers[endpoint].request(operation, body, time.time())
        return self._connections[endpoint].exchange(request)

    def close(self) -> None:
        for connection in self._connections:
            connection.close()


def signers_for(addresses: tuple[Address, ...], access_key: str, secret_key: str, region: str) -> tuple[Signer, ...]:
    """One signer an endpoint, shared by all users of the process."""
    return tuple(Signer(access_key, secret_key, region, address.host_header) for address in addresses)
