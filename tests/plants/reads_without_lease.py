"""Whoever has led a group serves strong reads of it for ever, lease or no lease; routers keep asking whom they know."""

from __future__ import annotations

from sticky import keep_routes

from cluster.core.commands import Command
from cluster.node.host import Host
from cluster.node.machine import Done
from cluster.node.process import Node
from cluster.node.replica import Replica
from cluster.node.router import Router


def install(node: Node) -> None:
    host = getattr(node.role, "host", None)
    if isinstance(host, Host) and node.config.role == "storage":
        host.on_replica.append(_serve_without_lease)
    if isinstance(node.role, Router):
        keep_routes(node.role.dispatch)


def _serve_without_lease(replica: Replica) -> None:
    execute = replica.execute
    has_led = False

    def planted(command: Command, done: Done) -> None:
        nonlocal has_led
        has_led = has_led or replica.leading
        if command.kind == "get" and has_led:
            replica.read(command, done)
        else:
            execute(command, done)

    replica.execute = planted  # type: ignore[method-assign]
