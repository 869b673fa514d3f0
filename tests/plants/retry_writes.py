"""A router sends a write again that may have happened: it may then undo what others wrote in between."""

from __future__ import annotations

from typing import Any

from cluster.core.commands import Command, Outcome
from cluster.node.dispatch import Dispatch
from cluster.node.process import Node
from cluster.node.router import Router
from cluster.node.rpc import RpcError


def install(node: Node) -> None:
    if isinstance(node.role, Router):
        install_client(node.role.dispatch)


def install_client(dispatch: Dispatch) -> None:
    """Take silence for a refusal."""
    send = dispatch._send

    async def planted(node: str, group: str, command: Command, timeout_s: float, *more: Any) -> Outcome:
        try:
            return await send(node, group, command, timeout_s, *more)
        except RpcError as error:
            if error.code in ("timeout", "unknown"):
                raise RpcError("not-leader", "") from error
            raise

    dispatch._send = planted  # type: ignore[method-assign]
