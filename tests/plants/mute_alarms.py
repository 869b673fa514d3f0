"""Alarms that never fire: they take every window in and keep it to themselves."""

from __future__ import annotations

from typing import Any


def install(node: Any) -> None:
    """Nodes are as they should be."""


def install_board(board: Any) -> None:
    """Nothing falls below the threshold that the alarms go by; what they say that they go by is as before."""
    for alarm in board.alarms:
        alarm.rule = type(alarm.rule)(alarm.rule.name, alarm.rule.zone, -1.0)
