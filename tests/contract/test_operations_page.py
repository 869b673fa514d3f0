"""docs/operations.md against botocore's service model and against what is served: no line missing, none stale."""

from __future__ import annotations

import re
from pathlib import Path

import botocore.session

from cluster.api import OPERATIONS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
LINE = re.compile(r"\| `(\w+)` \| ([a-z ]+) \| (.*) ?\|")
STATES = ("done", "partial", "not offered")


def lines(page: str) -> list[tuple[str, str, str]]:
    return [(found[1], found[2], found[3].strip()) for found in map(LINE.fullmatch, page.splitlines()) if found]


def faults(page: str, model: list[str], served: list[str]) -> list[str]:
    """What is wrong with a page, in words."""
    found = lines(page)
    names = [name for name, _, _ in found]
    wrong = [f"{name}: not on the page" for name in model if name not in names]
    wrong += [f"{name}: not in botocore's model" for name in names if name not in model]
    wrong += [f"{name}: more than one line" for name in dict.fromkeys(names) if names.count(name) > 1]
    for name, state, note in found:
        if state not in STATES:
            wrong.append(f"{name}: no state {state!r}")
        elif (state == "not offered") is (name in served):
            wrong.append(f"{name}: the page says {state!r}, which is not so")
        elif state != "done" and not note:
            wrong.append(f"{name}: {state} without a word why")
    return wrong


def test_the_page_says_what_is_so() -> None:
    model = list(botocore.session.get_session().get_service_model("dynamodb").operation_names)
    assert faults(PAGE.read_text(), model, list(OPERATIONS)) == []


def test_a_page_that_lies_is_caught() -> None:
    page = "| `GetItem` | done |  |\n| `Query` | done |  |\n| `Scan` | partial |  |\n| `Gone` | not offered | why |\n"
    assert faults(page, ["GetItem", "Query", "Scan", "PutItem"], ["GetItem", "Scan"]) == [
        "PutItem: not on the page",
        "Gone: not in botocore's model",
        "Query: the page says 'done', which is not so",
        "Scan: partial without a word why",
    ]
