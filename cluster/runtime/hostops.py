"""Everything in Blackstart that needs privilege, in one program of the standard library.

Run in-process where the controller is root, and otherwise inside a helper container (``hostops.py --listen SOCKET``)
that shares the host's process ids and network. A request is one JSON line ``{"op": name, "args": {...}}``, an answer
one line ``{"ok": value}`` or ``{"error": text}``. :data:`OPS` is the whole list; an operation is a plain function, so
what faults can do to the host is readable in this one file.

Times are seconds of the boot clock. Processes are given as ``[pid, start time]``, so that a reused pid is never hit.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import ctypes
import errno
import fcntl
import hashlib
import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

EXT4_IOC_SHUTDOWN = 0x8004587D
EXT4_GOING_FLAGS_NOLOGFLUSH = 2
LOOP_CTL_GET_FREE = 0x4C82
LOOP_CONFIGURE = 0x4C0A
LOOP_CLR_FD = 0x4C01
LO_FLAGS_DIRECT_IO = 16
CLONE_NEWNET = 0x40000000
CGROUPS = Path("/sys/fs/cgroup")
STEP_S = 0.005
WORKERS = 16
LINE_MAX = 8 << 20

OPS: dict[str, Callable[..., Any]] = {}


class OpFailed(Exception):
    """The operation could not be done; the text says why."""


def op(function: Callable[..., Any]) -> Callable[..., Any]:
    """Register a function under its own name."""
    OPS[function.__name__] = function
    return function


def boot_clock() -> float:
    """Seconds since boot, suspend counted."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def start_time(pid: int) -> int | None:
    """When a process started, in ticks; None where it is gone or a zombie. (As in processes.py: this file is alone.)"""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = text[text.rindex(b")") + 2 :].split()
    return None if fields[0] in (b"Z", b"X") else int(fields[19])


def each(function: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """``function`` of every item at once; the first exception is raised after all have ended."""
    if len(items) <= 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(min(WORKERS, len(items))) as pool:
        return [future.result() for future in [pool.submit(function, item) for item in items]]


def command(argv: Sequence[str], *, stdin: str | None = None, timeout_s: float = 30.0) -> str:
    """Run a program and return its stdout; raises :class:`OpFailed` with its stderr."""
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False)
    except FileNotFoundError:
        raise OpFailed(f"{argv[0]} is not installed; 'blackstart doctor' says what to install") from None
    except subprocess.TimeoutExpired:
        raise OpFailed(f"{' '.join(argv)} did not end in {timeout_s:g} s") from None
    if done.returncode != 0:
        raise OpFailed(f"{' '.join(argv)}: exit code {done.returncode}: {(done.stderr or done.stdout).strip()[:2000]}")
    return done.stdout


# Disks: an ext4 image of its own for each node, on a loop device.


