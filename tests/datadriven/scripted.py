"""A replication group driven by hand, for scripts that a person reads from top to bottom.

A script is a list of cases, each a command, a line of dashes and what it printed::

    deliver 1>2
    ----
    2 <- 1 Prepare 1.1 from=1 end=0.0/0

Clocks stand still but for ``time``; nothing is durable before ``persist``; nothing arrives before ``deliver``. Leases
between nodes are set by hand. Commands:

    group 1a 2b 3c [4a?]      replicas and their zones; with a question mark a learner
    campaign N | propose N x y | relinquish N [to] | wake N
    persist [N]               make durable what N (everybody) wrote
    deliver [N>M] | drop [N>M]    one round of what is under way now
    stabilize                 persist and deliver until nothing is left
    time S                    let S seconds pass, waking whoever is due
    support N>M epoch | lapse N>M    N's node begins, ends to support M's
    add N 4a | voters N +4 -1 | restart N [quiet] | down N | status
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from cluster.core.ballot import NO_BALLOT, Ballot
from cluster.core.config import AddLearner, ChangeVoters, Configuration, Member
from cluster.core.failures import Busy, ChangeRefused, NotLeader
from cluster.core.group import Group, GroupOptions, HardState
from cluster.core.lease import Granted
from cluster.core.messages import Entry, Message, Record

KINDS = ("noop", "data", "config")


@dataclass
class Leases:
    """Node leases by decree; a :class:`~cluster.core.lease.LeaseView`."""

    node: str
    incarnation: int = 1
    quiet_until: float = 0.0
    gives: dict[str, int] = field(default_factory=dict)
    has: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Peer: epoch and incarnation in which it supports this node, for now; never promised ahead."""

    def supporting(self, peer: str, epoch: int, now: float) -> bool:
        return self.gives.get(peer) == epoch

    def support_epoch(self, peer: str, now: float) -> int:
        return self.gives.get(peer, 0)

    def granted(self, peer: str, now: float) -> Granted | None:
        return Granted(*self.has[peer], now + 0.005) if peer in self.has else None


@dataclass
class Host:
    member: Member
    leases: Leases
    group: Group
    records: list[Record] = field(default_factory=list)
    durable: int = 0
    earlier: int = 0
    """Records of earlier lives; sequence numbers count from there."""
    held: list[tuple[int, int, Message]] = field(default_factory=list)
    wake_at: float | None = None
    seen: str = ""
    up: bool = True


