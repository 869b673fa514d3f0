"""Durations and counts as people write them in playbooks."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

DURATION_PATTERN = r"^\d+(\.\d+)?(ms|s|m|h)$"
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
DURATION_MAX_S = 7 * 86_400.0


def parse_duration(value: Any) -> float:
    """``500ms``, ``1.5s``, ``10m``, ``1h`` or a number of seconds, as seconds. Raises ValueError with what to write."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("a duration is written like 500ms, 1.5s, 10m, or as a number of seconds")
    if isinstance(value, str):
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)", value.strip())
        if match is None:
            raise ValueError(f"'{value}' is not a duration: write 500ms, 1.5s, 10m, or a number of seconds")
        value = float(match[1]) * _SECONDS[match[2]]
    if not 0 <= value <= DURATION_MAX_S:
        raise ValueError("a duration lies between 0 and 7 days")
    return float(value)


def format_duration(seconds: float) -> str:
    """The shortest exact form that :func:`parse_duration` reads back."""
    if seconds and seconds < 1 and round(seconds * 1000, 6).is_integer():
        return f"{round(seconds * 1000)}ms"
    if seconds >= 60 and seconds % 60 == 0:
        return f"{round(seconds / 60)}m"
    return f"{seconds:g}s"


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    WithJsonSchema(
        {
            "anyOf": [{"type": "string", "pattern": DURATION_PATTERN}, {"type": "number", "minimum": 0}],
            "description": "500ms, 1.5s, 10m, 1h, or a number of seconds",
        }
    ),
]
