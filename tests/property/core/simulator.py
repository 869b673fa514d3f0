"""A small, ruthless world for one replication group: every schedule comes from a seed, every step is checked.

It drives :class:`Group` and :class:`Liveness` as a driver would, over a network that loses, delays and reorders,
disks that forget what was not synced (keeping an arbitrary prefix), and clocks that drift apart as far as the options
allow; nodes crash, lose their disks and come back as learners, members move. :class:`Checker` judges with the eyes of
a god: true time, and what is on the disks in fact.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from cluster.core.ballot import Ballot
from cluster.core.config import AddLearner, ChangeVoters, Configuration, Member, RemoveLearner
from cluster.core.effects import Effects, Send
from cluster.core.failures import Busy, ChangeRefused, NotLeader
from cluster.core.group import Group, GroupOptions, HardState, Role
from cluster.core.lease import LeaseOptions, Liveness
from cluster.core.messages import Accepted, Entry, Gone, Heartbeat, Installed, Message, Record, Snapshot, gone_for

ZONES = ("a", "b", "c", "a", "b", "c")
OPTIONS = GroupOptions(message_bytes=2000, window_bytes=8000, uncommitted_bytes=20000)
LEASES = LeaseOptions(lease_s=1.5, renewal_s=0.4, drift=0.05)


class Violation(AssertionError):
    """What must never happen."""


class Stuck(Violation):
    """What must happen once all is well again did not."""


@dataclass(frozen=True)
class Weather:
    """How hostile a run is; rates per second of the whole cluster, probabilities per message."""

    nodes: int = 5
    voters: int = 3
    seconds: float = 20.0
    loss: float = 0.02
    delay_s: float = 0.01
    fsync_s: float = 0.02
    crashes: float = 0.15
    partitions: float = 0.2
    disk_losses: float = 0.05
    moves: float = 0.1
    stalls: float = 0.1
    nudges: float = 0.1
    proposals: float = 15.0


class Checker:
    """Invariants over everything that has happened."""

    def __init__(self) -> None:
        self.chosen: dict[int, Entry] = {}
        self.values: dict[tuple[int, Ballot], tuple[Entry, Ballot]] = {}
        self.durable_at: dict[tuple[int, Ballot], set[int]] = {}
        self.decided_slot = 0
        self.acked = 0
        self.elections: set[Ballot] = set()

    def accepted(self, entry: Entry, before: Ballot) -> None:
        """(slot, ballot) names one entry and one history."""
        known = self.values.setdefault((entry.slot, entry.ballot), (entry, before))
        if known != (entry, before):
            raise Violation(f"two histories for {entry.slot} at {entry.ballot}: {known} and {(entry, before)}")

    def durable(self, replica: int, entry: Entry) -> None:
        self.durable_at.setdefault((entry.slot, entry.ballot), set()).add(replica)

    def applied(self, replica: Replica, entry: Entry) -> None:
        first = self.chosen.setdefault(entry.slot, entry)
        if first != entry:
            raise Violation(f"slot {entry.slot}: {first} was chosen, and now {entry} at {replica.member}")
        if entry.payload.startswith(b"v"):
            round_, owner = entry.payload.split(b"|")[1].split(b".")
            before = self.chosen.get(entry.slot - 1)
            if before is not None and before.ballot != (int(round_), int(owner)):
                raise Violation(f"slot {entry.slot} was computed on {round_}.{owner}, but follows {before}")

    def decided(self, replica: Replica, entries: list[Entry]) -> None:
        """A leader says that these are decided: a quorum of its configuration must have the last one on disk."""
        last = entries[-1]
        group = replica.group
        if group.role is not Role.LEADER or last.ballot != group.ballot:
            return
        have = self.durable_at.get((last.slot, last.ballot), set())
        for voters in group.config.voter_sets():
            zones = {m.zone for m in voters if m.replica in have}
            if sum(m.replica in have for m in voters) <= len(voters) // 2:
                raise Violation(f"slot {last.slot} decided with {sorted(have)} of {voters}")
            if len({m.zone for m in voters}) > 1 and len(zones) < 2:
                raise Violation(f"slot {last.slot} decided in one zone: {sorted(have)}")
        self.acked += sum(entry.payload.startswith(b"v") for entry in entries)
        self.decided_slot = max(self.decided_slot, last.slot)

    def leases(self, world: World) -> None:
        holders = []
        for node in world.nodes.values():
            replica = node.replica
            if replica is None or not node.up or replica.group._state.leading is None:
                continue
            now = node.now()
            if replica.group.lease_until(now) > now:
                holders.append(replica)
                if replica.group.ready_to_serve and replica.group.commit < self.decided_slot:
                    at = f"{replica.group.commit} of {self.decided_slot}"
                    raise Violation(f"{replica.member} would serve reads at {at}")
        if len(holders) > 1:
            raise Violation(f"two leases at {world.now}: {[(r.member, r.group.ballot) for r in holders]}")


@dataclass
class Replica:
    """A group's member on a node: the machine, its disk, its state machine."""

    member: Member
    group: Group
    records: list[Record] = field(default_factory=list)
    durable: int = 0
    seqs: list[int] = field(default_factory=list)
    held: list[Send] = field(default_factory=list)
    syncing: bool = False
    state: list[Entry] = field(default_factory=list)
    checkpoint: int = 0
    wake_at: float | None = None
    wake_said: float | None = None
    snapshot: Snapshot | None = None
    ballots: dict[int, Ballot] = field(default_factory=dict)