class Script:
    def __init__(self, options: GroupOptions | None = None) -> None:
        self.options = options or GroupOptions()
        self.hosts: dict[int, Host] = {}
        self.wire: list[tuple[int, int, Message]] = []
        self.now = 10.0
        self.out: list[str] = []

    def run(self, line: str) -> str:
        """Carry out one command; what it printed."""
        self.out = []
        words = line.split()
        command: Callable[..., None] = getattr(self, "do_" + words[0])
        try:
            command(*words[1:])
        except (NotLeader, Busy, ChangeRefused) as error:
            self.out.append(f"{type(error).__name__}: {error}")
        return "\n".join(self.out) or "ok"

    # --- commands -----------------------------------------------------------------------------------------------------

    def do_group(self, *words: str) -> None:
        members = {int(w[0]): Member(int(w[0]), f"n{w[0]}", w[1], w[1] + "1") for w in words}
        learners = tuple(members[int(w[0])] for w in words if w.endswith("?"))
        config = Configuration(tuple(m for m in members.values() if m not in learners), learners=learners)
        for member in members.values():
            self._host(member, HardState.fresh(config), Leases(member.node))
        for one in self.hosts.values():
            for other in self.hosts.values():
                if one is not other:
                    self._support(one, other, 1)
        self._settle()
        for host in self.hosts.values():
            host.durable = len(host.records)
            host.group.persisted(host.durable, self.now)

    def do_campaign(self, name: str) -> None:
        self._on(name, lambda host: host.group.campaign(self.now))

    def do_propose(self, name: str, *payloads: str) -> None:
        self._on(name, lambda host: host.group.propose([p.encode() for p in payloads], self.now))

    def do_relinquish(self, name: str, to: str = "") -> None:
        self._on(name, lambda host: host.group.relinquish(self.now, int(to) if to else None))

    def do_add(self, name: str, who: str) -> None:
        member = Member(int(who[0]), f"n{who[0]}", who[1], who[1] + "1")

        def add(host: Host) -> None:
            host.group.propose_config(AddLearner(member), self.now)
            new = self._host(member, HardState.fresh(host.group.config), Leases(member.node))
            for other in self.hosts.values():
                if other is not new:
                    self._support(new, other, 1)
                    self._support(other, new, 1)

        self._on(name, add)

    def do_voters(self, name: str, *changes: str) -> None:
        add = tuple(int(c[1:]) for c in changes if c[0] == "+")
        remove = tuple(int(c[1:]) for c in changes if c[0] == "-")
        self._on(name, lambda host: host.group.propose_config(ChangeVoters(add, remove), self.now))

    def do_persist(self, name: str = "") -> None:
        for host in [self.hosts[int(name)]] if name else list(self.hosts.values()):
            self._persist(host)
        self._settle()

    def do_deliver(self, link: str = "") -> None:
        now, self.wire = self._split(link)
        for sender, to, message in now:
            host = self.hosts[to]
            if host.up:
                self.out.append(f"{to} <- {sender} {render(message)}")
                host.group.step(sender, message, self.now)
                self._settle()

    def do_drop(self, link: str = "") -> None:
        now, self.wire = self._split(link)
        self.out.extend(f"lost {sender}>{to} {render(message)}" for sender, to, message in now)

    def do_stabilize(self) -> None:
        for _ in range(50):
            pending = any(h.durable < len(h.records) for h in self.hosts.values() if h.up)
            if not self.wire and not pending:
                return
            self.do_persist()
            self.do_deliver()
        self.out.append("never settles")

    def do_time(self, seconds: str) -> None:
        end = self.now + float(seconds)
        while True:
            due = [h for h in self.hosts.values() if h.up and h.wake_at is not None and h.wake_at <= end]
            if not due:
                break
            host = min(due, key=lambda h: (h.wake_at, h.member))
            self.now = max(self.now, host.wake_at or 0.0)
            host.group.wake(self.now)
            self._settle()
        self.now = end

    def do_support(self, link: str, epoch: str) -> None:
        one, other = self._ends(link)
        self._support(one, other, int(epoch))
        one.group.peer_regained(other.member.node, self.now)
        other.group.support_changed(one.member.node, self.now)
        self._settle()

    def do_lapse(self, link: str) -> None:
        self.now += 0.01  # as long as a lease is promised ahead here
        one, other = self._ends(link)
        one.leases.gives.pop(other.member.node, None)
        other.leases.has.pop(one.member.node, None)
        one.group.peer_lapsed(other.member.node, self.now)
        other.group.support_changed(one.member.node, self.now)
        self._settle()

    def do_down(self, name: str) -> None:
        self.hosts[int(name)].up = False

    def do_restart(self, name: str, quiet: str = "") -> None:
        """What was not durable is lost; every node stops supporting this one's old life and supports the new one."""
        old = self.hosts[int(name)]
        until = self.now + 1.5 if quiet else self.now
        leases = Leases(old.member.node, old.leases.incarnation + 1, until, old.leases.gives)
        records = old.records[: old.durable]
        host = self._host(old.member, HardState.replay(records), leases)
        host.records, host.durable, host.earlier = records, len(records), len(records)
        self._settle()

    def do_status(self) -> None:
        for replica, host in sorted(self.hosts.items()):
            group = host.group
            lease = " lease" if group.lease_until(self.now) > self.now else ""
            voters = ",".join(str(m.replica) for m in group.config.voters)
            incoming = "&" + ",".join(str(m.replica) for m in group.config.incoming) if group.config.joint else ""
            ends = f"commit={group.commit} last={group.last_slot} voters={voters}{incoming}"
            down = "" if host.up else " down"
            self.out.append(f"{replica} {group.role.value} {group.ballot} {ends}{lease}{down}")

    # --- machinery ----------------------------------------------------------------------------------------------------

    def _host(self, member: Member, hard: HardState, leases: Leases) -> Host:
        rng = random.Random(member.replica)
        group = Group("g", member.replica, hard, leases, self.options, rng, self.now)
        host = self.hosts[member.replica] = Host(member, leases, group)
        return host

    def _support(self, one: Host, other: Host, epoch: int) -> None:
        one.leases.gives[other.member.node] = epoch
        other.leases.has[one.member.node] = (epoch, one.leases.incarnation)

    def _on(self, name: str, action: Callable[[Host], object]) -> None:
        action(self.hosts[int(name)])
        self._settle()

    def _ends(self, link: str) -> tuple[Host, Host]:
        one, other = link.split(">")
        return self.hosts[int(one)], self.hosts[int(other)]

    def _split(self, link: str) -> tuple[list[tuple[int, int, Message]], list[tuple[int, int, Message]]]:
        if not link:
            return self.wire, []
        one, other = (int(end) if end != "*" else 0 for end in link.split(">"))
        chosen = [w for w in self.wire if one in (0, w[0]) and other in (0, w[1])]
        return chosen, [w for w in self.wire if w not in chosen]

    def _persist(self, host: Host) -> None:
        if host.up and host.durable < len(host.records):
            host.durable = len(host.records)
            self.wire.extend((host.member.replica, to, message) for _, to, message in host.held)
            host.held.clear()
            host.group.persisted(host.durable - host.earlier, self.now)

    def _settle(self) -> None:
        """Take everybody's effects, and tell what they are."""
        for replica, host in list(self.hosts.items()):
            if not host.up:
                continue
            effects = host.group.take()
            for _, record in effects.persist:
                host.records.append(record)
                self.out.append(f"{replica} writes {render(record)}")
            for send in effects.sends:
                if send.after <= host.durable - host.earlier:
                    self.wire.append((replica, send.to.replica, send.message))
                else:
                    host.held.append((send.after, send.to.replica, send.message))
            host.wake_at = effects.wake_at
            if effects.committed:
                self.out.append(f"{replica} applies {' '.join(render(entry) for entry in effects.committed)}")
            seen = f"{replica} is {host.group.role.value}"
            if seen != host.seen:
                self.out.append(seen)
                host.seen = seen


