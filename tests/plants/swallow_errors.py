"""A canary that takes every failure for a success: it goes on, it records, and it never saw anything wrong."""

from __future__ import annotations

from typing import Any


def install(node: Any) -> None:
    """Nodes are as they should be."""


def install_canary(canary: Any) -> None:
    """An answer that did not come, or was wrong, is recorded as good."""
    honest = canary.judge

    def planted(current: Any, operation: Any, outcome: Any) -> Any:
        return honest(current, operation, outcome)._replace(outcome="ok", status=200, error=None)

    canary.judge = planted
