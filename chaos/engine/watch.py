"""The controller's eye on the cluster: who answers, who leads, how many durable voters every group has.

Every storage and autoadmin node is asked for its ``status`` a few times a second, all at once, so that a node that is
dark costs its own timeout and nobody else's. Changes become events; the newest view is what the guard and the steady
state are judged by. The controller itself is on the host, where no partition reaches it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Container, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from chaos.targets import GroupView

if TYPE_CHECKING:
    from cluster.runtime.base import Cluster

POLL_S = 0.25
CALL_TIMEOUT_S = 0.7
MAP_EVERY_S = 2.0
WATCHED = ("storage", "autoadmin")
SYSTEM = "system"
VOTERS = 3

Emit = Callable[..., object]


class Calls(Protocol):
    """The part of :class:`cluster.control.Control` that is used here."""

    def call(self, node: str, method: str, params: Mapping[str, Any] | None = None, timeout_s: float = 2.0) -> Any: ...


@dataclass(frozen=True, slots=True)
class Group:
    """One replication group as its members see it."""

    view: GroupView
    full: bool
    """It has a leader, and as many durable voters as it should: each answers and has what the leader had committed."""
    commit: int
    why: str
    """What is missing where it is not full."""
    log_from_start: bool = False
    """Every voter's log still reaches back to the group's first entry, so that each could fill an image by itself."""


@dataclass(frozen=True, slots=True)
class View:
    """The cluster at one moment."""

    answering: frozenset[str]
    groups: tuple[Group, ...]

    @property
    def below(self) -> int:
        """Groups with fewer durable voters than they should have."""
        return sum(1 for group in self.groups if not group.full)

    @property
    def redundancy(self) -> float:
        """The share of groups that are full; 0 where there are none."""
        return 1 - self.below / len(self.groups) if self.groups else 0.0

    def group_views(self) -> list[GroupView]:
        """The groups as targets and the guard see them."""
        return [group.view for group in self.groups]


EMPTY = View(frozenset(), ())


class Memory:
    """What a round of answers is judged against: groups that exist, their tables, and the last known commits."""

    def __init__(self, voters: int = VOTERS) -> None:
        self.voters = voters
        self.tables: dict[str, str] = {}
        self.known: dict[str, GroupView] = {}
        self.committed: dict[str, int] = {}
        self.silent: set[str] = set()
        """Groups that nobody reported in the last round; only asked."""

    def forget_deleted(self, listed: Container[str]) -> None:
        """Let go of groups that nobody reports and that the control plane does not list: their table was deleted."""
        for name in [name for name in self.known if name in self.silent and name not in listed]:
            if self.tables.get(name) != SYSTEM:
                del self.known[name], self.committed[name]

    def digest(self, answers: Mapping[str, Mapping[str, Any]], roles: Mapping[str, str]) -> View:
        """The view that a round of ``status`` answers gives. Groups that nobody reports any more are not full."""
        reports: dict[str, list[tuple[str, Mapping[str, Any]]]] = {}
        for node in sorted(answers):
            for replica in answers[node].get("replicas", []):
                reports.setdefault(str(replica["group"]), []).append((node, replica))
                if roles.get(node) == "autoadmin":
                    self.tables[str(replica["group"])] = SYSTEM
        groups = [self.judge(name, reports.get(name, [])) for name in sorted(self.known.keys() | reports.keys())]
        self.silent = self.known.keys() - reports.keys()
        for group in groups:
            self.known[group.view.group] = group.view
            self.committed[group.view.group] = max(group.commit, self.committed.get(group.view.group, 0))
        return View(frozenset(answers), tuple(groups))

    def judge(self, name: str, reports: Iterable[tuple[str, Mapping[str, Any]]]) -> Group:
        """One group from what its members say."""
        said = sorted(reports, key=lambda item: as_ballot(item[1].get("ballot")), reverse=True)
        table = self.tables.get(name, "")
        leader = next((node for node, replica in said if replica.get("leader")), None)
        newest = next((r for n, r in said if n == leader), said[0][1] if said else None)
        if newest is None:
            before = self.known[name]
            view = GroupView(name, before.table or table, before.voters, None)
            return Group(view, False, 0, "no member answers")
        voters = tuple(sorted(str(voter) for voter in newest.get("voters", [])))
        commits = {node: int(replica.get("commit", 0)) for node, replica in said}
        view = GroupView(name, table, voters, leader)
        first = {node: int(replica.get("first", 0)) for node, replica in said}
        complete = bool(voters) and all(first.get(voter) == 1 for voter in voters)
        return Group(view, not (why := self.missing(name, view, commits)), max(commits.values()), why, complete)

    def missing(self, name: str, view: GroupView, commits: Mapping[str, int]) -> str:
        """Why a group is not full; empty where it is."""
        if view.leader is None:
            return "no leader"
        if len(view.voters) < self.voters:
            return f"{len(view.voters)} voters"
        silent = [voter for voter in view.voters if voter not in commits]
        if silent:
            return f"{', '.join(silent)} does not answer"
        # A voter is durable once it has what the group had committed by the round before this one.
        behind = [voter for voter in view.voters if commits[voter] < self.committed.get(name, 0)]
        return f"{', '.join(behind)} is behind" if behind else ""


def as_ballot(value: Any) -> tuple[int, ...]:
    """A ballot as something that sorts; an absent one is lowest."""
    return tuple(int(part) for part in value) if isinstance(value, list | tuple) else (int(value or 0),)


class Watcher:
    """Polls in a thread of its own until it is closed."""

    def __init__(self, cluster: Cluster, control: Calls, emit: Emit, every_s: float = POLL_S) -> None:
        self.cluster = cluster
        self.every_s = every_s
        self.control = control
        self.emit = emit
        self.roles = {node.name: node.role for node in cluster.nodes.values() if node.role in WATCHED}
        zones = len({node.az for node in cluster.nodes.values() if node.az})
        self.memory = Memory(min(VOTERS, max(1, zones)))
        self.view = EMPTY
        self._polls = 0
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._map_at = 0.0
        self._pool = ThreadPoolExecutor(len(self.roles) or 1, thread_name_prefix="status")
        self._thread = threading.Thread(target=self._run, name="watcher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop polling."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join(5.0)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self) -> None:
        while not self._closing.is_set():
            began = time.monotonic()
            self.poll()
            self._closing.wait(max(0.02, self.every_s - (time.monotonic() - began)))

    def poll(self) -> View:
        """One round; the new view."""
        said = zip(self.roles, self._pool.map(self._status, self.roles), strict=True)
        answers = {name: answer for name, answer in said if answer}
        memory = self.memory
        if time.monotonic() >= self._map_at and (memory.silent or any(n not in memory.tables for n in memory.known)):
            self._learn_tables()
        view = self.memory.digest(answers, self.roles)
        tell(self.emit, self.view, view)
        with self._changed:
            self.view = view
            self._polls += 1
            self._changed.notify_all()
        return view

    def _status(self, node: str) -> Mapping[str, Any] | None:
        try:
            answer = self.control.call(node, "status", {}, CALL_TIMEOUT_S)
        except Exception:
            # Unreachable, refusing or talking nonsense: for this round it is a node that does not answer.
            return None
        return answer if isinstance(answer, Mapping) else None

    def _learn_tables(self) -> None:
        """Which group belongs to which table, from whichever autoadmin node acts."""
        self._map_at = time.monotonic() + MAP_EVERY_S
        answer = placement(self.control, self.roles)
        listed = {
            str(partition["group"]): str(table["name"])
            for table in answer.get("tables", [])
            for partition in table.get("partitions", [])
        }
        self.memory.tables.update(listed)
        if "tables" in answer:
            self.memory.forget_deleted(listed)

    def wait_for(self, what: Callable[[View], bool], timeout_s: float, stop: Callable[[], bool]) -> bool:
        """Return True once a fresh view satisfies ``what``; False on the timeout or when ``stop`` says so."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            asked = self._polls
            while time.monotonic() < deadline and not stop():
                # A view that was being made when we asked may be older than what it is asked about.
                if self._polls > asked + 1 and what(self.view):
                    return True
                self._changed.wait(0.2)
        return False


def tell(emit: Emit, before: View, after: View) -> None:
    """Say what changed from one view to the next."""
    for name in sorted(before.answering ^ after.answering):
        emit("node", node=name, state="up" if name in after.answering else "down", detail="status")
    old = {group.view.group: group.view.leader for group in before.groups}
    for group in after.groups:
        view = group.view
        if old.get(view.group) != view.leader:
            emit("leader", group=view.group, node=view.leader, previous=old.get(view.group))
    if (before.below, len(before.groups)) != (after.below, len(after.groups)):
        short = {group.view.group: group.why for group in after.groups if not group.full}
        emit(
            "redundancy", full=after.below == 0, groups=len(after.groups), below=after.below,
            short=dict(list(short.items())[:8]),
        )  # fmt: skip


def placement(control: Calls, roles: Mapping[str, str]) -> Mapping[str, Any]:
    """The placement, from the autoadmin node that acts; empty where none does at the moment."""
    for node in sorted(name for name, role in roles.items() if role == "autoadmin"):
        try:
            answer = control.call(node, "map", {}, CALL_TIMEOUT_S)
        except Exception:
            continue
        if isinstance(answer, Mapping):
            return answer
    return {}
