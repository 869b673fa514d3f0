"""A replica that lost its log before it was in: explored clusters in which that is brought about, not waited for."""

from __future__ import annotations

from typing import Any

import pytest

from chaos.explore.faults import Faults
from chaos.explore.play import Outcome, play
from chaos.explore.scenario import Action, Scenario
from chaos.explore.stage import Stage
from cluster.core.config import AddLearner, Member
from cluster.node.catalog import SYSTEM_GROUP, GroupRecord
from cluster.node.codec import Parcel, Spec
from cluster.node.groups import GroupServices
from cluster.node.host import Host
from cluster.node.process import Node
from cluster.node.replica import Replica
from cluster.node.rpc import Responder, RpcError
from cluster.node.storage import StorageNode
from cluster.node.tables import TableWork
from tests.sim.database import SimDatabase

VICTIM = "storage-c1"
FIRST_SUCCESSOR = 4


def rot(at: float) -> Action:
    options = {"place": "log", "mode": "bit-flip", "count": 1, "then": "restart", "seed": 7}
    return Action("bit-rot", at, 0.2, [VICTIM], options)


def played(*method: Action, safety_s: float) -> tuple[Outcome, list[dict[str, Any]]]:
    """A cluster in which the victim is alone in its zone, so that successors of its replica live there too."""
    events: list[dict[str, Any]] = []

    def ended(stage: Stage, faults: Faults) -> None:
        events.extend(stage.sim.events)

    scenario = Scenario(seed=3, storage=4, clients=2, rate=40.0, keys=12, safety_s=safety_s, method=list(method))
    return play(scenario, on_stage=ended), events


def named(events: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == name]


def test_a_successor_that_lost_its_log_before_it_was_in_is_not_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seed 1252: it was created a second time under its id, and voted without a memory of what it had promised."""
    caught_up = GroupServices._caught_up

    def patient(self: GroupServices, replica: Replica, learner: int) -> bool:
        return learner > FIRST_SUCCESSOR and caught_up(self, replica, learner)

    monkeypatch.setattr(GroupServices, "_caught_up", patient)
    outcome, events = played(rot(1.0), rot(9.0), safety_s=11.0)
    assert outcome.finding is None, outcome.finding
    assert [e["replica"] for e in named(events, "replica-quarantined")] == [3, FIRST_SUCCESSOR]
    assert [e["voter"] for e in named(events, "replacement-given-up")] == [False]
    assert [e["replica"] for e in named(events, "replica-created") if e["learner"]] == [FIRST_SUCCESSOR, 5]


def test_a_successor_that_votes_already_when_it_is_given_up_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The change went through, and the control plane did not hear of it: there is no learner to drop any more."""
    swap = GroupServices._swap

    async def unheard(self: GroupServices, sender: str, params: tuple[str, Member, int]) -> bool:
        done = await swap(self, sender, params)
        if params[1].replica == FIRST_SUCCESSOR:
            raise RpcError("not-yet", "the answer was lost")
        return done

    monkeypatch.setattr(GroupServices, "_swap", unheard)
    outcome, events = played(rot(1.0), rot(9.0), safety_s=11.0)
    assert outcome.finding is None, outcome.finding
    assert [e["voter"] for e in named(events, "replacement-given-up")] == [True]
    assert [e["replica"] for e in named(events, "replacement-done")] == [5]
    assert [e["replica"] for e in named(events, "replica-created") if e["learner"]] == [FIRST_SUCCESSOR, 5]


def test_a_node_does_not_make_a_replica_again_whose_votes_it_lost() -> None:
    refused: list[str] = []

    def restarted(stage: Stage, faults: Faults) -> None:
        host = next(host for host in stage.hosts() if host.name == VICTIM)
        (group,) = host._lost_votes
        current = host.replicas.pop(group)  # as if it were not replaced yet
        for replica in (3, 2):
            with pytest.raises(RpcError) as refusal:
                host.create(Spec(group, "t", b"", b"", replica, None)).send(None)
            refused.append(refusal.value.code)
        with pytest.raises(RpcError) as refusal:
            host.create(Spec(group, "t", b"", b"", 9, current.group.config)).send(None)
        refused.append(refusal.value.code)
        host.replicas[group] = current

    play(Scenario(seed=3, storage=4, clients=1, rate=10.0, safety_s=3.0, method=[rot(1.0)]), on_stage=restarted)
    assert refused == ["lost-votes"] * 3


