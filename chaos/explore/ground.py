"""What every simulated database stands on: one table, clients that keep a history, and a look at who has what.

Clients reach the groups as routers do, with the routers' own code (routes, dispatch, operations), without HTTP: that is
most of a router, at a fifth of the cost. Transactions want a whole router, which coordinates them and recovers what
others left behind: then a client lives in a router's own node, calls its services, and dies with it.
:class:`~chaos.explore.stage.Stage` stands on it for explored scenarios, the database of ``tests/sim`` for the tests of
drivers and plants.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from chaos.explore import pairs
from cluster.api import OPERATIONS, DataOperation
from cluster.api.operation import CompositeOperation, Services
from cluster.core.errors import ApiError
from cluster.node.config import NodeConfig
from cluster.node.dispatch import Dispatch
from cluster.node.host import Host
from cluster.node.process import Node
from cluster.node.replica import Replica
from cluster.node.router import Router
from cluster.node.routes import MapUnavailable, Routes
from cluster.node.rpc import Rpc, RpcError
from cluster.sim.simulation import Simulation
from cluster.sim.world import SimWorld
from cluster.wire import errors
from loadgen.plan import Operation as Planned
from loadgen.plan import Plan, key_name, sweep
from loadgen.profiles import WRITES, Profile
from loadgen.schema import table_body
from loadgen.translate import API, body_of, outcome_of, teach
from reports.rundir.history import NEVER_NS, Operation

TABLE: Final = "load"
ITEM_BYTES: Final = 120
VOTERS: Final = 3


class Client:
    """Load from one place, and its record; one for each life of its node. ``router``: the one whose node it lives in,
    None where it has a node of its own."""

    def __init__(self, ground: Ground, world: SimWorld, config: NodeConfig, router: Router | None = None) -> None:
        self.ground = ground
        self.world = world
        self.az = config.az
        self.reads_only = False
        self.services: Services | None = None
        if router is None:
            rpc = Rpc(world)
            self.routes = Routes(world, config, rpc)
            self.dispatch = Dispatch(world, config, rpc, self.routes)
        else:
            self.routes, self.dispatch, self.services = router.routes, router.dispatch, router.services
        lives = ground.sim.nodes[config.name].lives
        self.writer = config.name if lives == 1 else f"{config.name}.{lives}"
        profile = ground.profile
        self.plan = Plan(profile, table=TABLE, keys=profile.keys, seed=ground.sim.seed, writer=self.writer)
        self._last = 0

    async def run(self) -> None:
        """Send for ever, at the ground's rate."""
        self.ground.clients.append(self)
        while True:
            rate = self.ground.rate
            await self.world.sleep(self.world.rng.uniform(0.2, 1.8) / rate if rate else 0.05)
            if self.ground.rate:
                self.world.spawn(self.attempt(*self.next()), "attempt")

    def next(self) -> tuple[Planned, ...]:
        """What is sent next: an operation, or two conditional puts in one transaction."""
        if self.ground.pairs and not self.reads_only and self.world.rng.random() < self.ground.pairs:
            return self._pair()
        planned = self.plan.next()
        while self.reads_only and planned.op != "get":
            planned = self.plan.next()
        return (planned,)

    def _pair(self) -> tuple[Planned, ...]:
        keys = self.ground.profile.keys
        first = self.world.rng.randrange(0, keys)
        second = (first + self.world.rng.randrange(1, keys)) % keys
        return tuple(self.plan.conditional_put(key_name(index)) for index in (first, second))

    async def attempt(self, *planned: Planned) -> Operation:
        """One operation, or more in one transaction, recorded when sent and when answered; the last one's record."""
        ground = self.ground
        place, invoked = len(ground.history), ground.now_ns()
        for number, one in enumerate(planned, self._last + 1):
            ground.history.append(Operation(
                self.writer, number, one.op, one.table, one.key, one.value, one.expect,
                self.az, "", invoked, invoked, NEVER_NS, NEVER_NS, "unknown", 0, None, None,
            ))  # fmt: skip
        self._last += len(planned)
        if len(planned) == 1:
            status, body = await self._send(planned[0])
            judged = [outcome_of(planned[0], status, body, ITEM_BYTES)]
        else:
            request = pairs.request_of(planned, ITEM_BYTES, indexed=ground.profile.indexed)
            status, body = await self._carry_out(pairs.NAME, request)
            judged = pairs.outcomes_of(planned, status, body, ITEM_BYTES)
        ended = ground.now_ns()
        for at, (one, outcome) in enumerate(zip(planned, judged, strict=True), place):
            ground.history[at] = msgspec.structs.replace(
                ground.history[at], answered_ns=ended, outcome=outcome.outcome, status=status, error=outcome.error,
                observed=outcome.value, ended_ns=NEVER_NS if outcome.outcome == "unknown" else ended,
            )  # fmt: skip
            if outcome.outcome == "ok":
                ground.succeeded[one.op] += 1
            teach(self.plan, one, outcome)
        return ground.history[place + len(planned) - 1]

    async def _send(self, planned: Planned) -> tuple[int, bytes]:
        body = msgspec.json.decode(body_of(planned, ITEM_BYTES, indexed=self.ground.profile.indexed))
        return await self._carry_out(API[planned.op], body)

    async def _carry_out(self, name: str, body: Any) -> tuple[int, bytes]:
        operation = OPERATIONS[name]
        try:
            if isinstance(operation, CompositeOperation):
                assert self.services is not None, "only routers coordinate transactions"
                return 200, await operation.plan(operation.check(body), self.services)
            assert isinstance(operation, DataOperation)
            checked = operation.check(body)
            table = self.routes.table(TABLE) or await self.routes.fetch_table(TABLE)
            if table is None:
                return 503, b"{}"
            command = operation.prepare(checked, table.schema)
            return 200, operation.respond(command, await self.dispatch.run(table, command))
        except ApiError as error:
            return errors.error_status(error), errors.error_body(error)
        except MapUnavailable:
            return 503, b"{}"


