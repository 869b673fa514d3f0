"""Carrying out the actions of a scenario on a stage, and taking them back.

An action that makes no sense at its moment (a leader is meant and there is none, a node is off already, a disk would be
lost while another one is still being replaced) is skipped and counted: the same seed skips the same ones.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import msgspec

from chaos.explore import disks
from chaos.explore.ground import TABLE
from chaos.explore.scenario import LEADER, Action, Skipped
from chaos.explore.stage import Stage
from cluster.api import OPERATIONS
from cluster.core.placement import Candidate, replacement
from cluster.node.autoadmin import AutoAdmin, NotActing
from cluster.node.catalog import GroupRecord, Placed, Swap
from cluster.sim.network import LinkProfile
from loadgen.schema import later_body

CONTROL_S: Final = 8.0
"""How long the control plane may take over a request."""

Undo = Callable[[], None]
Injection = Callable[["Faults", Action, list[str]], Undo | None]


class Faults:
    """What is done to one stage. ``applied`` and ``skipped`` count by kind."""

    def __init__(self, stage: Stage, began_s: float) -> None:
        self.stage = stage
        self.sim = stage.sim
        self.began_s = began_s
        self.applied: Counter[str] = Counter()
        self.skipped: Counter[str] = Counter()
        self.done: list[tuple[int, float, float, list[str]]] = []
        """(number of the action from 1, from, until, nodes) in true time, for reports."""
        self.rotten = ""
        """The one node whose files may be damaged."""
        self.messages_left: dict[str, int] = {}
        """By node that is to lose power in the middle of something: messages that still come from it before that."""
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def play(self, method: Iterable[Action], until_s: float) -> None:
        """Carry out a schedule and let time pass to ``until_s`` seconds after the beginning."""
        for number, action in enumerate(method, 1):
            self.at(self.began_s + action.at, lambda n=number, action=action: self.apply(n, action))  # type: ignore[misc]
        end = self.began_s + until_s
        while self._due and self._due[0][0] <= end:
            when, _, work = heapq.heappop(self._due)
            self.sim.run_for(max(0.0, when - self.sim.now))
            work()
        self.sim.run_for(max(0.0, end - self.sim.now))

    def at(self, when: float, work: Callable[[], None]) -> None:
        """Do something at a true time, if the safety phase lasts so long."""
        self._count += 1
        heapq.heappush(self._due, (when, self._count, work))

    def apply(self, number: int, action: Action) -> None:
        """Inject one action now, and have it taken back when its time is over."""
        try:
            targets = self.resolve(action)
            undo = _INJECT[action.action](self, action, targets)
        except Skipped:
            self.skipped[action.action] += 1
            return
        self.applied[action.action] += 1
        self.sim.note("fault", kind=action.action, targets=targets)
        self.done.append((number, self.sim.now, self.sim.now + action.for_, targets))
        if undo is not None:
            self.at(self.sim.now + action.for_, undo)

    def resolve(self, action: Action) -> list[str]:
        """The nodes meant. Raises :class:`Skipped` where none of them is there: no leader, or a smaller cluster."""
        if action.targets != [LEADER]:
            there = [name for name in action.targets if name in self.sim.nodes]
            if action.targets and not there:
                raise Skipped
            return there
        leader = self.stage.leader(int(action.with_.get("of", 0)))
        if leader is None:
            raise Skipped
        return [leader]

    def heal(self, dark: str = "") -> None:
        """All faults end. The nodes of zone ``dark`` lose their power instead and stay off, where every group can do
        without them."""
        if dark and not self.stage.can_spare(dark):
            dark = ""
        self._due.clear()
        self.messages_left.clear()
        sim = self.sim
        sim.heal_network()
        sim.network.default = sim.network.default._replace(loss=0.0, duplicate=0.0, reorder=0.0)
        for config in self.stage.configs:
            name, node = config.name, sim.nodes[config.name]
            if config.role == "client":
                continue
            node.disk.memory.works()
            node.disk.profile = self.stage.calm_disk()
            self.resume(name)
            if dark and config.az == dark:
                self.crash(name, lose=True)
            else:
                self.boot(name)

    # --- what injections are made of ---

    def crash(self, name: str, *, lose: bool) -> bool:
        """Power off, or kill, a node that is on; whether it was."""
        if self.sim.nodes[name].state not in ("running", "paused"):
            return False
        self.sim.crash(name, lose_unsynced=lose)
        return True

    def boot(self, name: str, *, wipe: bool = False) -> None:
        """Start a node if it is off."""
        if self.sim.nodes[name].state in ("off", "exited"):
            self.sim.restart(name, wipe=wipe)

    def resume(self, name: str) -> None:
        """Let a node go on if it is paused."""
        if self.sim.nodes[name].state == "paused":
            self.sim.resume(name)

    def others(self, targets: list[str], meant: Any) -> list[str]:
        """The other side of a cut: everybody else, the other storage nodes, or those named."""
        if isinstance(meant, list):
            return [name for name in meant if name not in targets and name in self.sim.nodes]
        names = [name for name in self.sim.nodes if name not in targets]
        return [name for name in names if name.startswith("storage")] if meant == "storage" else names

    def pairs(self, targets: list[str]) -> Iterator[tuple[str, str]]:
        """Every ordered pair of a target and another node."""
        for target in targets:
            for other in self.others(targets, None):
                yield target, other
                yield other, target

    def cut(self, targets: list[str], others: list[str], direction: str) -> Undo:
        """Cut targets from others, in one direction as seen from the targets or in both."""
        if not others:
            raise Skipped
        left, right = (others, targets) if direction == "inbound" else (targets, others)
        return self.sim.partition(left, right, one_way=direction != "both")


def _each(work: Callable[[str], None], names: list[str]) -> None:
    for name in names:
        work(name)


def _power_off(faults: Faults, action: Action, targets: list[str]) -> Undo:
    lose = action.with_.get("unsynced", "lose") == "lose"
    down = [name for name in targets if faults.crash(name, lose=lose)]
    if not down:
        raise Skipped
    return lambda: _each(faults.boot, down)


def _midway_off(faults: Faults, action: Action, targets: list[str]) -> Undo:
    """Power off in the middle of something: each target as so many messages of its own have come to storage nodes."""
    left, network = faults.messages_left, faults.sim.network
    meant = [name for name in targets if faults.sim.nodes[name].state == "running" and name not in left]
    if not meant:
        raise Skipped
    left |= dict.fromkeys(meant, int(action.with_["messages"]))
    before = network.watch

    def watched(at: float, source: str, target: str, payload: bytes) -> None:
        if before is not None:
            before(at, source, target, payload)
        if source in meant and source in left and target.startswith("storage"):
            left[source] -= 1
            if not left[source]:
                del left[source]
                faults.crash(source, lose=True)

    def over() -> None:
        for name in meant:
            left.pop(name, None)
            faults.boot(name)

    network.watch = watched
    return over


def _partition(faults: Faults, action: Action, targets: list[str]) -> Undo:
    others = faults.others(targets, action.with_.get("from"))
    return faults.cut(targets, others, str(action.with_.get("direction", "both")))


def _links(faults: Faults, action: Action, targets: list[str]) -> Undo:
    profile = LinkProfile(**{key: value for key, value in action.with_.items() if key != "of"})
    pairs = list(faults.pairs(targets))
    for source, target in pairs:
        faults.sim.network.shape(source, target, profile)

    def unshape() -> None:
        for source, target in pairs:
            faults.sim.network.shape(source, target, None)

    return unshape


def _flapping(faults: Faults, action: Action, targets: list[str]) -> None:
    period, end = float(action.with_["period_s"]), faults.sim.now + action.for_
    others, direction = faults.others(targets, None), str(action.with_["direction"])

    def down() -> None:
        heal = faults.cut(targets, others, direction)
        faults.at(faults.sim.now + period / 2, lambda: up(heal))

    def up(heal: Undo) -> None:
        heal()
        if faults.sim.now + period / 2 < end:
            faults.at(faults.sim.now + period / 2, down)

    down()


def _pause(faults: Faults, action: Action, targets: list[str]) -> Undo:
    held = [name for name in targets if faults.sim.nodes[name].state == "running"]
    if not held:
        raise Skipped
    for name in held:
        faults.sim.pause(name)
    return lambda: _each(faults.resume, held)


def _clock_rate(faults: Faults, action: Action, targets: list[str]) -> Undo:
    def set_rate(rate: float) -> None:
        for name in targets:
            faults.sim.nodes[name].clock.set_rate(rate)

    set_rate(1.0 + float(action.with_["error"]))
    return lambda: set_rate(1.0)


def _wall_jump(faults: Faults, action: Action, targets: list[str]) -> None:
    for name in targets:
        faults.sim.nodes[name].clock.jump_wall(float(action.with_["seconds"]))


def _transfer(faults: Faults, action: Action, targets: list[str]) -> None:
    host = next(host for host in faults.stage.hosts() if host.name == targets[0])
    group = faults.stage.groups()[int(action.with_.get("of", 0)) % len(faults.stage.groups())]
    host.replicas[group].relinquish()


def _blink(faults: Faults, action: Action, targets: list[str]) -> Undo:
    followers = faults.others(targets, "storage")
    heal = faults.cut(targets, followers, "both")
    faults.at(faults.sim.now + float(action.with_["cut_s"]), heal)
    down = [name for name in followers if faults.crash(name, lose=True)]
    return lambda: _each(faults.boot, down)


def _move(faults: Faults, action: Action, targets: list[str]) -> None:
    """Ask the control plane to move one replica to a storage node that has none of its group."""
    admin = faults.stage.acting()
    if admin is None or admin.catalog is None or not faults.stage.whole():
        raise Skipped
    groups = faults.stage.groups()
    record = admin.catalog.groups.get(groups[int(action.with_["of"]) % len(groups)])
    if record is None or record.swap is not None:
        raise Skipped
    leaving = record.members[int(action.with_["pick"]) % len(record.members)]
    chosen = _spare(admin, record, leaving)
    if chosen is None:
        raise Skipped
    add = Placed(record.next_replica, chosen.node, chosen.az, chosen.rack, chosen.disk)
    swap = msgspec.structs.replace(record, swap=Swap(add, leaving.replica), next_replica=record.next_replica + 1)
    admin.world.spawn(_ask(admin, swap), "explorer-move")


def _add_index(faults: Faults, action: Action, targets: list[str]) -> None:
    _update_table(faults, later_body(faults.stage.profile, TABLE))


def _drop_index(faults: Faults, action: Action, targets: list[str]) -> None:
    gone = {"Delete": {"IndexName": str(action.with_["index"])}}
    _update_table(faults, {"TableName": TABLE, "GlobalSecondaryIndexUpdates": [gone]})


def _update_table(faults: Faults, body: dict[str, Any] | None) -> None:
    """Ask the control plane for a change of the table, which it may refuse: others may be under way."""
    admin = faults.stage.acting()
    if admin is None or body is None or not faults.stage.scenario.indexed:
        raise Skipped
    request = OPERATIONS["UpdateTable"].check(body)
    faults.stage.call_later(admin.config.name, "control", CONTROL_S, ("UpdateTable", request))


async def _ask(admin: AutoAdmin, record: GroupRecord) -> None:
    try:
        await admin.commit(groups=(record,))
    except NotActing:
        return  # as any request to a control plane that is just being replaced


def _spare(admin: AutoAdmin, record: GroupRecord, leaving: Placed) -> Candidate | None:
    """Another node of the same zone, as the control plane chooses when it replaces a replica."""
    keep = [member.candidate for member in record.members if member is not leaving]
    taken = [member.node for member in record.members]
    open_ = [candidate for candidate in admin.candidates() if candidate.node not in taken]
    return replacement(open_, admin.acting().load(), keep, leaving.candidate)


_INJECT: Final[dict[str, Injection]] = {
    "power-off": _power_off,
    "midway-off": _midway_off,
    "disk-loss": disks.disk_loss,
    "partition": _partition,
    "links": _links,
    "flapping": _flapping,
    "pause": _pause,
    "clock-rate": _clock_rate,
    "wall-jump": _wall_jump,
    "fsync-failure": disks.failed_fsync,
    "slow-disk": disks.slow_disk,
    "disk-error": disks.disk_error,
    "full-disk": disks.full_disk,
    "bit-rot": disks.bit_rot,
    "add-index": _add_index,
    "drop-index": _drop_index,
    "transfer": _transfer,
    "blink": _blink,
    "move": _move,
}
