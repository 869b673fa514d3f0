"""A whole cluster in one process and one seed: nodes, what is done to them, and a record of what happened.

::

    sim = Simulation(seed=7)
    for name in names:
        sim.add_node(name, lambda world: run_node(world, config_of(world.name)))
    sim.run_until(lambda: sim.count("ready") == len(names), limit_s=10)
    heal = sim.partition(["storage-a1"], others)
    sim.crash("storage-b1")                 # the power fails: what was not synced is gone or torn
    sim.run_for(3)
    heal()
    sim.restart("storage-b1")
    answer = sim.call("storage-a1", "status")

A node's code is a coroutine function of its :class:`~cluster.sim.world.SimWorld`. An exception that escapes it is a
bug, not weather: the simulation stops with :class:`NodeBug`, which names node, seed and time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, Final

import google_crc32c
import msgspec

from cluster.node.rpc import ANSWER, REQUEST, RpcError, RpcTimeout
from cluster.sim.clock import SimClock
from cluster.sim.disk import SimDisk
from cluster.sim.loop import Life, NodeEnded, SimHandle, SimLoop
from cluster.sim.network import Endpoint, SimNetwork
from cluster.sim.streams import StreamHub
from cluster.sim.world import SimWorld

CONTROLLER: Final = "controller:simulation"
EPOCH_S: Final = 1_767_225_600.0
"""The wall clock at the beginning of every simulation: 2026-01-01."""

Factory = Callable[[SimWorld], Coroutine[Any, Any, Any]]

_to_json = msgspec.json.Encoder(enc_hook=str).encode
_encode = msgspec.msgpack.Encoder().encode
_answer = msgspec.msgpack.Decoder(tuple[int, int, str, Any])


class NodeBug(Exception):
    """An exception escaped a node's code; it is the ``__cause__``."""


class ConditionNotMet(Exception):
    """The condition of ``run_until`` did not come true within its limit of virtual time."""


@dataclass(slots=True)
class SimNode:
    """A node over all its lives. ``state`` is running, paused, off (crashed or never started) or exited (by itself)."""

    name: str
    factory: Factory
    disk: SimDisk
    clock: SimClock
    state: str = "off"
    lives: int = 0
    life: Life | None = None
    world: SimWorld | None = None


