"""Playbooks: what a game day does, as checked data.

:func:`load` reads a file and reports every mistake in it at once, each with its line; :func:`json_schema` is what
editors use. Nothing here touches a cluster.
"""

from __future__ import annotations

from chaos.playbook.document import Document, read_document
from chaos.playbook.load import find, json_schema, load, parse
from chaos.playbook.model import (
    Action,
    HumanAction,
    PartitionAction,
    Playbook,
    PowerOffAction,
    TargetSpec,
)

__all__ = [
    "Action",
    "Document",
    "HumanAction",
    "PartitionAction",
    "Playbook",
    "PowerOffAction",
    "TargetSpec",
    "find",
    "json_schema",
    "load",
    "parse",
    "read_document",
]
