"""JSON Schemas of the run directory's JSON files, for other programs: ``python -m reports.rundir.schema``.

Derived from the structs, so they cannot disagree with what we write; the published copies in ``schemas/`` are held
equal to them by a test. Run the module to write them anew after a format has grown.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import msgspec

from reports.rundir.indexrows import IndexRows
from reports.rundir.ledger import DamageEntry
from reports.rundir.probes import Probe
from reports.rundir.records import Leftovers, Plan, Scrub
from reports.rundir.verdict import Verdict

DIRECTORY = Path(__file__).parent / "schemas"

KINDS: dict[str, Any] = {
    "plan": Plan,
    "scrub": Scrub,
    "leftovers": Leftovers,
    "verdict": Verdict,
    "corruption": DamageEntry,
    "indexes": IndexRows,
    "probe": Probe,
}
"""File name without suffix, and the struct; ``corruption`` is a line of ``corruption.jsonl``, ``probe`` one of
``canaries/<az>.jsonl``."""


def schema_of(name: str) -> dict[str, Any]:
    """The schema (draft 2020-12) of one file."""
    described: dict[str, Any] = evenly(msgspec.json.schema(KINDS[name]))
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Blackstart {name}",
        **described,
    }


def evenly(schema: Any) -> Any:
    """The same without the indentation of docstrings, which one version of msgspec keeps and another takes away."""
    if isinstance(schema, list):
        return [evenly(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: evenly(value) for key, value in schema.items()}
    if isinstance(out.get("description"), str):
        out["description"] = inspect.cleandoc(out["description"])
    return out


def text_of(name: str) -> bytes:
    """The published form."""
    return msgspec.json.format(msgspec.json.encode(schema_of(name), order="sorted"), indent=2) + b"\n"


def publish() -> list[Path]:
    """Write all schemas; returns the files."""
    DIRECTORY.mkdir(exist_ok=True)
    paths = []
    for name in KINDS:
        path = DIRECTORY / f"{name}.schema.json"
        path.write_bytes(text_of(name))
        paths.append(path)
    return paths


if __name__ == "__main__":
    for written in publish():
        print(written)
