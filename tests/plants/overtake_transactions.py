"""Plain writes go to items that a transaction has prepared, as if it were not there: its commit undoes them."""

from __future__ import annotations

from cluster.core.commands import Command
from cluster.node.host import Host
from cluster.node.machine import Done
from cluster.node.process import Node
from cluster.node.replica import Replica


def install(node: Node) -> None:
    host = getattr(node.role, "host", None)
    if isinstance(host, Host) and node.config.role == "storage":
        host.on_replica.append(_overtake)


def _overtake(replica: Replica) -> None:
    execute, machine = replica.execute, replica.machine

    def planted(command: Command, done: Done) -> None:
        held, machine.held = machine.held, {}
        try:
            execute(command, done)
        finally:
            machine.held = held

    replica.execute = planted  # type: ignore[method-assign]