def test_a_table_of_which_a_replica_is_lost_while_it_is_made_is_placed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    elect = TableWork._elect
    hosts: dict[str, Host] = {}
    lost: list[str] = []

    def noted(node: Node) -> None:
        if isinstance(node.role, StorageNode):
            hosts[node.config.name] = node.role.host

    async def lose_one_first(self: TableWork, group: GroupRecord) -> bool:
        if "." in group.group:
            return await elect(self, group)
        if not lost:
            replica = group.members[0]
            lost.append(group.group)
            await hosts[replica.node].destroy(group.group, replica.replica)
            hosts[replica.node]._lost_votes[group.group] = replica.replica
        return False

    monkeypatch.setattr(TableWork, "_elect", lose_one_first)
    database = SimDatabase(3, noted, partitions=1)  # its table is ACTIVE
    assert database.sim.count("create-refused") >= 1
    assert database.sim.count("table-placed-again") == 1


def test_a_learner_that_misses_the_beginning_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seed 1287: its node, on a new disk, knew nobody, answered no heartbeat, and was taken for dead for ever."""
    on_parcels = Host._on_parcels
    deaf_until: list[float] = []

    def deaf(self: Host, sender: str, parcels: list[Parcel], responder: Responder) -> None:
        replica = self.replicas.get(SYSTEM_GROUP)
        if replica is not None and replica.spec.replica == FIRST_SUCCESSOR:
            if not deaf_until:
                deaf_until.append(self.world.now() + 3.0)  # two leases
            if self.world.now() < deaf_until[0]:
                return
        on_parcels(self, sender, parcels, responder)

    monkeypatch.setattr(Host, "_on_parcels", deaf)
    lost = Action("disk-loss", 1.0, 0.1, ["autoadmin-c"])
    outcome = play(Scenario(seed=3, admins=3, clients=1, rate=10.0, safety_s=3.0, method=[lost]))
    assert outcome.finding is None, outcome.finding
    assert outcome.seen["events"]["replacement-done"] == 1


def test_a_learner_left_behind_does_not_keep_the_next_successor_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call to swap can outlive the decision to give up, and bring its learner in again."""
    caught_up, drop = GroupServices._caught_up, GroupServices._drop_learner

    def patient(self: GroupServices, replica: Replica, learner: int) -> bool:
        return learner > FIRST_SUCCESSOR and caught_up(self, replica, learner)

    async def outlived(self: GroupServices, sender: str, params: tuple[str, int]) -> bool:
        replica = self._leading(params[0])
        member = replica.group.config.find(params[1])
        out = await drop(self, sender, params)
        assert member is not None
        self._propose(replica, AddLearner(member))
        return out

    monkeypatch.setattr(GroupServices, "_caught_up", patient)
    monkeypatch.setattr(GroupServices, "_drop_learner", outlived)
    outcome, events = played(rot(1.0), rot(9.0), safety_s=11.0)
    assert outcome.finding is None, outcome.finding
    assert [e["replica"] for e in named(events, "replacement-done")] == [5]


def test_the_system_group_is_founded_without_a_node_that_lost_its_votes_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    start = Host.start

    async def started(self: Host) -> None:
        await start(self)
        if self.name == "autoadmin-b":
            self._lost_votes[SYSTEM_GROUP] = 2

    monkeypatch.setattr(Host, "start", started)
    outcome = play(Scenario(seed=3, admins=3, clients=1, rate=10.0, safety_s=1.0))
    assert outcome.finding is None, outcome.finding
    assert outcome.seen["events"]["replacement-done"] == 1
