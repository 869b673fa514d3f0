"""The client's one question: may the operation have happened? Each way of failing gets the right answer, in time."""

from __future__ import annotations

import socket
import time
import zlib

import pytest

from loadgen.address import Address, Timeouts
from loadgen.client import Client, MaybeSent, NotSent, signers_for
from tests.unit.loadgen.load_servers import free_port, scripted, standin

BODY = b'{"TableName":"t","Key":{"pk":{"S":"k0000001"}}}'
QUICK = Timeouts(connect_s=0.3, answer_s=0.3)


def client(port: int, timeouts: Timeouts = QUICK) -> Client:
    addresses = (Address.of(f"http://127.0.0.1:{port}"),)
    return Client(addresses, signers_for(addresses, "AK", "SK", "local-1"), timeouts)


def answer(body: bytes, *headers: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", f"content-length: {len(body)}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def read_request(connection: socket.socket) -> None:
    data = b""
    while BODY not in data:
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionError
        data += piece


def test_a_signed_request_is_accepted_and_a_wrong_secret_is_not() -> None:
    with standin("--secret", "AK=SK") as port:
        assert client(port).call(0, "GetItem", BODY).status == 200
        addresses = (Address.of(f"http://127.0.0.1:{port}"),)
        liar = Client(addresses, signers_for(addresses, "AK", "wrong", "local-1"), QUICK)
        assert b"InvalidSignature" in liar.call(0, "GetItem", BODY).body


def test_a_refused_connection_sent_nothing() -> None:
    with pytest.raises(NotSent, match="ConnectRefused"):
        client(free_port()).call(0, "GetItem", BODY)


def test_a_connection_that_hangs_is_given_up_in_time_and_sent_nothing() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=0)
    fillers = [socket.socket() for _ in range(4)]
    for filler in fillers:  # fill the backlog: further connections get no answer at all
        filler.setblocking(False)
        filler.connect_ex(listener.getsockname())
    began = time.monotonic()
    with pytest.raises(NotSent, match="ConnectTimeout"):
        client(listener.getsockname()[1]).call(0, "GetItem", BODY)
    assert 0.25 < time.monotonic() - began < 10
    for held in (*fillers, listener):
        held.close()


def test_no_answer_is_given_up_in_time_and_may_have_happened() -> None:
    with scripted(lambda connection: time.sleep(20)) as port:
        began = time.monotonic()
        with pytest.raises(MaybeSent, match="AnswerTimeout"):
            client(port).call(0, "GetItem", BODY)
        assert 0.25 < time.monotonic() - began < 10


def test_an_answer_that_trickles_in_for_ever_is_given_up_by_the_same_bound() -> None:
    def trickle(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        for _ in range(400):
            connection.sendall(b"x")
            time.sleep(0.05)

    with scripted(trickle) as port:
        began = time.monotonic()
        with pytest.raises(MaybeSent, match="AnswerTimeout"):
            client(port).call(0, "GetItem", BODY)
        assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (b"", "ConnectionLost"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{", "BadResponse"),
        (b"garbage\r\n\r\n", "BadResponse"),
        (answer(b"{}", "x-amz-crc32: 1"), "ChecksumMismatch"),
    ],
)
def test_lost_torn_and_damaged_answers_may_have_happened(reply: bytes, reason: str) -> None:
    def serve(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(reply)

    with scripted(serve) as port, pytest.raises(MaybeSent, match=reason):
        client(port).call(0, "GetItem", BODY)


def test_an_answer_in_pieces_is_put_together_and_its_checksum_holds() -> None:
    def serve(connection: socket.socket) -> None:
        read_request(connection)
        whole = answer(b'{"Item":1}', "x-amz-crc32: " + str(zlib.crc32(b'{"Item":1}')))
        for start in range(0, len(whole), 9):
            connection.sendall(whole[start : start + 9])
            time.sleep(0.005)

    with scripted(serve) as port:
        assert client(port, Timeouts()).call(0, "GetItem", BODY).body == b'{"Item":1}'


def test_a_connection_is_kept_and_one_the_server_closed_meanwhile_is_replaced_without_an_error() -> None:
    connections = []

    def serve(connection: socket.socket) -> None:
        connections.append(connection)
        for _ in range(2):  # two answers, then close
            read_request(connection)
            connection.sendall(answer(b"{}"))

    with scripted(serve) as port:
        caller = client(port, Timeouts())
        for _ in range(4):
            assert caller.call(0, "GetItem", BODY).status == 200
            time.sleep(0.05)
    assert len(connections) == 2


def test_many_calls_on_one_connection_each_get_the_full_time() -> None:
    """A timer that kept running from call to call would end the third."""

    def serve(connection: socket.socket) -> None:
        while True:
            read_request(connection)
            time.sleep(0.15)
            connection.sendall(answer(b"{}"))

    with scripted(serve) as port:
        caller = client(port)
        assert [caller.call(0, "GetItem", BODY).status for _ in range(4)] == [200] * 4


@pytest.mark.parametrize("url", ["https://x", "127.0.0.1:8000", "http://", "http://no-such-host.invalid:1"])
def test_an_endpoint_that_makes_no_sense_is_refused_with_its_name(url: str) -> None:
    with pytest.raises(ValueError, match="endpoint"):
        Address.of(url)