class Node:
    def __init__(self, world: World, name: str, zone: str) -> None:
        self.world, self.name, self.zone = world, name, zone
        self.incarnation = 0
        self.up = False
        self.life = 0
        self.replica: Replica | None = None
        self.rate = 1 + (world.rng.random() - 0.5) * LEASES.drift * 0.95
        self.offset = world.rng.random() * 100
        self.stalled_until = 0.0
        self.liveness: Liveness

    def now(self) -> float:
        return self.world.now * self.rate + self.offset

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """On the node's behalf, and lost with its life."""
        life = self.life

        def run() -> None:
            if self.up and self.life == life:
                if self.world.now < self.stalled_until:
                    self.later(self.stalled_until - self.world.now, run)
                else:
                    action()

        self.world.at(self.world.now + max(0.0, seconds), run)

    def boot(self) -> None:
        self.up, self.life, self.incarnation = True, self.life + 1, self.incarnation + 1
        fresh = self.incarnation == 1
        self.liveness = Liveness(self.name, self.incarnation, LEASES, self.now(), fresh=fresh)
        self.liveness.set_peers(self.world.nodes)
        replica = self.replica
        if replica is not None:
            keep = replica.durable + self.world.rng.randrange(len(replica.records) - replica.durable + 1)
            replica.records = replica.records[:keep]
            assert keep, "a member's first record is durable before it is heard of"
            self.host(replica.member, HardState.replay(replica.records), replica)
        self.tick()

    def host(self, member: Member, hard: HardState, old: Replica | None = None) -> Replica:
        state = old.state[: old.checkpoint] if old else []
        group = Group(
            "g", member.replica, hard, self.liveness, OPTIONS, self.world.rng, self.now(),
            applied=len(state), snapshot=old.snapshot if old else None,
        )  # fmt: skip
        replica = Replica(member, group, state=state)
        if old is not None:
            replica.records, replica.durable = old.records, len(old.records)
            replica.checkpoint, replica.ballots, replica.snapshot = old.checkpoint, old.ballots, old.snapshot
            for record in replica.records:
                if isinstance(record, Accepted):
                    self.world.checker.durable(member.replica, record.entry)
        self.replica = replica
        self.carry_out()
        if old is None:
            replica.durable = len(replica.records)
        return replica

    def crash(self) -> None:
        self.up = False

    def tick(self) -> None:
        out = self.liveness.tick(self.now())
        self.heed(out)
        assert out.wake_at is not None
        self.later((out.wake_at - self.now()) / self.rate + 0.0005, self.tick)

    def heed(self, out: object) -> None:
        for peer, message in out.sends:  # type: ignore[attr-defined]
            self.world.deliver(self.name, peer, lambda node, m=message, me=self.name: node.hear(me, m), beat=True)
        if self.replica is not None:
            group, now = self.replica.group, self.now()
            for peer in out.lapsed:  # type: ignore[attr-defined]
                group.peer_lapsed(peer, now)
            for peer in out.regained:  # type: ignore[attr-defined]
                group.peer_regained(peer, now)
            for peer in out.changed:  # type: ignore[attr-defined]
                group.support_changed(peer, now)
            self.carry_out()

    def hear(self, peer: str, message: Heartbeat) -> None:
        self.heed(self.liveness.step(peer, message, self.now()))

    def receive(self, sender: Member, to: int, message: Message) -> None:
        if self.replica is None or self.replica.member.replica != to:
            if isinstance(message, Gone):
                return  # two that are gone have nothing to tell each other
            gone = gone_for(message)
            me = Member(to, self.name, self.zone, self.zone)
            self.world.deliver(self.name, sender.node, lambda node: node.receive(me, sender.replica, gone))
            return
        self.replica.group.step(sender.replica, message, self.now())
        if self.world.rng.random() < 0.7:
            self.carry_out()
        else:
            self.later(0.001, self.carry_out)

    def carry_out(self) -> None:
        replica = self.replica
        if replica is None:
            return
        expected = replica.group.has_effects
        effects = replica.group.take()
        if not expected and (effects != Effects(wake_at=effects.wake_at) or effects.wake_at != replica.wake_said):
            raise Violation(f"{replica.member} has no effects, it says, and hands over {effects}")
        replica.wake_said = effects.wake_at
        checker = self.world.checker
        for seq, record in effects.persist:
            self.note(replica, record)
            replica.records.append(record)
            replica.seqs.append(seq)
        if effects.persist and not replica.syncing:
            self.sync(replica)
        done = self.durable_seq(replica)
        for send in effects.sends:
            if send.after <= done:
                self.send(replica, send)
            else:
                replica.held.append(send)
        for entry in effects.committed:
            if entry.slot != len(replica.state) + 1:
                raise Violation(f"{replica.member} applies {entry.slot} after {len(replica.state)}")
            replica.state.append(entry)
            checker.applied(replica, entry)
        if effects.committed:
            checker.decided(replica, effects.committed)
        if replica.group.role is Role.LEADER:
            checker.elections.add(replica.group.ballot)
        for member in effects.needs_snapshot:
            self.world.snapshot(self, member)
        if effects.wake_at != replica.wake_at:
            replica.wake_at = effects.wake_at
            if effects.wake_at is not None:
                due = effects.wake_at
                self.later((due - self.now()) / self.rate + 0.0001, lambda: self.wake(replica, due))
        checker.leases(self.world)

    def wake(self, replica: Replica, due: float) -> None:
        if self.replica is replica and replica.wake_at == due:
            replica.wake_at = None
            replica.group.wake(self.now())
            self.carry_out()

    def note(self, replica: Replica, record: Record) -> None:
        """Check what goes to disk against what every other replica put there."""
        if isinstance(record, Accepted):
            entry = record.entry
            before = replica.ballots.get(entry.slot - 1)
            replica.ballots[entry.slot] = entry.ballot
            if before is not None:
                self.world.checker.accepted(entry, before)
        elif isinstance(record, Installed):
            replica.ballots[record.slot] = record.ballot

    def durable_seq(self, replica: Replica) -> int:
        lost = len(replica.records) - len(replica.seqs)
        return replica.seqs[replica.durable - lost - 1] if replica.durable > lost else 0

    def sync(self, replica: Replica) -> None:
        replica.syncing = True
        upto = len(replica.records)

        def synced() -> None:
            if self.replica is not replica:
                return
            for record in replica.records[replica.durable : upto]:
                if isinstance(record, Accepted):
                    self.world.checker.durable(replica.member.replica, record.entry)
            replica.durable, replica.syncing = upto, False
            done = self.durable_seq(replica)
            ready = [send for send in replica.held if send.after <= done]
            replica.held = [send for send in replica.held if send.after > done]
            for send in ready:
                self.send(replica, send)
            replica.group.persisted(done, self.now())
            if len(replica.records) > upto:
                self.sync(replica)
            self.carry_out()

        self.later(self.world.rng.random() * 2 * self.world.weather.fsync_s, synced)

    def send(self, replica: Replica, send: Send) -> None:
        me = replica.member
        self.world.deliver(self.name, send.to.node, lambda node: node.receive(me, send.to.replica, send.message))