class Simulation:
    """See the module. Everything random in it comes from the seed, each purpose from a stream of its own."""

    def __init__(self, seed: int, *, drift: float = 0.004) -> None:
        """``drift`` is how far a node's clock may run from true time, as a fraction; less than half of what the
        cluster's leases allow for, since two clocks can drift apart in opposite directions."""
        self.seed = seed
        self.loop = SimLoop()  # type: ignore[abstract]
        self.loop.on_error = self.on_escape
        self.network = SimNetwork(self.loop, self.rng("network"))
        self.streams = StreamHub(self.loop, self.network)
        self.nodes: dict[str, SimNode] = {}
        self.events: list[dict[str, Any]] = []
        """What nodes and harness recorded, in order; ``t`` is true time since the beginning."""
        self._drift = drift
        self._clock_rng = self.rng("clocks")
        self._fingerprint = 0
        self._failure: BaseException | None = None
        self._calls: dict[int, tuple[asyncio.Future[Any], SimHandle]] = {}
        self._last_call = 0
        self.network.attach(Endpoint(CONTROLLER, None, self._on_answer))

    def rng(self, purpose: str) -> Random:
        """A stream of randomness that no other purpose draws from."""
        return Random(f"{self.seed}/{purpose}")

    @property
    def now(self) -> float:
        """True time in seconds since the beginning."""
        return self.loop.now_s

    @property
    def fingerprint(self) -> int:
        """A checksum over every event and every message so far. Two runs of one seed that differ are a bug of ours."""
        stamp = f"{self.network.fingerprint}/{self.loop.callbacks}/{self.now!r}".encode()
        return int(google_crc32c.extend(self._fingerprint, stamp))

    # -- nodes

    def add_node(self, name: str, factory: Factory, *, start: bool = True) -> SimNode:
        """A new node with an empty disk; ``factory(world)`` is its main coroutine, called anew for every life."""
        if name in self.nodes:
            raise ValueError(f"there is a node {name!r} already")
        random = self._clock_rng
        clock = SimClock(
            self.loop,
            boot_s=random.uniform(1.0, 1000.0),
            wall_s=EPOCH_S + self.now + random.uniform(-0.05, 0.05),
            rate=1.0 + random.uniform(-self._drift, self._drift),
        )
        disk = SimDisk(self.rng(f"{name}/disk"), self.loop.after)
        node = self.nodes[name] = SimNode(name, factory, disk, clock)
        if start:
            self._start(node)
        return node

    def _start(self, node: SimNode) -> None:
        node.lives += 1
        node.state = "running"
        life = node.life = Life(node.name)
        seed = f"{self.seed}/{node.name}/{node.lives}"
        world = node.world = SimWorld(self, node.name, life, node.clock, node.disk, seed)
        self.note("start", node=node.name, life=node.lives)
        # The machine is up; until its code asks for messages they go nowhere.
        self.network.attach(Endpoint(node.name, life, _ignore))
        # The factory itself is the node's code: it runs in the node's life, as everything after it.
        self.loop.call_soon(lambda: world.spawn(node.factory(world), "main"), context=life.context)

    def crash(self, name: str, lose_unsynced: bool = True) -> None:
        """End a node at once. With ``lose_unsynced`` its machine loses power; without, only its process dies.

        Of the unsynced bytes all or some are gone; nothing that waits in the node ever runs again.
        """
        node = self.nodes[name]
        life = node.life
        if life is None or life.over:
            raise ValueError(f"{name} is not running")
        node.state = "off"
        self.note("crash", node=name, power=lose_unsynced)
        self._end(node, life, lose_unsynced=lose_unsynced)

    def _end(self, node: SimNode, life: Life, *, lose_unsynced: bool) -> None:
        life.end()
        self.network.detach(node.name)
        if lose_unsynced:
            node.disk.lose_power()
            node.clock.reboot(self._clock_rng.uniform(1.0, 1000.0))
        else:
            node.disk.kill_process()
            self.streams.process_died(life)
        # Not now: the caller may be one of these very coroutines.
        self.loop.call_soon(life.close_tasks, context=self.loop.harness)

    def restart(self, name: str, wipe: bool = False) -> None:
        """Start a node that is off; ``wipe`` gives it an empty disk."""
        node = self.nodes[name]
        if node.life is not None and not node.life.over:
            raise ValueError(f"{name} is running; crash it first")
        if wipe:
            node.disk.wipe()
        self._start(node)

    def pause(self, name: str) -> None:
        """Freeze a node: its clocks go on, nothing of it runs."""
        node = self.nodes[name]
        if node.state != "running" or node.life is None:
            raise ValueError(f"{name} is {node.state}, not running")
        node.state = "paused"
        node.life.pause()
        self.note("pause", node=name)

    def resume(self, name: str) -> None:
        """Let a paused node go on, with everything that fell due meanwhile."""
        node = self.nodes[name]
        if node.state != "paused" or node.life is None:
            raise ValueError(f"{name} is {node.state}, not paused")
        node.state = "running"
        self.note("resume", node=name)
        self.loop.resume(node.life)

    def node_exited(self, name: str, life: Life, reason: str) -> None:
        """Called by a node that ends itself."""
        node = self.nodes[name]
        node.state = "exited"
        self._end(node, life, lose_unsynced=False)

    def running(self) -> list[str]:
        """Names of the nodes that run, in the order they were added."""
        return [node.name for node in self.nodes.values() if node.state == "running"]

    # -- network and clocks

    def partition(
        self, sources: Iterable[str], targets: Iterable[str] | None = None, *, one_way: bool = False
    ) -> Callable[[], None]:
        """Cut these nodes from those (from all others if not said); returns what heals this cut."""
        left = list(sources)
        right = list(targets) if targets is not None else [name for name in self.nodes if name not in left]
        self.note("cut", sources=left, targets=right, one_way=one_way)
        heal = self.network.cut(left, right, one_way=one_way)

        def undo() -> None:
            self.note("heal", sources=left, targets=right, one_way=one_way)
            heal()

        return undo

    def heal_network(self) -> None:
        """Take back every cut and every link's own profile."""
        self.note("heal-all")
        self.network.heal_all()

    # -- running

    def run_for(self, seconds: float) -> None:
        """Let virtual time pass."""
        self._run(self.now + seconds, None)

    def run_until(self, condition: Callable[[], bool], limit_s: float = 60.0) -> float:
        """Run until the condition holds; returns the virtual seconds that took, or raises :class:`ConditionNotMet`."""
        began = self.now
        if not self._run(began + limit_s, condition):
            raise ConditionNotMet(f"seed {self.seed}: not within {limit_s} s of virtual time, at {self.now:.6f} s")
        return self.now - began

    def run(self, work: Awaitable[Any], limit_s: float = 60.0) -> Any:
        """Run a coroutine or future of the harness to its end and return its result."""
        task = asyncio.ensure_future(work, loop=self.loop)
        self.run_until(task.done, limit_s)
        return task.result()

    def _run(self, until: float, condition: Callable[[], bool] | None) -> bool:
        met = self.loop.run(until, condition, idle=condition is None)
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        return met

    def on_escape(self, life: Life | None, error: BaseException) -> None:
        """An exception escaped a callback or a task: of the harness, it is raised as it is; of a node, as its bug."""
        if self._failure is not None:
            return
        self.loop.stop()
        if life is None or life.owner not in self.nodes:
            self._failure = error
        else:
            self._failure = NodeBug(
                f"{life.owner}: {type(error).__name__}: {error} (seed {self.seed}, at {self.now:.6f} s)"
            )
            self._failure.__cause__ = error

    # -- record

    def record(self, node: str, boot_s: float, wall_s: float, event: str, fields: Mapping[str, Any]) -> None:
        """Append to the event log, exactly as the node's event file would have it, with true time beside it."""
        entry = {"t": self.now, "boot": boot_s, "wall": wall_s, "node": node, "event": event} | dict(fields)
        self._fingerprint = google_crc32c.extend(self._fingerprint, _to_json(entry))
        self.events.append(entry)

    def note(self, event: str, **fields: Any) -> None:
        """Append an event of the harness's own."""
        named = {"node": "simulation"} | fields
        entry = {"t": self.now, "boot": self.now, "wall": EPOCH_S + self.now} | named | {"event": event}
        self._fingerprint = google_crc32c.extend(self._fingerprint, _to_json(entry))
        self.events.append(entry)

    def count(self, event: str, **fields: Any) -> int:
        """How many events of that name, with those fields, were recorded so far."""
        return sum(
            1
            for entry in self.events
            if entry["event"] == event and all(entry.get(key) == value for key, value in fields.items())
        )

    def log_lines(self) -> bytes:
        """The event log, one JSON object a line: the same bytes for the same seed."""
        return b"".join(_to_json(entry) + b"\n" for entry in self.events)

    # -- calls, as the controller makes them

    def call(self, node: str, method: str, params: Any = None, timeout_s: float = 2.0) -> Any:
        """Call a node and run until it answers; raises ``RpcError``, or ``RpcTimeout`` after virtual seconds."""
        return self.run(self.call_async(node, method, params, timeout_s), timeout_s + 1.0)

    async def call_async(self, node: str, method: str, params: Any = None, timeout_s: float = 2.0) -> Any:
        """The same for coroutines of the harness."""
        return await self.ask(node, method, params, timeout_s)

    def ask(self, node: str, method: str, params: Any = None, timeout_s: float = 2.0) -> asyncio.Future[Any]:
        """The same for who asks many at once: the call is under way when this returns."""
        self._last_call += 1
        call_id = self._last_call
        future: asyncio.Future[Any] = self.loop.create_future()
        self.network.send(CONTROLLER, node, _encode((REQUEST, call_id, method, params if params is not None else {})))
        limit = self.loop.call_later(timeout_s, self._expire, call_id, node, method)
        self._calls[call_id] = future, limit
        return future

    def _expire(self, call_id: int, node: str, method: str) -> None:
        future, _ = self._calls.pop(call_id)
        if not future.done():
            future.set_exception(RpcTimeout(node, method))

    def _on_answer(self, sender: str, payload: bytes) -> None:
        kind, call_id, code, body = _answer.decode(payload)
        if kind != ANSWER or call_id not in self._calls:
            return
        future, limit = self._calls.pop(call_id)
        limit.cancel()
        if future.done():
            return
        if code:
            future.set_exception(RpcError(code, body))
        else:
            future.set_result(body)

    # -- end

    def close(self) -> None:
        """End every life, drop everything that was scheduled, and let go of what keeps the simulation in memory.

        Nodes that crashed never closed their databases, and those that run do not either.
        """
        for node in self.nodes.values():
            if node.life is not None:  # one that is over may have tasks left, if no time has passed since
                node.life.end()
                node.life.close_tasks()
        self.loop.close()
        for node in self.nodes.values():
            node.disk.close()

    def __enter__(self) -> Simulation:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _ignore(sender: str, payload: bytes) -> None:
    return None


__all__ = ["ConditionNotMet", "NodeBug", "NodeEnded", "SimNode", "SimWorld", "Simulation"]
