"""A game day from deploy to verdict: the phases, in order, whatever happens in between.

The order is a promise: whatever was injected is healed before anything is judged, the cluster is taken down before the
host is looked at for leftovers, and a verdict is written even when a person, a stop condition or trouble of our own cut
the run short. What is evidence goes to the run directory the moment it is known.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from chaos import reaper
from chaos.engine import records
from chaos.engine.canary import Canaries, canaries_of
from chaos.engine.corruption import MEND_S, Ledger, NodeEvents, reader, scrub_disks
from chaos.engine.indexdump import Dumper
from chaos.engine.inject import Ask, Method
from chaos.engine.scrub import damage_told, reader_of, scrub
from chaos.engine.steady import Monitor
from chaos.engine.stop import Stopped, StopRequest
from chaos.engine.traffic import Traffic
from chaos.engine.watch import SYSTEM, View, Watcher
from chaos.errors import BlackstartError, Deviation, InputError, PlatformError
from chaos.journal import Journal, boot_s
from chaos.leftovers import Marks, Snapshot, collect

if TYPE_CHECKING:
    import subprocess

    from chaos.prepare import Prepared
    from cluster.control import Control
    from cluster.runtime.base import Cluster, Runtime
    from reports.rundir import EventLog, RunDir, Verdict

WARM_UP_S = 60.0
QUIESCE_S = 90.0
SWEEP_S = 60.0

Listener = Callable[[dict[str, Any]], None]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Options:
    """How a run is to be played, besides its playbook."""

    runtime: str | None = None
    out: Path = Path("runs")
    plant: str | None = None
    plant_path: Path | None = None
    keep: bool = False
    ask: Ask | None = None


class GameDay:
    """One run. ``listener`` is told every event; ``progress`` how far the deployment is."""

    def __init__(
        self,
        prepared: Prepared,
        options: Options,
        stop: StopRequest,
        listener: Listener,
        progress: Progress,
    ) -> None:
        self.prepared = prepared
        self.playbook = prepared.playbook
        self.plan = prepared.plan
        self.options = options
        self.stop = stop
        self.listener = listener
        self.progress = progress
        self.cluster_id = f"bs{secrets.token_hex(3)}"
        self.runtime: Runtime | None = None
        self.cluster: Cluster | None = None
        self.control: Control | None = None
        self.watcher: Watcher | None = None
        self.traffic: Traffic | None = None
        self.canaries: Canaries | None = None
        self.healed_s: float | None = None
        self.monitor: Monitor | None = None
        self.method: Method | None = None
        self.ledger: Ledger | None = None
        self.node_events: NodeEvents | None = None
        self.reaper: subprocess.Popen[bytes] | None = None
        self.before: Snapshot = {}
        self.marks = Marks(self.cluster_id)
        self.errors: list[str] = []
        self.run: RunDir
        self.log: EventLog
        self.failure: BaseException | None = None

    # The whole.

    def play(self) -> Verdict:
        """Play the game day and return its verdict. Raises only for what made even a verdict impossible."""
        from cluster.runtime import choose
        from reports.rundir import RunDir

        self.runtime = choose(self.options.runtime)
        self.run = RunDir.create(self.options.out, self.prepared.name, self.prepared.seed)
        self.log = self.run.event_log()
        self.emit("run", state="begin", playbook=self.prepared.name, seed=self.prepared.seed, cluster=self.cluster_id)
        try:
            self._forward()
        except Stopped:
            pass
        except BlackstartError as error:
            ended = "aborted" if isinstance(error, InputError | Deviation) else "error"
            self.failure = error if ended == "error" else None
            self.stop.request(ended, str(error))  # type: ignore[arg-type]
        except Exception as error:
            self.failure = error
            self.stop.request("error", f"{type(error).__name__}: {error}")
        self._backward()
        self.emit("run", state="end", ended=self.stop.ended, reason=self.stop.reason)
        try:
            return self._report()
        except OSError as error:
            raise self._unwritable(error) from error

    def _forward(self) -> None:
        """Everything up to the end of the method and its steady state; may be cut short anywhere."""
        with self.phase("resolve"):
            self._resolve()
        with self.phase("preflight"):
            self.before, errors = self._look_at_host()
            self.errors += errors
        with self.phase("deploy"):
            self._deploy()
        with self.phase("warm-up"):
            self._warm_up()
        assert self.monitor is not None
        assert self.method is not None
        assert self.traffic is not None
        with self.phase("steady-before"):
            self.traffic.start()
            if self.canaries is not None:
                self.canaries.start()
            self.monitor.start()
            self.stop.sleep(self.plan.before_s)
            if problems := self.monitor.edge("before", self.plan.before_s):
                raise Deviation(f"there was no steady state to begin with: {'; '.join(problems)}")
        with self.phase("method"):
            self.monitor.phase = "during"
            self.method.play()
        self.healed_s = boot_s()
        with self.phase("steady-after"):
            self.monitor.phase = "after"
            self.stop.sleep(self.plan.after_s)
            self.monitor.edge("after", self.plan.after_s)
            if self.canaries is not None:
                self.canaries.await_clear(self.playbook.expect.alarms, self.healed_s, self.stop.check)

    def _backward(self) -> None:
        """What is always done, each step whatever became of the one before."""
        steps: list[tuple[str, Callable[[], None]]] = [("rollback", self._roll_back), ("quiesce", self._quiesce)]
        if self._worth_verifying():
            steps.append(("verify", self._verify))
        steps += [("tear-down", self._tear_down), ("leftovers", self._leftovers)]
        for name, step in steps:
            try:
                with self.phase(name):
                    step()
            except Stopped:
                self.emit("note", text=f"{name} was cut short")
            except Exception as error:
                self.failure = self.failure or error
                self.emit("note", text=f"{name} failed: {type(error).__name__}: {error}")
                self.stop.request("error", f"{name}: {error}")

    def _worth_verifying(self) -> bool:
        return self.traffic is not None and self.traffic.started and not self.stop.hurry.is_set()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """A phase in the event log, from its begin to its end however it ends."""
        self.emit("phase", phase=name, state="begin")
        try:
            yield
        finally:
            self.emit("phase", phase=name, state="end")

    def emit(self, event: str, **fields: Any) -> None:
        """Write an event to the timeline, and tell the display. Where it cannot be written the run is asked to end;
        nothing is raised, as healing and tearing down must go on."""
        line = {"t": boot_s() - self.run.start_boot_s, "event": event, **fields}
        try:
            line = self.log.append(event, **fields)
        except OSError as error:
            self._unwritable(error)
        with contextlib.suppress(Exception):
            # The display must never be the reason that a run fails.
            self.listener(line)

    def _unwritable(self, error: OSError) -> PlatformError:
        """End the run, as what it saw cannot be kept; the error for the user."""
        failure = PlatformError(
            f"the run's directory {self.run.path} cannot be written: {error.strerror}",
            hint="What was broken was healed, and the cluster taken down; for a verdict, free some space there, "
            "or choose another place with --out.",
        )
        self.failure = self.failure or failure
        self.stop.request("error", failure.message)
        return failure

    # The phases.

    def _resolve(self) -> None:
        assert self.runtime is not None
        kind = self.runtime.kind
        self.run.write_plan(records.plan_record(self.prepared, self.run, kind, self.cluster_id, self.options))
        self.run.playbook.write_text(records.resolved_playbook(self.prepared))

    def _look_at_host(self) -> tuple[Snapshot, list[str]]:
        assert self.runtime is not None
        engine = None
        if self.runtime.kind == "docker":
            import docker

            engine = docker.from_env()
        try:
            return collect(self.marks, engine=engine)
        finally:
            if engine is not None:
                engine.close()

    def _deploy(self) -> None:
        assert self.runtime is not None
        self.stop.check()
        self.cluster = self.runtime.up(
            self.prepared.topology,
            cluster_id=self.cluster_id,
            plant=self.options.plant,
            plant_path=self.options.plant_path,
            progress=self._deploying,
            labels={"blackstart.run": self.run.path.name},
        )
        self.marks = Marks(self.cluster_id, (self.cluster.subnet.rsplit(".", 1)[0] + ".",))
        self.emit("note", text=f"cluster {self.cluster.id} is up on {self.cluster.kind}")

    def _deploying(self, what: str, done: int, total: int) -> None:
        """Told how far the deployment is; ends it where the run was asked to end, so that it removes what it made."""
        self.stop.check()
        self.progress(what, done, total)

    def _warm_up(self) -> None:
        from cluster.control import Control
        from loadgen.profiles import profile_named

        assert self.cluster is not None
        self.control = Control(self.cluster.peers, self.cluster.key, self.cluster.id)
        self.watcher = Watcher(self.cluster, self.control, self.emit)
        self.watcher.start()
        self.traffic = Traffic(self.cluster, self.run, self.playbook.load, self.prepared.seed, self.emit)
        self.traffic.create_table(WARM_UP_S)
        self.stop.check()
        if self.playbook.canaries.enabled:
            spec, plant, path = self.playbook.canaries, self.options.plant, self.options.plant_path
            indexed = profile_named(self.playbook.load.profile).indexed
            self.canaries = canaries_of(self.cluster, self.run, spec, self.emit, plant, path, indexed=indexed)
            self.canaries.launch()
        self.traffic.prepare()
        if self.canaries is not None:
            self.canaries.await_ready()
        self.stop.check()
        self._await_redundancy(WARM_UP_S)
        self.monitor = Monitor(self.playbook, self.traffic, self.watcher, self.emit, self.stop)
        self.ledger = Ledger(self.run.ledger, self.run.start_boot_s, self.emit)
        self.node_events = NodeEvents(self.cluster, self.ledger, self._whole, boot_s)
        self.node_events.start()
        self.method = Method(
            self.cluster, self.playbook, self.plan, self.watcher, self.emit, self.stop, self.options.ask, self.ledger
        )
        self.monitor.died = self._died
        self.monitor.fault_in = lambda: bool(self.method and self.method.active)
        self.method.preflight()
        self.reaper = reaper.start(self.cluster.id, self.cluster.state_dir)

    def _whole(self) -> bool:
        """Whether every group has its voters."""
        return self.watcher is not None and bool(self.watcher.view.groups) and self.watcher.view.below == 0

    def _died(self) -> str | None:
        """Which of the run's clients ended although nobody asked it to: the run would be blind from then on."""
        return (self.traffic and self.traffic.died()) or (self.canaries and self.canaries.died()) or None

    def _await_redundancy(self, timeout_s: float) -> None:
        """Every group of the table and the system group has a leader and its voters."""
        assert self.watcher is not None
        partitions = self.playbook.load.partitions

        def ready(view: View) -> bool:
            data = [group for group in view.groups if group.view.table not in (SYSTEM, "")]
            return view.below == 0 and len(data) >= partitions

        if self.watcher.wait_for(ready, timeout_s, lambda: self.stop.requested):
            return
        self.stop.check()
        view = self.watcher.view
        short = "; ".join(f"{group.view.group}: {group.why}" for group in view.groups if not group.full)
        raise PlatformError(
            f"the cluster was not redundant within {timeout_s:g} s: {len(view.groups)} groups, {view.below} of them "
            f"not full ({short or 'too few groups'})"
        )

    def _roll_back(self) -> None:
        if self.cluster is None:
            return
        if self.method is not None:
            failed = [healed for healed in self.method.heal_rest() if healed.error is not None]
            if failed:
                raise PlatformError("; ".join(f"'{healed.entry.name}': {healed.error}" for healed in failed))

    def _quiesce(self) -> None:
        """The load ends, and the cluster has time to become whole before it is judged."""
        if self.monitor is not None:
            self.monitor.close()
        if self.traffic is not None:
            for problem in self.traffic.stop():
                self.emit("note", text=problem)
        if self.canaries is not None:
            for problem in self.canaries.stop():
                self.emit("note", text=problem)
        if self.watcher is not None and self._worth_verifying():
            whole = self.watcher.wait_for(lambda view: view.below == 0, QUIESCE_S, self.stop.hurry.is_set)
            if not whole:
                self.emit("note", text=f"not every group had its voters within {QUIESCE_S:g} s of the end of the load")

    def _verify(self) -> None:
        assert self.cluster is not None
        assert self.control is not None
        assert self.watcher is not None
        assert self.traffic is not None
        if self.playbook.verify.logical == "all":
            swept = self.traffic.sweep(SWEEP_S, self._check_hurry)
            text = f"closing sweep: {swept['answered']} of {swept['keys']} keys read"
            self.emit("note", text="; ".join([text, *swept["problems"]]))
        if self.ledger is not None and self.ledger.entries:
            self._look_for_damage()
        if self.playbook.verify.scrub == "full":
            result = scrub(
                self.cluster, self.control, self.watcher.view, self.watcher.roles, self._check_hurry,
                reader=reader_of(self.cluster), disks=True, tell=self.emit,
            )  # fmt: skip
            self.run.write_scrub(msgspec.structs.replace(result, background=damage_told(self.cluster)))
            self.emit("note", text=f"scrub: {len(result.groups)} groups digested at a barrier")
        self.run.write_index_rows(Dumper(self.control, self.watcher.roles, self.stop.hurry.wait).dump())

    def _look_for_damage(self) -> None:
        """Every disk is read through once more; then it is read back what nobody has found."""
        assert self.cluster is not None
        assert self.control is not None
        assert self.ledger is not None
        assert self.node_events is not None
        keepers = [name for name, node in self.cluster.nodes.items() if node.role in ("storage", "autoadmin")]
        self.emit("note", text=scrub_disks(self.control, keepers, self._check_hurry))
        if self.ledger.wants_archive() and self.watcher is not None:
            tell, archived = self.ledger.telling(boot_s), reader_of(self.cluster)
            view, roles = self.watcher.view, self.watcher.roles
            scrub(self.cluster, self.control, view, roles, self._check_hurry, reader=archived, heal=True, tell=tell)
        deadline = boot_s() + MEND_S
        self.node_events.look()
        while self.ledger.mending() and boot_s() < deadline and not self.stop.hurry.wait(0.3):
            self.node_events.look()
        self.node_events.close()
        self.ledger.settle(reader(self.cluster), boot_s())

    def _check_hurry(self) -> None:
        if self.stop.hurry.is_set():
            raise Stopped("a second Ctrl-C")

    def _tear_down(self) -> None:
        try:
            for part in (self.canaries, self.traffic, self.node_events, self.watcher, self.control):
                if part is not None:
                    part.close()
        finally:
            if self.cluster is not None:
                self._take_down(self.cluster)

    def _take_down(self, cluster: Cluster) -> None:
        for node in cluster.nodes.values():
            if node.process() is None:
                self.emit("node", node=node.name, state="ended", detail=last_words(node.errors))
            for source, name in ((node.events, f"{node.name}.jsonl"), (node.errors, f"{node.name}.err")):
                with contextlib.suppress(OSError):
                    if source.stat().st_size:
                        shutil.copyfile(source, self.run.nodes / name)
        if self.options.keep:
            self.emit("note", text=f"kept: blackstart cluster status {cluster.id}")
        else:
            cluster.down()
        # With a fault still in the journal the reaper must stay: somebody has to go on trying.
        if self.reaper is not None and not Journal(cluster.state_dir).entries():
            self.reaper.terminate()
            self.reaper.wait(10.0)

    def _leftovers(self) -> None:
        from reports.rundir import Leftovers

        if self.options.keep or not self.before:
            return
        after, errors = self._look_at_host()
        self.run.write_leftovers(Leftovers(before=self.before, after=after, errors=[*self.errors, *errors]))

    def _report(self) -> Verdict:
        """Judge, and render what people and machines read."""
        from reports.judge import gather, judge

        self.emit("phase", phase="report", state="begin")
        evidence = gather(self.run)
        verdict = judge(evidence)
        self.run.write_verdict(verdict)
        records.render(evidence, verdict)
        self.emit("phase", phase="report", state="end")
        self.log.close()
        return verdict


def last_words(errors: Path) -> str:
    """Why a node that nobody stopped is not running any more, as far as its stderr tells."""
    try:
        lines = errors.read_text(errors="replace").strip().splitlines()
    except OSError:
        return "it ended by itself"
    return f"it ended by itself: {lines[-1][:300]}" if lines else "it ended by itself and said nothing"
