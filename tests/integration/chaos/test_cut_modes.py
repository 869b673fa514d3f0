"""What the kernel does with a partition's three modes, in two network namespaces of our own: no cluster is needed.

Needs root for the namespaces, and nft.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from chaos import nft

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("nft") is None, reason="needs root and nft"),
]
LEFT, RIGHT, PORT = "198.18.255.1", "198.18.255.2", 8000
TABLE = "bs00c0de_f0"
SERVER = """
import socketserver, sys
class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        while line := self.rfile.readline():
            self.wfile.write(line)
socketserver.ThreadingTCPServer.allow_reuse_address = True
server = socketserver.ThreadingTCPServer(("0.0.0.0", 8000), Echo)
print("ready", flush=True)
server.serve_forever()
"""
TALKER = """
import socket, sys
connection = socket.create_connection((sys.argv[1], 8000), timeout=2)
connection.settimeout(1.5)
print("connected", flush=True)
for line in sys.stdin:
    try:
        connection.sendall(line.encode())
        print("echo" if connection.recv(100) else "closed", flush=True)
    except TimeoutError:
        print("silent", flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
"""


@dataclass
class Pair:
    """Two hosts on one link, an echo server on each."""

    names: tuple[str, str]
    programs: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, side: int, *argv: str) -> subprocess.Popen[str]:
        command = ["ip", "netns", "exec", self.names[side], *argv]
        program = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.programs.append(program)
        return program

    def nft(self, side: int, text: str) -> None:
        command = ["ip", "netns", "exec", self.names[side], "nft", "-f", "-"]
        subprocess.run(command, input=text, text=True, check=True)

    def connect(self, side: int, address: str) -> str:
        """connected, refused or silent."""
        code = (
            "import socket, sys\ntry:\n    socket.create_connection((sys.argv[1], 8000), 1.0)\n    print('connected')\n"
            "except TimeoutError:\n    print('silent')\nexcept ConnectionRefusedError:\n    print('refused')\n"
        )
        return self.start(side, sys.executable, "-c", code, address).communicate(timeout=10)[0].strip()


class Talker:
    """A connection that is there before the cut."""

    def __init__(self, pair: Pair, side: int, address: str) -> None:
        self.program = pair.start(side, sys.executable, "-c", TALKER, address)
        assert self.program.stdout is not None
        assert self.program.stdout.readline().strip() == "connected"

    def say(self) -> str:
        assert self.program.stdin is not None
        assert self.program.stdout is not None
        self.program.stdin.write("hello\n")
        self.program.stdin.flush()
        return self.program.stdout.readline().strip()


@pytest.fixture
def pair() -> Iterator[Pair]:
    names = (f"bscut{os.getpid()}l", f"bscut{os.getpid()}r")
    link = (f"bsl{os.getpid() % 100000}", f"bsr{os.getpid() % 100000}")
    made = Pair(names)
    for name in names:
        subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "link", "add", link[0], "type", "veth", "peer", "name", link[1]], check=True)
        for name, device, address in zip(names, link, (LEFT, RIGHT), strict=True):
            subprocess.run(["ip", "link", "set", device, "netns", name], check=True)
            inside = ["ip", "-n", name]
            subprocess.run([*inside, "addr", "add", f"{address}/24", "dev", device], check=True)
            subprocess.run([*inside, "link", "set", device, "up"], check=True)
            subprocess.run([*inside, "link", "set", "lo", "up"], check=True)
        for side in (0, 1):
            server = made.start(side, sys.executable, "-c", SERVER)
            assert server.stdout is not None
            assert server.stdout.readline().strip() == "ready"
        yield made
    finally:
        for program in made.programs:
            program.kill()
            program.wait()
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False)


def both(pair: Pair, timeout_s: float = 30) -> None:
    """Reset in both directions, as a symmetric partition: a table in each node."""
    pair.nft(0, nft.reset_inside(TABLE, [(RIGHT, LEFT)], [], timeout_s))
    pair.nft(1, nft.reset_inside(TABLE, [(LEFT, RIGHT)], [], timeout_s))


def test_a_reset_is_heard_at_once_by_old_connections_and_new_ones(pair: Pair) -> None:
    talker, other = Talker(pair, 0, RIGHT), Talker(pair, 1, LEFT)
    assert talker.say() == other.say() == "echo"
    both(pair)
    began = time.monotonic()
    assert pair.connect(0, RIGHT) == pair.connect(1, LEFT) == "refused"
    assert talker.say() in ("ConnectionResetError", "BrokenPipeError")
    assert other.say() in ("ConnectionResetError", "BrokenPipeError")
    assert time.monotonic() - began < 5
    # What a node says to itself is nobody's partition.
    assert pair.connect(0, "127.0.0.1") == pair.connect(0, LEFT) == "connected"
    for side in (0, 1):
        pair.nft(side, nft.delete_table(TABLE, "ip"))
        pair.nft(side, nft.delete_table(TABLE, "ip"))
    assert pair.connect(0, RIGHT) == "connected"


def test_a_reset_towards_a_client_is_made_where_the_answer_leaves(pair: Pair) -> None:
    """The right side is a client: it has no table of its own."""
    talker = Talker(pair, 1, LEFT)
    pair.nft(0, nft.reset_inside(TABLE, [(RIGHT, LEFT)], [(LEFT, RIGHT)], 30))
    assert pair.connect(1, LEFT) == "refused"
    assert talker.say() in ("ConnectionResetError", "BrokenPipeError")
    assert pair.connect(0, LEFT) == "connected"


def test_the_kernel_lifts_it_when_nobody_renews(pair: Pair) -> None:
    both(pair, timeout_s=1.5)
    assert pair.connect(0, RIGHT) == "refused"
    deadline = time.monotonic() + 10
    while pair.connect(0, RIGHT) != "connected":
        assert time.monotonic() < deadline


def test_new_only_leaves_what_is_connected_alone(pair: Pair) -> None:
    """The rule of the bridge, here on the receiving host: the same packets meet it."""
    talker = Talker(pair, 0, RIGHT)
    rule = nft.cut_pairs(TABLE, [(LEFT, RIGHT)], 30, new_only=True)
    pair.nft(1, rule.replace(" bridge ", " ip ").replace("hook forward", "hook input"))
    assert pair.connect(0, RIGHT) == "silent"
    assert talker.say() == "echo"
    assert pair.connect(1, LEFT) == "connected", "the other way is not cut"