@op
def make_disks(disks: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Make a file system in each ``{"image": path, "size": bytes, "owner": [uid, gid]}``; image path to loop device."""

    def make(disk: dict[str, Any]) -> tuple[str, str]:
        image, (uid, gid) = str(disk["image"]), disk["owner"]
        descriptor = os.open(image, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.truncate(descriptor, disk["size"])
        finally:
            os.close(descriptor)
        extended = f"root_owner={uid}:{gid},lazy_itable_init=1,lazy_journal_init=1"
        command(["mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", "-J", "size=8", "-E", extended, image])
        return image, attach_loop(image)

    return dict(each(make, disks))


def attach_loop(image: str) -> str:
    """A free loop device over the image. Direct I/O where the file system below has it: no second page cache."""
    file = os.open(image, os.O_RDWR | os.O_CLOEXEC)
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        for _ in range(64):
            number = fcntl.ioctl(control, LOOP_CTL_GET_FREE)
            device = f"/dev/loop{number}"
            with contextlib.suppress(FileExistsError):
                if not os.path.exists(device):  # no devtmpfs here: a container with a /dev of its own
                    os.mknod(device, 0o660 | 0o060000, os.makedev(7, number))
            for flags in (LO_FLAGS_DIRECT_IO, 0):
                if configure_loop(device, file, flags, image):
                    return device
    finally:
        os.close(file)
        os.close(control)
    raise OpFailed("no free loop device; 'losetup -a' shows who has them")


def configure_loop(device: str, file: int, flags: int, image: str) -> bool:
    """Bind the device to the file; False where someone else was quicker or direct I/O cannot be had."""
    # struct loop_config: fd, block size, loop_info64 (integers, two names of 64, a key of 32, two words), reserved.
    info = struct.pack("<QQQQQIIII", 0, 0, 0, 0, 0, 0, 0, 0, flags) + image.encode()[-63:].ljust(64, b"\0") + bytes(112)
    with contextlib.suppress(FileNotFoundError):
        loop = os.open(device, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(loop, LOOP_CONFIGURE, struct.pack("<II", file, 4096 if flags else 0) + info + bytes(64))
            return True
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.EINVAL, errno.ENXIO):
                raise
        finally:
            os.close(loop)
    return False


@op
def loops(directory: str) -> dict[str, str]:
    """Image path to loop device, for every image at or below ``directory``, deleted images included."""
    found = {}
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            image = path.read_text().rstrip("\n").removesuffix(" (deleted)")
            if Path(image).is_relative_to(directory):
                found[image] = f"/dev/{path.parts[3]}"
    return found


@op
def release_disks(directory: str, timeout_s: float = 10.0) -> list[str]:
    """Detach every loop device over an image below ``directory`` and delete the images. Waits until unmounted."""
    attached = loops(directory)

    def release(item: tuple[str, str]) -> str:
        image, device = item
        wait_unmounted([device], timeout_s)
        descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC)
        try:
            with contextlib.suppress(OSError):  # ENXIO: released by someone else in between
                fcntl.ioctl(descriptor, LOOP_CLR_FD)
        finally:
            os.close(descriptor)
        return image

    released = each(release, list(attached.items()))
    for image in Path(directory).glob("*.img"):
        image.unlink(missing_ok=True)
    return released


@op
def wait_unmounted(devices: Sequence[str], timeout_s: float = 10.0) -> None:
    """Return when nobody, in any mount namespace, has the devices mounted.

    Mounting earlier would share the dead superblock of a file system that was shut down: EIO for ever.
    """
    deadline = boot_clock() + timeout_s
    for device in devices:
        while True:
            try:
                os.close(os.open(device, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC))
                break
            except OSError as error:
                if error.errno != errno.EBUSY or boot_clock() > deadline:
                    raise OpFailed(f"{device} is still mounted somewhere after {timeout_s:g} s") from None
                time.sleep(STEP_S)


@op
def shutdown_fs(paths: Sequence[str], flag: int = EXT4_GOING_FLAGS_NOLOGFLUSH) -> list[float]:
    """Shut the ext4 file systems at the paths down, losing what was not synced; the boot times at which it was done."""

    def shut(path: str) -> float:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.ioctl(descriptor, EXT4_IOC_SHUTDOWN, struct.pack("<I", flag))
        finally:
            os.close(descriptor)
        return boot_clock()

    return each(shut, paths)


@op
def drop_cache(paths: Sequence[str]) -> None:
    """Make the next read of the files come from their disk."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


@op
def list_files(directory: str) -> dict[str, int]:
    """The regular files at and below a directory, by their path below it, and their sizes."""
    found = {}
    for path, _, names in os.walk(directory):
        for name in names:
            file = os.path.join(path, name)
            with contextlib.suppress(FileNotFoundError):
                found[os.path.relpath(file, directory)] = os.lstat(file).st_size
    return found


@op
def read_file(path: str, offset: int, length: int) -> str:
    """A range of a file in base64, shorter at its end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        return base64.b64encode(read_range(descriptor, offset, length)).decode()
    finally:
        os.close(descriptor)


def read_range(descriptor: int, offset: int, length: int) -> bytes:
    parts = []
    while length > 0 and (part := os.pread(descriptor, length, offset)):
        parts.append(part)
        offset, length = offset + len(part), length - len(part)
    return b"".join(parts)


def fingerprint(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


@op
def damage(places: Sequence[dict[str, Any]]) -> list[str]:
    """Rot: put other bytes into files that are in use; the fingerprints of what is read back from the disk.

    Each place is ``{"path", "offset", "length", "old", "data": base64}``; empty data ends the file at the offset. All
    are held against their ``old`` fingerprint first, and nothing is changed where one has moved on (``changed:``).
    The page cache is dropped, so that the next reader meets the damage, too.
    """
    opened = []
    try:
        for place in places:
            try:
                descriptor = os.open(place["path"], os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            except FileNotFoundError:
                raise OpFailed(f"changed: {place['path']} is gone; nothing was damaged") from None
            opened.append(descriptor)
            if fingerprint(read_range(descriptor, place["offset"], place["length"])) != place["old"]:
                raise OpFailed(f"changed: {place['path']} at {place['offset']} was rewritten; nothing was damaged")
        for place, descriptor in zip(places, opened, strict=True):
            data = base64.b64decode(place["data"])
            if data:
                os.pwrite(descriptor, data, place["offset"])
            else:
                os.ftruncate(descriptor, place["offset"])
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        return [fingerprint(read_range(d, p["offset"], p["length"])) for p, d in zip(places, opened, strict=True)]
    finally:
        for descriptor in opened:
            os.close(descriptor)


# Cgroups and processes.


@op
def make_cgroups(paths: Sequence[str]) -> None:
    """Make cgroup directories, parents first."""
    for path in paths:
        os.makedirs(path, exist_ok=True)


@op
def remove_cgroups(root: str, timeout_s: float = 5.0) -> None:
    """SIGKILL what is in the cgroups at and below ``root``, frozen or not, and remove them."""
    deadline = boot_clock() + timeout_s
    while os.path.isdir(root):
        groups = [path for path, _, _ in os.walk(root, topdown=False)]
        for group in groups:
            for pid in cgroup_pids(group):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
            set_frozen(group, False)
            with contextlib.suppress(OSError):
                os.rmdir(group)
        if boot_clock() > deadline:
            raise OpFailed(f"cgroup {root} still has processes {[p for g in groups for p in cgroup_pids(g)]}")
        if os.path.isdir(root):
            time.sleep(STEP_S)


@op
def cgroup_pids(cgroup: str) -> list[int]:
    """Process ids in a cgroup; empty where it is gone."""
    try:
        return [int(line) for line in Path(cgroup, "cgroup.procs").read_text().split()]
    except OSError:
        return []


def set_frozen(cgroup: str, frozen: bool) -> None:
    """Ask for the cgroup to be frozen or thawed (v1 freezer, or v2)."""
    v1 = Path(cgroup, "freezer.state")
    with contextlib.suppress(FileNotFoundError):
        if v1.exists():
            v1.write_text("FROZEN" if frozen else "THAWED")
        else:
            Path(cgroup, "cgroup.freeze").write_text("1" if frozen else "0")


@op
def is_frozen(cgroup: str) -> bool:
    """Whether everything in the cgroup stands still."""
    v1 = Path(cgroup, "freezer.state")
    try:
        if v1.exists():
            return v1.read_text().strip() == "FROZEN"
        return "frozen 1" in Path(cgroup, "cgroup.events").read_text()
    except OSError:
        return False


@op
def freeze(cgroups: Sequence[str], timeout_s: float = 5.0) -> list[float]:
    """Freeze the cgroups; the boot time at which each was seen to stand still. On a timeout all are thawed again."""
    for cgroup in cgroups:
        if not os.path.isdir(cgroup):
            raise OpFailed(f"{cgroup} does not exist: the process has ended")
        set_frozen(cgroup, True)
    deadline = boot_clock() + timeout_s
    times = []
    for cgroup in cgroups:
        while not is_frozen(cgroup):
            if boot_clock() > deadline:
                thaw(cgroups)
                raise OpFailed(f"{cgroup} was not frozen after {timeout_s:g} s")
            time.sleep(0.0005)
        times.append(boot_clock())
    return times


@op
def thaw(cgroups: Sequence[str]) -> None:
    """Let the cgroups run again. One that is gone is no error: its processes ended."""
    for cgroup in cgroups:
        set_frozen(cgroup, False)


@op
def kill(processes: Iterable[Sequence[int]], signal: int = 9) -> list[bool]:
    """Signal each ``[pid, start time]``; whether it still existed."""
    sent = []
    for pid, started in processes:
        alive = start_time(pid) == started
        if alive:
            try:
                os.kill(pid, signal)
            except ProcessLookupError:
                alive = False
        sent.append(alive)
    return sent


@op
def power_off(nodes: Sequence[dict[str, Any]], flag: int = EXT4_GOING_FLAGS_NOLOGFLUSH) -> dict[str, Any]:
    """Cut the power of nodes ``{"pid", "started", "cgroup", "data": host path or null}``, losing what was not synced.

    All are frozen first, so that no process sees the EIO that follows and no node outlives another by more than the
    skew of the freeze; then the file systems are shut down, then SIGKILL, then thaw, so that the kill is carried out.
    Returns the boot times of each step and, per node, when it stood still.
    """
    gone = [str(n["pid"]) for n in nodes if start_time(n["pid"]) != n["started"]]
    if gone:
        raise OpFailed(f"no such process any more: {', '.join(gone)}")
    cgroups = [n["cgroup"] for n in nodes]
    begun = boot_clock()
    frozen = freeze(cgroups)
    try:
        shut = shutdown_fs([n["data"] for n in nodes if n.get("data")], flag)
        kill([[n["pid"], n["started"]] for n in nodes])
    finally:
        # Thawed whatever happens: a node that stays frozen would be a fault nobody asked for.
        thaw(cgroups)
    return {"begun": begun, "frozen": frozen, "shut": shut, "killed": boot_clock()}


# Networks.


@op
def make_bridge(name: str, address: str, comment: str) -> None:
    """A bridge with an address (``198.18.7.1/24``), forwarding between its ports even where the host's firewall drops.

    Where bridged packets pass iptables (Docker turns that on for the whole host) an accept rule marked with ``comment``
    is needed; :func:`remove_bridge` takes it out again.
    """
    lines = [f"link add {name} type bridge forward_delay 0", f"addr add {address} dev {name}", f"link set {name} up"]
    command(["ip", "-batch", "-"], stdin="\n".join(lines) + "\n")
    Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
    filtered = Path("/proc/sys/net/bridge/bridge-nf-call-iptables")
    if filtered.exists() and filtered.read_text().strip() == "1":
        command(["iptables", "-w", "-I", "FORWARD", *bridge_rule(name, comment)])


def bridge_rule(name: str, comment: str) -> list[str]:
    return ["-i", name, "-o", name, "-m", "comment", "--comment", comment, "-j", "ACCEPT"]


@op
def remove_bridge(name: str, comment: str) -> None:
    """Remove the bridge, the interfaces ``<name>-...`` that were plugged into it, and its rule; none need exist."""
    # The interfaces of dead processes go by themselves, but only after a while, and nobody should find them after us.
    for port in Path("/sys/class/net").glob(f"{name}-*"):
        with contextlib.suppress(OpFailed):
            command(["ip", "link", "del", port.name])
    if os.path.exists(f"/sys/class/net/{name}"):
        command(["ip", "link", "del", name])
    with contextlib.suppress(OpFailed):
        while True:  # until iptables says that there is no such rule
            command(["iptables", "-w", "-D", "FORWARD", *bridge_rule(name, comment)])


@op
def attach_ports(bridge: str, ports: Sequence[dict[str, Any]]) -> None:
    """Give each ``{"pid", "veth", "mac"}`` an interface ``eth0`` in its network namespace, plugged into the bridge."""
    lines = []
    for port in ports:
        veth, pid, mac = port["veth"], port["pid"], port["mac"]
        lines.append(f"link add {veth} type veth peer name eth0 address {mac} netns {pid}")
        lines.append(f"link set {veth} master {bridge} up")
    if lines:
        command(["ip", "-batch", "-"], stdin="\n".join(lines) + "\n")


@op
def nft(text: str, pid: int | None = None, as_json: bool = False) -> str:
    """One nftables transaction from text (or JSON), on the host or in a process's network namespace; its output."""
    argv = ["nft", *(["-j"] if as_json else []), "-f", "-"]
    return command([*in_netns(pid), *argv], stdin=text)


@op
def run(argv: Sequence[str], pid: int | None = None, stdin: str | None = None, timeout_s: float = 30.0) -> str:
    """Run a program on the host's network, or in a process's network namespace; its stdout."""
    return command([*in_netns(pid), *argv], stdin=stdin, timeout_s=timeout_s)


def in_netns(pid: int | None) -> list[str]:
    return [] if pid is None else ["nsenter", "-t", str(pid), "-n", "--"]


@op
def probe_tcp(pid: int, address: str, port: int, timeout_s: float = 1.0) -> dict[str, Any]:
    """Whether a TCP connection from the process's network namespace is answered: proof of what a cut really does.

    ``{"result": "connected" | "refused" | "silent" | "unreachable", "seconds": float}``
    """
    found: list[dict[str, Any]] = []
    # A thread of its own: setns is per thread, and this thread never comes back to the host's network.
    thread = threading.Thread(target=lambda: found.append(connect_inside(pid, address, port, timeout_s)))
    thread.start()
    thread.join()
    if "error" in found[0]:
        raise OpFailed(found[0]["error"])
    return found[0]


def connect_inside(pid: int, address: str, port: int, timeout_s: float) -> dict[str, Any]:
    try:
        with open(f"/proc/{pid}/ns/net", "rb") as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET) != 0:
                return {"error": f"setns: {os.strerror(ctypes.get_errno())}"}
    except OSError as error:
        return {"error": f"process {pid}: {error}"}
    begun = boot_clock()
    try:
        socket.create_connection((address, port), timeout=timeout_s).close()
        result = "connected"
    except ConnectionRefusedError:
        result = "refused"
    except TimeoutError:
        result = "silent"
    except OSError as error:
        result = "silent" if error.errno == errno.EHOSTUNREACH else "unreachable"
    return {"result": result, "seconds": boot_clock() - begun}


