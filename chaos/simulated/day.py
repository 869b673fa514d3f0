"""A simulated game day from deployment to verdict: the phases of :mod:`chaos.engine.game` on virtual time.

Everything in the run directory but ``plan.json``'s date and the rendering follows from playbook, seed and code:
``events.jsonl``, the histories and ``nodes/simulation.jsonl`` are the same to the bit whenever and wherever it is
played.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec

from chaos.engine import records
from chaos.engine.corruption import MEND_S, Ledger, scrub_disks
from chaos.engine.game import QUIESCE_S, SWEEP_S, WARM_UP_S, Listener, Options
from chaos.engine.indexdump import Dumper
from chaos.engine.inject import BUDGET_POLL_S, harm_of, hurt_groups, not_alone
from chaos.engine.scrub import DAMAGE_TOLD, Target, partitions, read_disks, scrub_one
from chaos.engine.steady import Monitor, holds
from chaos.engine.stop import Stopped, StopRequest
from chaos.engine.watch import EMPTY, SYSTEM, WATCHED, Memory, View, placement, tell
from chaos.errors import BlackstartError, InputError, PlatformError
from chaos.explore.stage import load_plant
from chaos.faults.base import Spec
from chaos.faults.bitrot import KIND as BIT_ROT
from chaos.guard import NOTHING, BeyondBudget, Disturbance, assess, enforce
from chaos.plan import Planned, disturbance, dropped_pairs, resolve_late
from chaos.playbook.model import PartitionAction
from chaos.simulated.canary import Canaries
from chaos.simulated.clock import START_BOOT_S, VirtualLog
from chaos.simulated.faults import Injected, partition, power_off, restart
from chaos.simulated.rot import SimFiles, plan_rot, rot
from chaos.simulated.scrub import SCRUB_S, SimCalls, SimReader
from chaos.simulated.traffic import Traffic
from chaos.targets import CLIENT, zones_within
from cluster.node.config import NodeConfig, Peer, Scrub, Timing
from cluster.node.host import Host
from cluster.node.process import Node
from cluster.node.rpc import RpcError
from cluster.sim.collector import rare_collections
from cluster.sim.deploy import deploy
from cluster.sim.invariants import PROPERTIES, Invariants
from cluster.sim.objects import ROLE
from cluster.sim.simulation import ConditionNotMet, NodeBug, Simulation
from cluster.sim.world import SimWorld
from loadgen.profiles import profile_named

if TYPE_CHECKING:
    from chaos.prepare import Prepared
    from reports.rundir import DamageEntry, RunDir, Verdict

SLICE_S: Final = 0.25
"""Between looks at the cluster, and at whether the run is to end."""
STATUS_S: Final = 0.7
DEPLOY_S: Final = 30.0
SHARED: Final = (
    "Nothing here was real: nodes were coroutines on virtual time, with a simulated network and simulated disks.",
    "The code of every node, its storage engine included, was that which runs in containers.",
)


class SimulatedDay:
    """One run. ``listener`` is told every event."""

    def __init__(self, prepared: Prepared, options: Options, stop: StopRequest, listener: Listener) -> None:
        self.prepared = prepared
        self.playbook = prepared.playbook
        self.plan = prepared.plan
        self.options = options
        self.stop = stop
        self.listener = listener
        self.cluster_id = f"bs{prepared.seed & 0xFFFFFF:06x}"
        self.sim = Simulation(prepared.seed)
        self.watch = Invariants(self.sim)
        self.watch.raising = False
        self.planted = (
            load_plant(options.plant, options.plant_path) if options.plant and options.plant_path is not None else None
        )
        self.nodes = {node.name: node for node in self.plan.nodes}
        self.roles = {node.name: node.role for node in self.plan.nodes if node.role in WATCHED}
        self.memory = Memory(min(3, max(1, len(prepared.topology.azs))))
        self.view: View = EMPTY
        self.polls = 0
        self._poller: asyncio.Task[None] | None = None
        self.active: dict[int, tuple[Planned, Injected, Disturbance]] = {}
        self.run: RunDir
        self.log: VirtualLog
        self.traffic: Traffic
        self.canaries: Canaries | None = None
        self.monitor: Monitor
        self.failure: BaseException | None = None
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._since: dict[str, float] = {}
        self._count = 0
        self._read = 0
        """Events of the nodes that the ledger has learned from."""
        self.ledger: Ledger
        self.running: dict[str, Node] = {}
        self.finished: set[int] = set()

    # The whole.

    def play(self) -> Verdict:
        """Play the game day and return its verdict."""
        with rare_collections(), self.sim:
            return self._play()

    def _play(self) -> Verdict:
        from reports.rundir import RunDir

        created = RunDir.create(self.options.out, self.prepared.name, self.prepared.seed)
        self.run = RunDir(created.path, START_BOOT_S)
        self.log = VirtualLog(self.run.events, self.sim)
        self.ledger = Ledger(self.run.ledger, START_BOOT_S, self.emit)
        self.emit("run", state="begin", playbook=self.prepared.name, seed=self.prepared.seed, cluster=self.cluster_id)
        self._guarded(self._forward)
        for name, step in (("rollback", self._roll_back), ("quiesce", self._quiesce), ("verify", self._verify)):
            if name == "rollback" or self._worth_verifying():
                self._guarded(lambda name=name, step=step: self._phase(name, step))  # type: ignore[misc]
        self._guarded(lambda: self._phase("tear-down", self._tear_down))
        self.emit("run", state="end", ended=self.stop.ended, reason=self.stop.reason)
        return self._report()

    def _forward(self) -> None:
        self._phase("resolve", self._resolve)
        self._phase("deploy", self._deploy)
        self._phase("warm-up", self._warm_up)
        self._phase("steady-before", self._steady_before)
        self.monitor.phase = "during"
        self._phase("method", self._method)
        self.monitor.phase = "after"
        self._phase("steady-after", self._steady_after)

    def _guarded(self, work: Callable[[], None]) -> None:
        """What goes wrong ends the run as it does on real clusters; a bug of a node is a failure of the platform."""
        try:
            work()
        except Stopped:
            pass
        except InputError as error:
            self.stop.request("aborted", str(error))
        except (BlackstartError, NodeBug, ConditionNotMet) as error:
            self.failure = self.failure or error
            self.stop.request("error", str(error))
        except Exception as error:
            self.failure = self.failure or error
            self.stop.request("error", f"{type(error).__name__}: {error}")

    def _worth_verifying(self) -> bool:
        return hasattr(self, "traffic") and self.traffic.started and self.failure is None

    def _phase(self, name: str, work: Callable[[], None]) -> None:
        with self._named(name):
            work()

    @contextmanager
    def _named(self, name: str) -> Iterator[None]:
        self.emit("phase", phase=name, state="begin")
        try:
            yield
        finally:
            self.emit("phase", phase=name, state="end")

    def emit(self, event: str, **fields: Any) -> None:
        """Write an event to the timeline, and tell the display."""
        line = self.log.append(event, **fields)
        with suppress(Exception):
            self.listener(line)  # the display must never be the reason that a run fails

    # Time.

    def advance(self, seconds: float) -> None:
        """Let virtual time pass. Raises :class:`Stopped` where the run was asked to end."""
        end = self.sim.now + seconds
        while self.sim.now < end - 1e-9:
            self.stop.check()
            self.sim.run_for(min(SLICE_S, end - self.sim.now))

    def wait_for(self, what: Callable[[View], bool], limit_s: float) -> bool:
        """Let time pass until a fresh view satisfies ``what``; False on the limit."""
        asked = self.polls
        try:
            # A view that was being made when we asked may be older than what it is asked about.
            self.sim.run_until(lambda: self.polls > asked + 1 and what(self.view), limit_s)
        except ConditionNotMet:
            return False
        return True

    async def _poll_forever(self) -> None:
        """Ask every node with replicas for its status, all at once, and tell what changed."""
        while True:
            began = self.sim.now
            calls = {name: self.sim.ask(name, "status", {}, STATUS_S) for name in self.roles}
            answers = {name: answer for name, call in calls.items() if (answer := await _answered(call))}
            if any(name not in self.memory.tables for name in self.memory.known):
                await self._learn_tables()
            before, self.view = self.view, self.memory.digest(answers, self.roles)
            self.polls += 1
            tell(self.emit, before, self.view)
            self._follow_events()
            await asyncio.sleep(max(0.02, SLICE_S - (self.sim.now - began)))

    async def _learn_tables(self) -> None:
        for node in sorted(name for name, role in self.roles.items() if role == "autoadmin"):
            answer = await _answered(self.sim.ask(node, "map", {}, STATUS_S)) or {}
            for table in answer.get("tables", []):
                for part in table.get("partitions", []):
                    self.memory.tables[str(part["group"])] = str(table["name"])

    def call(self, node: str, method: str, params: Any = None, timeout_s: float = 2.0) -> Any:
        """As :meth:`cluster.control.Control.call`, for what is shared with real game days."""
        return self.sim.call(node, method, params, timeout_s)

    # The phases.

    def _resolve(self) -> None:
        plan = records.plan_record(self.prepared, self.run, "simulated", self.cluster_id, self.options)
        checks = [check for check in plan.checks if check != "leftovers"]
        plan = msgspec.structs.replace(plan, checks=checks, shared=list(SHARED))
        self.run.write_plan(plan)
        self.run.playbook.write_text(records.resolved_playbook(self.prepared))

    def _deploy(self) -> None:
        topology = self.prepared.topology
        peers = [Peer(n.name, n.role, n.az, n.rack, f"198.18.0.{n.host}") for n in topology.nodes()]
        peers += [
            Peer(f"client-{az}", "client", az, "", f"198.18.0.{topology.client_hosts(az)[0]}") for az in topology.azs
        ]
        timing = Timing(topology.timing.lease, topology.timing.renewal, topology.timing.drift)
        scrub = Scrub(topology.scrub.rate, topology.scrub.every)
        deploy(self.sim, self._run_node, peers, timing=timing, plant=self.options.plant, scrub=scrub)
        routers = {
            az: [p.name for p in sorted(peers, key=lambda p: (p.az != az, p.name)) if p.role == "router"]
            for az in topology.azs
        }
        self.traffic = Traffic(self.sim, self.run, self.playbook.load, self.prepared.seed, routers, self.emit)
        if self.playbook.canaries.enabled:
            nearest = {az: names[0] for az, names in routers.items()}
            spec, spawn = self.playbook.canaries, self.traffic.spawn
            plant = None if self.planted is None else self.planted.module
            indexed = profile_named(self.playbook.load.profile).indexed
            self.canaries = Canaries(self.sim, self.run, spec, nearest, spawn, self.emit, plant, indexed=indexed)
        count = len(topology.nodes())
        self.sim.run_until(lambda: self.sim.count("ready") >= count, DEPLOY_S)
        self.emit("note", text=f"cluster {self.cluster_id} is up in the simulator, seed {self.prepared.seed}")

    async def _run_node(self, world: SimWorld, config: NodeConfig) -> None:
        node = self.running[config.name] = Node(world, config)
        host = getattr(node.role, "host", None)
        if isinstance(host, Host):
            self.watch.attach(host)
        if self.planted is not None:
            self.planted.module.install(node)
        await node.run()

    def _warm_up(self) -> None:
        self._poller = self.traffic.spawn(self._poll_forever())
        self.sim.run(self.traffic.create_table(), WARM_UP_S)
        partitions = self.playbook.load.partitions

        def ready(view: View) -> bool:
            data = [group for group in view.groups if group.view.table not in (SYSTEM, "")]
            return view.below == 0 and len(data) >= partitions

        if not self.wait_for(ready, WARM_UP_S):
            raise PlatformError(f"the simulated cluster was not redundant within {WARM_UP_S:g} s")
        # The monitor measures and judges; its own thread, which is for real time, is never started.
        self.monitor = Monitor(self.playbook, self.traffic, self, self.emit, self.stop)  # type: ignore[arg-type]

    def _steady_before(self) -> None:
        self.traffic.start()
        if self.canaries is not None:
            self.canaries.start()
        self.advance(self.plan.before_s)
        if problems := self.monitor.edge("before", self.plan.before_s):
            raise InputError(f"there was no steady state to begin with: {'; '.join(problems)}")

    def _steady_after(self) -> None:
        healed = self.sim.now
        self.advance(self.plan.after_s)
        self.monitor.edge("after", self.plan.after_s)
        for promise in self.playbook.expect.alarms:
            limit = healed + (promise.clears_within or 0.0) + self.playbook.canaries.window
            while self.canaries is not None and promise.name in self.canaries.firing() and self.sim.now < limit:
                self.advance(SLICE_S)

    def _method(self) -> None:
        began = self.sim.now
        for action in self.plan.actions:
            self._at(began + action.start_s, lambda action=action: self._begin(action, began))  # type: ignore[misc]
        while self._due:
            when, _, work = heapq.heappop(self._due)
            while self.sim.now < when - 1e-9:
                self.advance(min(2 * SLICE_S, when - self.sim.now))
                self._conditions()
            work()
        self.stop.check()

    def _at(self, when: float, work: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._due, (when, self._count, work))

    def _conditions(self) -> None:
        """Probes that hold all the time, stop conditions, and the run's greatest length."""
        now, playbook = self.sim.now, self.playbook
        if now > playbook.safety.max_duration:
            limit = f"{playbook.safety.max_duration:g}"
            self.stop.request("aborted", f"the run took longer than safety.max-duration ({limit} s)")
        for condition in playbook.safety.stop_conditions:
            if not holds(self.monitor.measure(condition.query), condition.when):
                self._since.pop(condition.name, None)
            elif now - self._since.setdefault(condition.name, now) >= condition.for_:
                self.stop.request("aborted", f"stop condition '{condition.name}' held for {condition.for_:g} s")
        for probe in playbook.steady_state_hypothesis.probes:
            if probe.mode == "continuous" or (probe.mode == "during" and self.active):
                self.monitor._judge(probe, "during", quiet=True)

    def _begin(self, planned: Planned, began: float) -> None:
        if planned.kind == "human":
            self.emit("note", text=f"nobody was asked: {planned.options['prompt']}")
            return
        patience = float(getattr(self.playbook.method[planned.number], "patience", 0.0))
        try:
            why = not_alone(planned, self.plan, self.playbook, self.finished, bool(self.active), self.view)
            if why:
                raise BeyondBudget(f"'{planned.name}' waited in vain: {why}")
            self._inject(planned, began, patient=patience > 0)
        except BeyondBudget as error:
            late = self.sim.now >= began + planned.start_s + patience
            if not patience or (late and planned.kind != "power-off"):
                raise
            if late:
                self._event(planned, "skipped", str(error))
            else:
                self._at(self.sim.now + BUDGET_POLL_S, lambda: self._begin(planned, began))

    def _inject(self, planned: Planned, began: float, *, patient: bool) -> None:
        """Resolve, guard, inject, verify, and see to the end of it."""
        plan, playbook, nodes = self.plan, self.playbook, list(self.plan.nodes)
        groups = self.view.group_views()
        action = resolve_late(planned, playbook, nodes, plan.seed, groups)
        written = playbook.method[action.number]
        cut = isinstance(written, PartitionAction)
        pairs = dropped_pairs(action, written, nodes, plan.seed) if cut else frozenset()  # type: ignore[arg-type]
        seed = f"{plan.seed}/{action.kind}/{action.number}/0"
        avoid = hurt_groups(self.ledger, groups)
        spec = Spec(action.name, action.targets, action.options, pairs, seed, tuple(groups), avoid)
        found = plan_rot(self.sim, f"f{action.number}", spec) if action.kind == BIT_ROT else []
        harm = disturbance(action, playbook, nodes, plan.seed).and_also(harm_of(found, action.options, self.view))
        total = harm.and_also(self.ledger.standing())
        for _, _, other in self.active.values():
            total = total.and_also(other)
        silent = frozenset(self.roles) - self.view.answering
        impact = assess(total.and_also(NOTHING._replace(down=silent)), groups, self.nodes)
        enforce(f"'{action.name}'", impact, playbook.safety.budget, unsafe=playbook.safety.unsafe)
        if found:
            self.ledger.planned(action.name, action.kind, found, START_BOOT_S + self.sim.now)
        self._event(action, "injecting")
        zones = {name: node.az for name, node in self.nodes.items() if node.role != CLIENT}
        dark = zones_within(zones, spec.targets) if action.kind == "power-off" else ()
        if found:
            injected = rot(self.sim, found)
        elif action.kind == "restart":
            injected = restart(self.sim, spec, self.running)
        elif action.kind == "power-off":
            injected = power_off(self.sim, spec, dark)
        else:
            injected = partition(self.sim, spec)
        self._event(action, "injected", injected.detail, dark)
        effect = injected.verify()
        self._event(action, effect.state, effect.detail)
        if found:
            self.ledger.injected(action.name)
            return
        self.active[action.number] = (action, injected, harm)
        end = self.sim.now + action.end_s - action.start_s if patient else began + action.end_s
        self._at(end, lambda: self._heal(action.number))

    def _heal(self, number: int) -> None:
        if number in self.active:
            action, injected, _ = self.active.pop(number)
            self._event(action, "healing")
            injected.heal()
            self.finished.add(number)
            self._event(action, "healed")

    def _follow_events(self) -> None:
        """Let the ledger learn what the nodes have said since the last time, at true times."""
        events, self._read = self.sim.events[self._read :], len(self.sim.events)
        for event in events:
            self.ledger.take({**event, "boot": START_BOOT_S + event["t"]})
        if self.view.groups and self.view.below == 0:
            self.ledger.whole(START_BOOT_S + self.sim.now)

    def _event(self, action: Planned, state: str, detail: str = "", no_path: tuple[str, ...] = ()) -> None:
        named = list(action.targets)
        more = {"no_path": list(no_path)} if no_path else {}
        self.emit("fault", name=action.name, fault_kind=action.kind, targets=named, state=state, detail=detail, **more)

    def _roll_back(self) -> None:
        for number in sorted(self.active, reverse=True):
            self._heal(number)

    def _quiesce(self) -> None:
        self.traffic.stop()
        if self.canaries is not None:
            self.canaries.stop()
        self.sim.run_until(self.traffic.quiet, DEPLOY_S)
        if not self.wait_for(lambda view: view.below == 0, QUIESCE_S):
            self.emit("note", text=f"not every group had its voters within {QUIESCE_S:g} s of the end of the load")

    def _verify(self) -> None:
        from reports import rundir

        if self.playbook.verify.logical == "all":
            keys, answered = self.sim.run(self.traffic.sweep(SWEEP_S), 2 * SWEEP_S)
            self.emit("note", text=f"closing sweep: {answered} of {keys} keys read")
        if self.ledger.entries:
            self._look_for_damage()
        if self.playbook.verify.scrub == "full":
            zones = {name: node.az for name, node in self.nodes.items()}
            reader = SimReader(self.sim) if ROLE in self.sim.nodes else None
            target = Target(self.cluster_id, self.roles, zones, reader, tell=self.emit)
            parts = partitions(placement(self, self.roles))
            found = [self.sim.run(scrub_one(SimCalls(self.sim), target, part), SCRUB_S) for part in parts]
            disks = read_disks(self, self.roles, lambda: None)
            told = [event for event in self.sim.events if event["event"] in DAMAGE_TOLD]
            scrub = rundir.Scrub(groups=found, archived=reader is not None, disks=disks, background=told)
            self.run.write_scrub(scrub)
            self.emit("note", text=f"scrub: {len(found)} groups digested at a barrier")
        self.run.write_index_rows(Dumper(self, self.roles, self.sim.run_for).dump())

    def _look_for_damage(self) -> None:
        """Every disk is read through once more; then it is read back what nobody has found."""
        self.emit("note", text=scrub_disks(self, self.roles, lambda: None))
        self._follow_events()
        if self.ledger.wants_archive():
            zones = {name: node.az for name, node in self.nodes.items()}
            tell = self.ledger.telling(lambda: START_BOOT_S + self.sim.now)
            target = Target(self.cluster_id, self.roles, zones, SimReader(self.sim), True, tell)
            for part in partitions(placement(self, self.roles)):
                self.sim.run(scrub_one(SimCalls(self.sim), target, part), SCRUB_S)
        deadline = self.sim.now + MEND_S
        while self.ledger.mending() and self.sim.now < deadline:
            self.sim.run_for(SLICE_S)
        self._follow_events()

        def now_at(entry: DamageEntry) -> bytes | None:
            files = SimFiles(self.sim, entry.node)
            return files.read(entry.file, entry.offset, entry.length) if entry.file in files.list() else None

        self.ledger.settle(now_at, START_BOOT_S + self.sim.now)

    def _tear_down(self) -> None:
        if self._poller is not None:
            self._poller.cancel()
            self.sim.run_for(0.0)
        if hasattr(self, "traffic"):
            self.traffic.close()
        if self.canaries is not None:
            self.canaries.close()
        if self.watch.violation is not None:
            self.emit("note", text=f"an invariant was broken: {self.watch.violation}")
        (self.run.nodes / "simulation.jsonl").write_bytes(self.sim.log_lines())
        self.emit("note", text=f"fingerprint of all events and messages: {self.sim.fingerprint:08x}")
        self.sim.close()

    def _report(self) -> Verdict:
        """Judge, and render what people and machines read."""
        from reports.judge import gather, judge
        from reports.rundir import CheckResult

        self.emit("phase", phase="report", state="begin")
        self.emit("phase", phase="report", state="end")
        self.log.close()
        evidence = gather(self.run)
        broken = self.watch.violation
        why = str(broken) if broken is not None else f"{len(PROPERTIES)} properties held at every step"
        inside = CheckResult(
            name="invariants", result="failed" if broken is not None else "ok", looked_at=len(self.sim.events), why=why
        )
        verdict = judge(evidence, also=[inside])
        self.run.write_verdict(verdict)
        records.render(evidence, verdict)
        return verdict


async def _answered(call: asyncio.Future[Any]) -> Any:
    """What a call is answered, None where it is not."""
    try:
        return await call
    except RpcError:
        return None
