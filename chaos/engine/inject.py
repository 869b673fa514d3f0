"""Carrying out the method: every action in a thread of its own, on time, journalled before it touches anything.

A thread is asleep most of its life. Injections take turns, so that each is held against what the others have already
broken; healing does not, because booting a zone takes seconds and must not delay the next action.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from chaos.engine.corruption import Ledger
from chaos.engine.stop import StopRequest
from chaos.errors import InputError, PlatformError
from chaos.faults import fault_of
from chaos.faults.base import Changed, Effect, Spec, node_refs
from chaos.faults.bitrot import hurt
from chaos.faults.damage import Damage, damage_of
from chaos.guard import ALL, NOTHING, BeyondBudget, Disturbance, assess, enforce
from chaos.healing import Healed, heal_entry
from chaos.journal import Entry, Journal, boot_s, host_boot_id
from chaos.plan import Plan, Planned, at_once, disturbance, dropped_pairs, resolve_late
from chaos.playbook.model import PartitionAction, Playbook
from chaos.targets import GroupView, NodeRef

if TYPE_CHECKING:
    from chaos.engine.watch import View, Watcher
    from cluster.runtime.base import Cluster

BUDGET_POLL_S = 0.4
ATTEMPTS_MAX = 4
BY_HAND = "corruption.jsonl"
"""The ledger of damage done by hand, in the cluster's state directory; a run has its own in its run directory."""

Emit = Callable[..., object]
Ask = Callable[[str, float], str | None]
"""``ask(prompt, timeout_s)``: what a person said, or None where nobody did."""


