"""What a database that was left alone must bring to an end by itself: transactions, changes of indexes, its archive."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from chaos.engine.scrub import DAMAGE_TOLD, Target, partitions, scrub_one
from chaos.engine.watch import placement
from chaos.simulated.scrub import SCRUB_S, SimCalls, SimReader
from cluster.core.items import image_body
from cluster.core.side import OUTBOX, bounds, is_side
from cluster.core.transactions import COMPLETED, LEDGER
from cluster.node.catalog import TableRecord
from cluster.node.ledger import read_row
from reports.rundir import Scrub

if TYPE_CHECKING:
    from chaos.explore.stage import Stage
    from cluster.node.replica import Replica

CALL_S: Final = 5.0

Row = tuple[bytes, bytes]


def unfinished(stage: Stage) -> str:
    """What is not finished yet, in words; empty once all is quiet. Lets time pass to look, and raises RpcError where
    somebody does not answer."""
    scenario = stage.scenario
    return (_transaction(stage) if scenario.transactions else "") or (_index(stage) if scenario.indexed else "")


def scrubbed(stage: Stage) -> Scrub:
    """Every group at a barrier, its replicas and what its archived log gives; waits until that has come so far."""
    sim, roles = stage.sim, stage.roles()
    zones = {config.name: config.az for config in stage.configs}
    target = Target(stage.configs[0].cluster, roles, zones, SimReader(sim))
    parts = partitions(placement(sim, roles))
    groups = [sim.run(scrub_one(SimCalls(sim), target, part), SCRUB_S) for part in parts]
    told = [event for event in sim.events if event["event"] in DAMAGE_TOLD]
    return Scrub(groups=groups, archived=True, background=told)


def _transaction(stage: Stage) -> str:
    """One that holds an item, or that the ledger has as under way."""
    held = [key for replica in _serving(stage) for key in replica.machine.held]
    if held:
        return f"{len(held)} items are held by transactions, {held[0]!r} first"
    for replica in [replica for replica in _serving(stage) if replica.spec.table == LEDGER]:
        for key, image in _rows(stage, replica):
            row = None if is_side(key) else read_row(image_body(image))
            if row is not None and row.entry.state != COMPLETED:
                return f"transaction {row.entry.id} is {row.entry.state} in the ledger"
    return ""


def _index(stage: Stage) -> str:
    """One that is being made or unmade, or changes of one that are on their way."""
    admin = stage.acting()
    if admin is None or admin.catalog is None:
        return "nobody acts as the control plane"
    for record in admin.catalog.tables.values():
        if busy := _busy(record):
            return f"{record.name} is {busy}"
    for replica in [replica for replica in _serving(stage) if replica.machine.outbox is not None]:
        waiting = _rows(stage, replica, *bounds(OUTBOX))
        if waiting:
            return f"{len(waiting)} index changes of {replica.spec.group} are on their way"
    return ""


def _busy(record: TableRecord) -> str:
    states = [record.status]
    entries: list[dict[str, Any]] = record.description.get("GlobalSecondaryIndexes") or []
    states += [f"{entry['IndexStatus']} ({entry['IndexName']})" for entry in entries]
    return next((state for state in states if not state.startswith("ACTIVE")), "")


def _serving(stage: Stage) -> Iterator[Replica]:
    """The replicas that lead a group of a table."""
    for host in stage.hosts():
        for replica in host.replicas.values():
            if replica.serving and replica.spec.table:
                yield replica


def _rows(stage: Stage, replica: Replica, start: bytes = b"", end: bytes = b"") -> list[Row]:
    """A group's rows in a range of keys, as its leader has them."""
    node, group = replica.host.name, replica.spec.group
    found: list[Row] = []
    while True:
        rows, rest = stage.sim.call(node, "group-rows", (group, start, end), CALL_S)
        found += [(bytes(key), bytes(image)) for key, image in rows]
        if not rest:
            return found
        start = rest
