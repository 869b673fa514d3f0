"""Reads and refusals over proposed state are answered at once, before what they rest on is committed."""

from __future__ import annotations

from late import hold_back_entries

from cluster.core.commands import Command, evaluate
from cluster.node.host import Host
from cluster.node.machine import Done
from cluster.node.process import Node
from cluster.node.replica import Replica
from cluster.wire.json import CODEC

HELD_BACK_S = 0.2
"""What is answered early stays uncommitted for so long, and is lost with its leader."""


def install(node: Node) -> None:
    host = getattr(node.role, "host", None)
    if isinstance(host, Host) and node.config.role == "storage":
        host.on_replica.append(_answer_early)
        hold_back_entries(host, HELD_BACK_S)


def _answer_early(replica: Replica) -> None:
    execute, machine = replica.execute, replica.machine

    def planted(command: Command, done: Done) -> None:
        proposed = machine._proposed.get(command.key)
        if proposed is not None and replica.serving:
            decision = evaluate(command, proposed[0], CODEC)
            if not decision.write:
                done("", decision.outcome)
                return
        execute(command, done)

    replica.execute = planted  # type: ignore[method-assign]