def render(what: object) -> str:
    """A message, record or entry on one line, without what is plain from the context."""
    if isinstance(what, Entry):
        text = what.payload.decode() if what.kind == 1 else KINDS[what.kind]
        return f"{what.slot}@{what.ballot}:{text}"
    assert isinstance(what, tuple)
    parts = [type(what).__name__]
    for name, value in zip(what._fields, what, strict=True):  # type: ignore[attr-defined]
        if isinstance(value, Ballot):
            parts.append(f"{name}={value}" if value != NO_BALLOT else f"{name}=-")
        elif isinstance(value, Entry):
            parts.append(render(value))
        elif isinstance(value, tuple) and name == "entries":
            parts.extend(render(entry) for entry in value)
        elif name not in ("node", "config", "wait_s"):
            parts.append(f"{name}={value}")
    return " ".join(parts)


def run_file(text: str) -> str:
    """The script with its outputs as they are now."""
    script, out = Script(), []
    for block in text.strip().split("\n\n"):
        lines = block.split("\n")
        comments = [line for line in lines if line.startswith("#")]
        body = [line for line in lines if not line.startswith("#")]
        if not body:
            out.append(block)
            continue
        out.append("\n".join([*comments, body[0], "----", script.run(body[0])]))
    return "\n\n".join(out) + "\n"
