"""Host operations and the two ways to call them, without privilege: processes, answers, the helper's socket."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.runtime import base, hostops, processes
from cluster.runtime.host import DirectHost, Host, HostError, SocketHost, connect_unix


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield child
    child.kill()
    child.wait()


@pytest.fixture(params=["direct", "socket", "long path"])
def host(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    if request.param == "direct":
        yield DirectHost()
        return
    directory = tmp_path / ("x" * 120 if request.param == "long path" else "h")
    directory.mkdir()
    # The kernel's limit on socket paths is ours to get around on both sides.
    monkeypatch.chdir(directory)
    threading.Thread(target=hostops.serve, args=("host.sock", (os.getuid(), os.getgid())), daemon=True).start()
    made = SocketHost(directory / "host.sock")
    for _ in range(200):
        try:
            made.call("hello")
            break
        except HostError:
            threading.Event().wait(0.02)
    yield made
    made.close()


def test_a_process_is_known_by_pid_and_start(host: Host, sleeper: subprocess.Popen[bytes]) -> None:
    started = processes.start_time(sleeper.pid)
    assert started is not None
    assert base.Process(sleeper.pid, started).alive()
    assert host.call("kill", processes=[[sleeper.pid, started + 1]], signal=9) == [False]
    assert sleeper.poll() is None  # a later process with the same pid is not the one that was meant
    assert host.call("kill", processes=[[sleeper.pid, started]], signal=9) == [True]
    assert sleeper.wait(10) == -9
    assert processes.start_time(sleeper.pid) is None
    assert not base.Process(sleeper.pid, started).alive()


def test_a_zombie_is_dead(sleeper: subprocess.Popen[bytes]) -> None:
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert processes.start_time(sleeper.pid) is None


def test_failures_name_the_operation_and_the_reason(host: Host) -> None:
    assert host.call("run", argv=["echo", "hello"]) == "hello\n"
    with pytest.raises(HostError, match=r"run: false: exit code 1"):
        host.call("run", argv=["false"])
    with pytest.raises(HostError, match="no-such-program is not installed"):
        host.call("run", argv=["no-such-program"])
    with pytest.raises(HostError, match=r"did not end in 0\.1 s"):
        host.call("run", argv=["sleep", "5"], timeout_s=0.1)
    with pytest.raises(HostError, match="the process has ended"):
        host.call("freeze", cgroups=["/sys/fs/cgroup/no/such/group"])
    with pytest.raises(HostError, match="no such process any more"):
        host.call("power_off", nodes=[{"pid": 1 << 21, "started": 1, "cgroup": "/none", "data": None}])


def test_the_helper_survives_nonsense(tmp_path: Path) -> None:
    answers = [hostops.answer(line) for line in (b"{", b"[]\n", b'{"op": "format_disk"}\n', b'{"op": "kill"}\n')]
    assert all(b'"error"' in answer and answer.endswith(b"\n") for answer in answers)
    assert b"no operation 'format_disk'" in answers[2]


def test_a_helper_that_dies_in_the_middle_is_reported(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(tmp_path / "s"))
    listener.listen()

    def hang_up() -> None:
        connection, _ = listener.accept()
        connection.recv(100)
        connection.close()

    threading.Thread(target=hang_up, daemon=True).start()
    with pytest.raises(HostError, match="may have been carried out"):
        SocketHost(tmp_path / "s").call("hello")
    listener.close()
    with pytest.raises(HostError, match="does not answer"):
        SocketHost(tmp_path / "s").call("hello")
    with pytest.raises(FileNotFoundError):
        connect_unix(tmp_path / "none")


def test_ready_is_a_whole_line_past_the_mark(tmp_path: Path) -> None:
    path = tmp_path / "events"
    assert not base.says_ready(path, 0)
    path.write_bytes(b'{"event":"ready","pid":1}\n')
    mark = path.stat().st_size
    assert base.says_ready(path, 0)
    assert not base.says_ready(path, mark)
    with path.open("ab") as file:
        file.write(b'not json "ready"\n{"event":"stopped","why":"ready"}\n{"event":"ready"')
    assert not base.says_ready(path, mark)
    with path.open("ab") as file:
        file.write(b"}\n")
    assert base.says_ready(path, mark)


def test_the_end_of_stderr_is_what_people_see(tmp_path: Path) -> None:
    path = tmp_path / "err"
    assert "nothing in" in base.tail(path)
    path.write_text("\n".join(f"line {n}" for n in range(100)))
    assert base.tail(path, 2) == "line 98\nline 99"


def test_damage_changes_only_what_still_stands_there(host: Host, tmp_path: Path) -> None:
    file = tmp_path / "data" / "pages" / "g.db"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"abcdefgh" * 100)
    assert host.call("list_files", directory=str(tmp_path / "data")) == {"pages/g.db": 800}
    assert base64.b64decode(host.call("read_file", path=str(file), offset=792, length=99)) == b"abcdefgh"

    def place(offset: int, old: bytes, new: bytes) -> dict[str, object]:
        return {"path": str(file), "offset": offset, "length": len(old), "old": hostops.fingerprint(old),
                "data": base64.b64encode(new).decode()}  # fmt: skip

    with pytest.raises(HostError, match="was rewritten; nothing was damaged"):
        host.call("damage", places=[place(0, b"abcd", b"WXYZ"), place(8, b"????", b"WXYZ")])
    assert file.read_bytes() == b"abcdefgh" * 100
    assert host.call("damage", places=[place(0, b"abcd", b"WXYZ")]) == [hostops.fingerprint(b"WXYZ")]
    assert file.read_bytes()[:8] == b"WXYZefgh"
    assert host.call("damage", places=[place(792, b"abcdefgh", b"")]) == [hostops.fingerprint(b"")]
    assert file.stat().st_size == 792
    with pytest.raises(HostError, match="is gone; nothing was damaged"):
        host.call("damage", places=[{**place(0, b"", b"x"), "path": str(tmp_path / "no")}])