class World:
    def __init__(self, seed: int, weather: Weather) -> None:
        self.rng = random.Random(seed)
        self.weather = weather
        self.now = 0.0
        self.heap: list[tuple[float, int, Callable[[], None]]] = []
        self.count = 0
        self.cut: set[tuple[str, str]] = set()
        self.cut_beats: set[tuple[str, str]] = set()
        self.healing = False
        self.checker = Checker()
        self.next_replica = weather.voters
        self.lost: set[int] = set()
        self.transfers: set[int] = set()
        self.together = self.rng.choice((1, 2))
        self.nodes: dict[str, Node] = {}
        for i in range(weather.nodes):
            self.nodes[f"n{i}"] = Node(self, f"n{i}", ZONES[i % len(ZONES)])
        members = tuple(Member(i + 1, f"n{i}", ZONES[i], ZONES[i]) for i in range(weather.voters))
        self.first = Configuration(members)
        for node in self.nodes.values():
            node.boot()
        for member in members:
            self.nodes[member.node].host(member, HardState.fresh(self.first))
        self.nodes["n0"].replica.group.campaign(self.nodes["n0"].now())  # type: ignore[union-attr]
        self.nodes["n0"].carry_out()

    def at(self, when: float, action: Callable[[], None]) -> None:
        self.count += 1
        heapq.heappush(self.heap, (when, self.count, action))

    def deliver(self, source: str, target: str, action: Callable[[Node], None], *, beat: bool = False) -> None:
        node = self.nodes.get(target)
        if node is None or (source, target) in (self.cut_beats if beat else self.cut):
            return
        loss = 0.0 if self.healing else self.weather.loss
        while self.rng.random() >= loss:
            delay = self.weather.delay_s * (0.1 + self.rng.random()) * (20 if self.rng.random() < 0.03 else 1)
            self.at(self.now + delay, lambda: self._arrive(node, action))
            loss = 0.98  # now and then, twice

    def _arrive(self, node: Node, action: Callable[[Node], None]) -> None:
        if node.up and self.now >= node.stalled_until:
            action(node)
        elif node.up:
            self.at(node.stalled_until, lambda: self._arrive(node, action))

    def run_until(self, end: float) -> None:
        while self.heap and self.heap[0][0] <= end:
            self.now, _, action = heapq.heappop(self.heap)
            action()
        self.now = end

    # --- what befalls the cluster -------------------------------------------------------------------------------------

    def storm(self) -> None:
        """Bad weather for the time given, then the healing, then a judgement of liveness."""
        weather = self.weather
        for rate, action in (
            (weather.crashes, self.crash), (weather.partitions, self.partition), (weather.disk_losses, self.lose_disk),
            (weather.moves, self.move), (weather.stalls, self.stall), (weather.proposals, self.propose),
            (weather.nudges, self.nudge), (2.0, self.doctor),
            (3.0, self.housekeeping),
        ):  # fmt: skip
            self.every(rate, action)
        self.run_until(weather.seconds)
        self.healing = True
        self.cut = self.cut_beats = set()
        for node in self.nodes.values():
            if not node.up:
                node.boot()
        self.run_until(weather.seconds + 15)
        self.judge()

    def every(self, rate: float, action: Callable[[], None]) -> None:
        if rate > 0:

            def again() -> None:
                action()
                self.at(self.now + self.rng.expovariate(rate), again)

            self.at(self.now + self.rng.expovariate(rate), again)

    def judge(self) -> None:
        leaders = [n.replica for n in self.nodes.values() if n.replica and n.replica.group.ready_to_serve]
        newest = [r for r in leaders if r.group.lease_until(self.nodes[r.member.node].now()) > 0]
        if len(newest) != 1:
            raise Stuck(f"after healing {len(newest)} leaders with a lease (of {len(leaders)})")
        leader = newest[0]
        slot, before = leader.group.commit, self.checker.acked
        self.run_until(self.now + 3)
        if self.checker.acked <= before:
            raise Stuck("nothing is decided after healing")
        for member in leader.group.config.voting():
            replica = self.nodes[member.node].replica
            if replica is None or replica.member != member or replica.group.commit < slot:
                raise Stuck(f"{member} does not follow after healing")

    def crash(self) -> None:
        node = self.rng.choice(list(self.nodes.values()))
        if self.healing or not node.up:
            return
        node.crash()
        outage = self.rng.choice((0.05, 0.5, 1.0, 4.0)) * (0.5 + self.rng.random())
        self.at(self.now + outage, lambda: self.revive(node))
        if self.rng.random() < 0.15:
            for other in self.nodes.values():
                if other.up:
                    other.crash()
                    self.at(self.now + self.rng.random() * 2, lambda other=other: self.revive(other))  # type: ignore[misc]

    def revive(self, node: Node) -> None:
        if not node.up:
            node.boot()

    def stall(self) -> None:
        """A node stops for a while and then goes on as if nothing had happened (a pause of the process or the
        machine)."""
        if not self.healing:
            self.rng.choice(list(self.nodes.values())).stalled_until = self.now + self.rng.random() * 3

    def partition(self) -> None:
        self.cut = self.cut_beats = set()
        if self.healing or self.rng.random() < 0.3:
            return
        names = list(self.nodes)
        one = self.rng.choice(names)
        leader = next((n.name for n in self.nodes.values() if n.replica and n.replica.group.role is Role.LEADER), one)
        kind = self.rng.randrange(5)
        if kind == 0:
            self.cut = {p for n in names for p in ((one, n), (n, one))}
        elif kind == 1:
            self.cut = {(leader, n) for n in names}
        elif kind == 2:
            self.cut = {(n, leader) for n in names}
        elif kind == 3:
            self.cut = {p for n in names if n != one for p in ((leader, one), (one, leader))}
        else:
            half = set(self.rng.sample(names, len(names) // 2))
            self.cut = {(x, y) for x in names for y in names if (x in half) != (y in half)}
        gray = self.rng.randrange(6)  # now and then only some kinds of message pass
        if gray != 1:
            self.cut_beats = self.cut
        if gray == 2:
            self.cut = set()

    def nudge(self) -> None:
        """Somebody tries to take over without any doubt about the leader."""
        node = self.rng.choice(list(self.nodes.values()))
        if node.up and node.replica is not None and not self.healing and self.now >= node.stalled_until:
            node.replica.group.campaign(node.now())
            node.carry_out()

    def leader_node(self) -> Node | None:
        nodes = [n for n in self.nodes.values() if n.up and n.replica and n.replica.group.role is Role.LEADER]
        return max(nodes, key=lambda n: n.replica.group.ballot, default=None)  # type: ignore[union-attr]

    def propose(self) -> None:
        for node in self.nodes.values():
            replica = node.replica
            if node.up and replica and replica.group.role is Role.LEADER and self.now >= node.stalled_until:
                last = replica.group.last_slot
                before = replica.group._state.log.ballot_at(last)
                self.count += 1
                try:
                    values = [b"v%d|%d.%d|" % (self.count, *before) + b"x" * self.rng.randrange(300)]
                    for extra in range(self.rng.randrange(3)):
                        values.append(b"v%d.%d|%d.%d|" % (self.count, extra, *replica.group.ballot))
                    replica.group.propose(values, node.now())
                except (Busy, NotLeader):
                    continue
                if self.rng.random() < 0.5:
                    node.carry_out()

    def lose_disk(self) -> None:
        """One at a time, and only while everybody else still has theirs: more would lose data in any system."""
        leader = self.leader_node()
        if self.healing or leader is None or leader.replica is None or self.weather.voters < 3:
            return
        config = leader.replica.group.config
        if self.lost or config.joint or not leader.replica.group.config_committed:
            return
        victim = self.rng.choice(config.voters)
        node = self.nodes[victim.node]
        zones = {m.zone for m in config.voters if m != victim}  # those left must be able to decide its replacement
        if self.hosted(victim) is None or len(zones) < 2:
            return
        node.crash()
        self.lost.add(victim.replica)
        node.replica = None
        self.at(self.now + self.rng.random() * 3, lambda: self.revive(node))

    def move(self) -> None:
        """Move a voter elsewhere, or hand leadership over."""
        node = self.leader_node()
        if self.healing or node is None or node.replica is None or self.now < node.stalled_until:
            return
        node.carry_out()
        if self.rng.random() < 0.4:
            node.replica.group.relinquish(node.now())
            node.carry_out()
        elif not self.lost:
            self.replace(node, self.rng.choice(node.replica.group.config.voters))

    def replace(self, leader: Node, old: Member) -> None:
        """Make a learner on a node without one of the group's members; :meth:`doctor` sees it through."""
        assert leader.replica is not None
        config = leader.replica.group.config
        if len(config.learners) >= self.together:
            return
        used = {m.node for m in config.members()} - {old.node}
        free = [n for n in self.nodes.values() if n.up and n.name not in used and n.replica is None]
        if not free:
            return
        node = self.rng.choice(free)
        self.next_replica += 1
        member = Member(self.next_replica, node.name, node.zone, node.zone)
        try:
            leader.replica.group.propose_config(AddLearner(member), leader.now())
        except (ChangeRefused, NotLeader):
            return
        node.host(member, HardState.fresh(leader.replica.group.config))
        leader.carry_out()

    def doctor(self) -> None:
        """Placement: replace lost members, promote learners that have caught up, destroy what was removed."""
        for node in self.nodes.values():
            if node.up and node.replica is not None and node.replica.group.removed:
                node.replica = None
        node = self.leader_node()
        if node is None or node.replica is None or self.now < node.stalled_until:
            return
        node.carry_out()
        group = node.replica.group
        config = group.config
        if not group.ready_to_serve or not group.config_committed or config.joint:
            return
        ids = {m.replica for m in config.members()}
        self.lost &= ids
        for other in self.nodes.values():
            replica = other.replica
            outside = replica is not None and replica.member.replica not in ids and config.number > 0
            if outside and group.lease_until(node.now()) > node.now():
                other.replica = None
        lost = [m for m in config.voters if m.replica in self.lost]
        try:
            gone = [m.replica for m in config.learners if self.hosted(m) is None]
            if gone:
                group.propose_config(RemoveLearner(gone[0]), node.now())
            elif config.learners and (lost or len(config.learners) == self.together or self.rng.random() < 0.3):
                self.promote(node, group, lost)
            elif lost:
                self.replace(node, lost[0])
        except (ChangeRefused, NotLeader):
            return
        node.carry_out()

    def hosted(self, member: Member) -> Replica | None:
        replica = self.nodes[member.node].replica
        return replica if replica is not None and replica.member == member else None

    def promote(self, node: Node, group: Group, lost: list[Member]) -> None:
        """Swap every learner for a voter, at once, when all of them have caught up: first for those that must go."""
        config = group.config
        if all(group.acked(learner.replica) + 20 >= group.last_slot for learner in config.learners):
            homes = {learner.node for learner in config.learners}
            must = lost + [m for m in config.voters if m.node in homes and m not in lost]
            may = [m for m in config.voters if m not in must]
            self.rng.shuffle(may)
            remove = tuple(m.replica for m in (must + may)[: len(config.learners)])
            group.propose_config(ChangeVoters(tuple(m.replica for m in config.learners), remove), node.now())

    def housekeeping(self) -> None:
        """Checkpoints, and what they allow to be trimmed."""
        for node in self.nodes.values():
            replica = node.replica
            if node.up and replica is not None and self.rng.random() < 0.5:
                replica.checkpoint = len(replica.state)
                if self.rng.random() < 0.3:
                    replica.group.trim(replica.checkpoint - self.rng.randrange(10))
                    node.carry_out()
                    if self.rng.random() < 0.3:
                        self.new_log_file(replica)

    def new_log_file(self, replica: Replica) -> None:
        """What a driver does when a log file is full: hard state first, then what is not yet durable."""
        if replica.durable == len(replica.records) and not replica.syncing:
            replica.records = list(replica.group.hard_state())
            replica.durable, replica.seqs = len(replica.records), [self.durable_seq_of(replica)]

    @staticmethod
    def durable_seq_of(replica: Replica) -> int:
        return replica.group._state.durable_seq

    def snapshot(self, source: Node, member: Member) -> None:
        """Carry the state over; it takes a while, and may come too late."""
        if member.replica in self.transfers:
            return
        self.transfers.add(member.replica)
        assert source.replica is not None
        state = list(source.replica.state)
        slot, config, ballot = source.replica.group.snapshot_point(len(state))
        as_of = source.replica.group.ballot

        def arrive() -> None:
            self.transfers.discard(member.replica)
            node = self.nodes[member.node]
            replica = node.replica
            if not node.up or replica is None or replica.member != member:
                return
            if slot > replica.group.commit and replica.group.role is not Role.LEADER:
                replica.state, replica.checkpoint = list(state), slot
                replica.snapshot = Snapshot(slot, config, ballot, as_of)
                replica.group.snapshot_installed(slot, config, ballot, node.now(), as_of)
                node.carry_out()

        self.at(self.now + self.rng.random() * 0.5, arrive)


def run(seed: int, weather: Weather | None = None) -> World:
    """One run, its weather drawn from the seed unless given. Raises :class:`Violation`, or whatever the core raised."""
    if weather is None:
        rng = random.Random(seed * 7919)
        weather = Weather(
            nodes=rng.choice((4, 5, 6)), voters=rng.choice((3, 3, 3, 4, 1)), seconds=rng.choice((8.0, 15.0)),
            loss=rng.choice((0.0, 0.01, 0.1)), fsync_s=rng.choice((0.002, 0.02, 0.2)),
            delay_s=rng.choice((0.002, 0.02)),
            crashes=rng.choice((0.0, 0.2, 0.6)), partitions=rng.choice((0.0, 0.3, 1.0)),
            disk_losses=rng.choice((0.0, 0.1)), moves=rng.choice((0.0, 0.2, 0.5)), stalls=rng.choice((0.0, 0.3)),
            nudges=rng.choice((0.0, 0.2, 2.0)), proposals=rng.choice((5.0, 30.0)),
        )  # fmt: skip
    world = World(seed, weather)
    world.storm()
    return world