@op
def hello() -> dict[str, Any]:
    """Proof of life, and which privileges there are."""
    status = Path("/proc/self/status").read_text()
    capabilities = re.search(r"CapEff:\s*(\w+)", status)
    return {"pid": os.getpid(), "uid": os.getuid(), "capabilities": capabilities[1] if capabilities else ""}


# The server in the helper container.


def answer(line: bytes) -> bytes:
    """The answer to one request line; never raises."""
    try:
        request = json.loads(line)
        name = request["op"]
        if name not in OPS:
            raise OpFailed(f"there is no operation '{name}'; the helper is of another version")
        value = {"ok": OPS[name](**request.get("args", {}))}
    except Exception as error:
        value = {"error": f"{error}" if isinstance(error, OpFailed) else f"{type(error).__name__}: {error}"}
    return json.dumps(value).encode() + b"\n"


def serve(path: str, owner: tuple[int, int]) -> None:
    """Answer requests on a Unix socket that only ``owner`` may open, for ever; every connection has its own thread."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    # By way of the directory's descriptor: the kernel takes no more than 107 bytes of a path here.
    directory = os.open(os.path.dirname(path) or ".", os.O_PATH | os.O_CLOEXEC)
    listener.bind(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
    os.close(directory)
    os.umask(before)
    os.chown(path, *owner)
    listener.listen(32)
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=converse, args=(connection,), daemon=True).start()


def converse(connection: socket.socket) -> None:
    with connection, connection.makefile("rb") as lines, contextlib.suppress(ConnectionError):
        while line := lines.readline(LINE_MAX):
            connection.sendall(answer(line))


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Blackstart's privileged host operations, on a Unix socket.")
    parser.add_argument("--listen", required=True, metavar="SOCKET")
    parser.add_argument("--owner", required=True, metavar="UID:GID", help="who may connect")
    options = parser.parse_args(argv)
    uid, gid = (int(part) for part in options.owner.split(":"))
    serve(options.listen, (uid, gid))
    return 0


if __name__ == "__main__":
    sys.exit(main())