class Ground:
    """A simulation with a cluster in it. Whoever stands on it deploys the nodes."""

    def __init__(self, seed: int, profile: Profile, pairs: float = 0.0) -> None:
        self.sim = Simulation(seed)
        self.profile = profile
        self.pairs = pairs
        """The share of arrivals that are two conditional puts in one transaction; only routers can send these."""
        self.nodes: dict[str, Node] = {}
        self.clients: list[Client] = []
        self.history: list[Operation] = []
        self.succeeded: Counter[str] = Counter()
        """Operations that were answered with success, by kind."""
        self.rate = 0.0
        """Operations per second and client."""
        self.configs: list[NodeConfig] = []

    def now_ns(self) -> int:
        return int(self.sim.now * 1e9)

    def acknowledged(self) -> int:
        """Writes acknowledged so far."""
        return sum(self.succeeded[op] for op in WRITES)

    # --- setting up ---

    def start_clients(self) -> None:
        """Start every client that is configured. The load stays off."""
        for config in self.configs:
            if config.role == "client":
                self.sim.add_node(config.name, self._client_factory(config))
        self.sim.run_for(0.1)

    def _client_factory(self, config: NodeConfig) -> Callable[[SimWorld], Any]:
        return lambda world: Client(self, world, config).run()

    def ask_for_table(self, partitions: int) -> bool:
        """Whether a node of the control plane takes the request for the table now, or has taken it before."""
        body = table_body(self.profile, TABLE, partitions)
        return self.ask_control("CreateTable", OPERATIONS["CreateTable"].check(body))

    def ask_control(self, name: str, request: Any) -> bool:
        """Whether a node of the control plane carries out an operation, or has done so before."""
        for node in [config.name for config in self.configs if config.role == "autoadmin"]:
            try:
                self.sim.call(node, "control", (name, request))
                return True
            except RpcError as error:
                if error.code == "api-error" and error.detail[0] == "ResourceInUseException":
                    return True
        return False

    # --- looking at it ---

    def host(self, name: str) -> Host | None:
        """What holds a node's replicas; None for roles that hold none."""
        host = getattr(self.nodes[name].role, "host", None) if name in self.nodes else None
        return host if isinstance(host, Host) else None

    def hosts(self) -> Iterator[Host]:
        """The hosts of nodes that run, in the order of deployment."""
        for name in self.sim.running():
            host = self.host(name)
            if host is not None:
                yield host

    def by_group(self) -> dict[str, list[Replica]]:
        """The replicas on nodes that run."""
        found: dict[str, list[Replica]] = {}
        for host in self.hosts():
            for replica in host.replicas.values():
                found.setdefault(replica.spec.group, []).append(replica)
        return found

    def digests(self) -> dict[str, list[dict[str, Any]]]:
        """The digest of every replica of the table's groups at one barrier each."""
        found: dict[str, list[dict[str, Any]]] = {}
        for host in list(self.hosts()):
            for group, replica in list(host.replicas.items()):
                if replica.serving and replica.spec.table:
                    slot = self.sim.call(host.name, "barrier", {"group": group})["slot"]
                    members = [m.node for m in replica.group.config.voters]
                    found[group] = [self.sim.call(m, "digest", {"group": group, "slot": slot}, 10) for m in members]
        return found

    def sweep(self, limit_s: float) -> None:
        """Read every key, strongly, until each was answered; and all that transactions may have made."""
        client = next(client for client in self.clients if not client.world.life.over)

        async def read_all() -> None:
            for planned in sweep(TABLE, self.profile.keys, workload=self.profile.workload):
                while (await client.attempt(planned)).outcome != "ok":
                    await client.world.sleep(0.05)

        reading = client.world.spawn(read_all(), "sweep")
        self.sim.run_until(reading.done, limit_s)


def is_whole(replicas: list[Replica], voters: int) -> bool:
    """A group has one leader and so many voters, all of them here, sound, and as far as it is."""
    leaders = [r for r in replicas if r.serving]
    if len(leaders) != 1 or leaders[0].group.config.joint:
        return False
    wanted = [m.replica for m in leaders[0].group.config.voters]
    ready = [r for r in replicas if r.spec.replica in wanted and r.applied >= leaders[0].applied and not r.damaged]
    return len(wanted) == voters == len(ready)