class Method:
    """The actions of one run and the faults that are in."""

    def __init__(
        self,
        cluster: Cluster,
        playbook: Playbook,
        plan: Plan,
        watcher: Watcher,
        emit: Emit,
        stop: StopRequest,
        ask: Ask | None,
        ledger: Ledger | None = None,
    ) -> None:
        self.cluster = cluster
        self.playbook = playbook
        self.plan = plan
        self.watcher = watcher
        self.emit = emit
        self.stop = stop
        self.ask = ask
        self.ledger = ledger or Ledger(cluster.state_dir / BY_HAND, 0.0, emit)
        self.journal = Journal(cluster.state_dir)
        self.nodes = node_refs(cluster)
        self.active: dict[int, tuple[Entry, Disturbance]] = {}
        self.finished: set[int] = set()
        """Numbers of the actions that are over."""
        self.resolved: dict[str, NodeRef] = {}
        self._turn = threading.Lock()
        self._renewing = threading.Event()
        self._renewer = threading.Thread(target=self._renew_leases, name="leases", daemon=True)

    def preflight(self) -> None:
        """Ask every fault for its mechanism, and hold what is known of the whole schedule against the budget.

        Raises errors with a clear text; nothing has been touched by then. What is decided late (leaders) is held
        against the budget when it is injected, as everything is once more.
        """
        for action in self.plan.actions:
            if action.kind != "human":
                fault_of(action.kind).preflight(self.cluster, Spec(action.name, action.targets, action.options))
        for action, total in at_once(self.plan, self.playbook, self.nodes):
            if action.kind != "human":
                self._guard(action, total)

    def play(self) -> None:
        """Carry out all actions; return when all that were in are healed, or when the run was asked to end.

        After a request to stop, faults that are in are left to :meth:`heal_rest`.
        """
        self._renewer.start()
        began = boot_s()
        threads = [
            threading.Thread(target=self._guarded, args=(action, began), name=f"action-{action.number}", daemon=True)
            for action in self.plan.actions
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.stop.check()

    def heal_rest(self) -> list[Healed]:
        """Undo whatever is still in, last in, first out."""
        self._renewing.set()
        return [self._heal(entry) for entry in reversed(self.journal.entries())]

    def _guarded(self, action: Planned, began: float) -> None:
        try:
            self._carry_out(action, began)
        except InputError as error:
            # The guard, or a target set that means nobody now: the plan cannot be followed, and nothing is broken.
            self._event(action, "refused", detail=str(error))
            self.stop.request("aborted", str(error))
        except Exception as error:
            self._event(action, "failed", detail=f"{type(error).__name__}: {error}")
            self.stop.request("error", f"'{action.name}' could not be carried out: {error}")

    def _carry_out(self, action: Planned, began: float) -> None:
        if self.stop.wait(began + action.start_s - boot_s()):
            return
        if action.kind == "human":
            self._ask_person(action)
            return
        patience_s = float(getattr(self.playbook.method[action.number], "patience", 0.0))
        injected = self._when_allowed(action, began + action.start_s + patience_s, patient=patience_s > 0)
        if injected is None:
            return
        entry, spec = injected
        # One that had to wait for its turn lasts as long as it was meant to.
        end = boot_s() + action.end_s - action.start_s if patience_s > 0 else began + action.end_s
        effect = fault_of(entry.kind).verify(self.cluster, entry, spec)
        self._event(action, effect.state, targets=entry.targets, detail=effect.detail)
        self.stop.wait(end - boot_s())
        if not self.stop.requested:
            self._heal(entry, action)

    def _when_allowed(self, action: Planned, deadline: float, *, patient: bool) -> tuple[Entry, Spec] | None:
        """Inject; a patient action waits while it would be beyond the budget. At the deadline a power-off is left out
        (a job that cuts at random leaves out what it may not), anything else is refused."""
        while True:
            with self._turn:
                if self.stop.requested:
                    return None
                try:
                    why = not_alone(
                        action, self.plan, self.playbook, self.finished, bool(self.active), self.watcher.view
                    )
                    if why:
                        raise BeyondBudget(f"'{action.name}' waited in vain: {why}")
                    return self.inject_one(action, f"f{action.number}")
                except BeyondBudget as error:
                    if not patient:
                        raise
                    if boot_s() >= deadline:
                        if action.kind != "power-off":
                            raise
                        self._event(action, "skipped", detail=str(error))
                        return None
            self.stop.wait(BUDGET_POLL_S)

    def free_id(self) -> str:
        """An id that no fault in the journal has, for one that is injected by hand."""
        taken = {entry.id for entry in self.journal.entries()}
        return next(name for n in range(len(taken) + 1) if (name := f"h{n}") not in taken)

    def inject_one(self, planned: Planned, entry_id: str) -> tuple[Entry, Spec]:
        """Resolve, guard, journal, inject. One at a time: each is held against what the others have broken."""
        view = self.watcher.view
        action = resolve_late(planned, self.playbook, self.nodes, self.plan.seed, view.group_views())
        fault = fault_of(action.kind)
        for attempt in range(ATTEMPTS_MAX):
            spec = self._spec(action, attempt)
            undo = fault.undo(self.cluster, entry_id, spec)
            rot = rotten(undo)
            harm = disturbance(action, self.playbook, self.nodes, self.plan.seed)
            harm = harm.and_also(harm_of(rot, action.options, view))
            total = harm.and_also(self.ledger.standing())
            for _, other in self.active.values():
                total = total.and_also(other)
            self._guard(action, total)
            entry = Entry(
                id=entry_id,
                cluster=self.cluster.id,
                runtime=self.cluster.kind,
                kind=action.kind,
                name=action.name,
                targets=action.targets,
                undo=undo,
                lease_s=self.playbook.safety.lease,
                expires_boot_s=boot_s() + self.playbook.safety.lease,
                boot_id=host_boot_id(),
                created_wall_s=time.time(),
            )
            self.journal.write(entry)
            self.active[action.number] = (entry, harm)
            if rot:
                self.ledger.planned(action.name, action.kind, rot, boot_s())
            self._event(action, "injecting")
            try:
                detail = fault.inject(self.cluster, entry, spec)
            except Changed:
                # Nothing was done: what it was meant for has moved on since it was looked at.
                self.journal.remove(entry_id)
                self.active.pop(action.number, None)
                self.ledger.abandoned(action.name)
                continue
            self._event(action, "injected", detail=detail, no_path=tuple(undo.get("canaries", ())))
            if rot:
                self.ledger.injected(action.name)
            return entry, spec
        raise PlatformError(f"'{action.name}': its place was rewritten {ATTEMPTS_MAX} times while it was looked at")

    def _spec(self, action: Planned, attempt: int) -> Spec:
        written = self.playbook.method[action.number]
        pairs = (
            dropped_pairs(action, written, self.nodes, self.plan.seed)
            if isinstance(written, PartitionAction)
            else frozenset()
        )
        groups = tuple(self.watcher.view.group_views())
        seed = f"{self.plan.seed}/{action.kind}/{action.number}/{attempt}"
        return Spec(action.name, action.targets, action.options, pairs, seed, groups, hurt_groups(self.ledger, groups))

    def _guard(self, action: Planned, total: Disturbance) -> None:
        """Hold what would be broken, with what already is, against the live membership."""
        view = self.watcher.view
        by_name: Mapping[str, NodeRef] = {node.name: node for node in self.nodes}
        silent = frozenset(self.watcher.roles) - view.answering
        impact = assess(total.and_also(NOTHING._replace(down=silent)), view.group_views(), by_name)
        overridden = enforce(
            f"'{action.name}'", impact, self.playbook.safety.budget, unsafe=self.playbook.safety.unsafe
        )
        lost = f"{len(impact.quorum_lost)} of {len(view.groups)} groups lose their write quorum"
        self.emit("note", text=f"'{action.name}' disturbs zones {', '.join(impact.zones) or 'none'}; {lost}")
        for reason in overridden:
            self.emit("note", text=f"'{action.name}': budget overridden by safety.unsafe: {reason}")

    def _heal(self, entry: Entry, action: Planned | None = None) -> Healed:
        number = int(entry.id.removeprefix("f"))
        action = action or next(a for a in self.plan.actions if a.number == number)
        rot = bool(rotten(entry.undo))
        if not rot:  # else the ledger says when the database has healed it
            self._event(action, "healing", targets=entry.targets)
        healed = heal_entry(self.cluster, self.journal, entry)
        self.active.pop(number, None)
        self.finished.add(number)
        if healed.error is not None:
            self._event(action, "failed", targets=entry.targets, detail=f"could not be undone: {healed.error}")
            self.stop.request("error", f"'{entry.name}' could not be undone: {healed.error}")
            return healed
        if not rot:
            self._event(action, "healed", targets=entry.targets)
        if healed.effect is not None:
            self._late_effect(action, entry, healed.effect)
        return healed

    def _late_effect(self, action: Planned, entry: Entry, effect: Effect) -> None:
        """What only the heal could show: whether unsynced data was really gone."""
        self._event(action, effect.state, targets=entry.targets, detail=effect.detail)

    def _renew_leases(self) -> None:
        """While the controller lives and a fault is meant to last, its lease is renewed three times over."""
        while not self._renewing.wait(self.playbook.safety.lease / 3):
            for number, (entry, _) in list(self.active.items()):
                try:
                    with self.journal.lock(entry.id):
                        if not self.journal.path(entry.id).exists() or number not in self.active:
                            continue
                        renewed = self.journal.renew(entry, boot_s())
                        fault_of(entry.kind).renew(self.cluster, renewed)
                except Exception as error:
                    self.emit("note", text=f"the lease of '{entry.name}' could not be renewed: {error}")

    def _ask_person(self, action: Planned) -> None:
        prompt, timeout_s = str(action.options["prompt"]), float(action.options["timeout_s"])
        if self.ask is None:
            self.emit("note", text=f"nobody was asked: {prompt}")
            return
        self.emit("note", text=f"a person is asked: {prompt}")
        answer = self.ask(prompt, timeout_s)
        self.emit("note", text=f"answer: {answer if answer is not None else 'none in time'}")
        if answer is not None and answer.strip().lower() in {"n", "no", "stop", "abort"}:
            self.stop.request("aborted", f"a person answered '{answer.strip()}' to: {prompt}")

    def _event(
        self,
        action: Planned,
        state: str,
        *,
        targets: tuple[str, ...] = (),
        detail: str = "",
        no_path: tuple[str, ...] = (),
    ) -> None:
        named = list(targets or action.targets)
        more = {"no_path": list(no_path)} if no_path else {}
        self.emit("fault", name=action.name, fault_kind=action.kind, targets=named, state=state, detail=detail, **more)


def rotten(undo: dict[str, Any]) -> list[Damage]:
    """The damage that a journal entry speaks of; empty for faults that damage nothing."""
    return [damage_of(value) for value in undo.get("damage", [])]


def not_alone(action: Planned, plan: Plan, playbook: Playbook, finished: set[int], others_in: bool, view: View) -> str:
    """Why an action that wants to be alone may not begin yet; empty where it may, or does not mind."""

    def alone(number: int) -> bool:
        return bool(getattr(playbook.method[number], "alone", False))

    if not alone(action.number):
        return ""
    if any(a.number < action.number and alone(a.number) and a.number not in finished for a in plan.actions):
        return "one before it is not over"
    return "another fault is in" if others_in else "not every group has its voters" if view.below else ""


def harm_of(rot: list[Damage], options: Mapping[str, Any], view: View) -> Disturbance:
    """What damage breaks. A helix can be mended where every log still holds its group's whole history."""
    complete = {group.view.group for group in view.groups if group.log_from_start}
    whole = all(name in complete for one in rot for name in one.groups)
    return hurt(rot, healable=options.get("mode") == "helix" and whole)


def hurt_groups(ledger: Ledger, groups: Sequence[GroupView]) -> frozenset[str]:
    """Groups that have a damaged replica already."""
    known = ledger.standing().hurt
    return frozenset(
        group.group
        for group in groups
        if any(one.node in group.voters and one.group in (group.group, ALL) for one in known)
    )
