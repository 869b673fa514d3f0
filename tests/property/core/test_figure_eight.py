"""The classic trap, acted out: an older ballot's entry on a majority is not decided (Ongaro, figure 3.7)."""

from __future__ import annotations

import sys
from pathlib import Path

import planted_bugs
import pytest

from cluster.core.group import GroupOptions

sys.path.insert(0, str(Path(__file__).parents[2] / "datadriven"))
from scripted import Script


def act_out() -> tuple[list[str], list[str]]:
    """What replica 1 says it applied at slot 2, and what replica 5 does."""
    script = Script(GroupOptions(message_bytes=1))  # an entry a message
    told: list[str] = []

    def do(*lines: str) -> None:
        for line in lines:
            told.extend(script.run(line).split("\n"))

    def nobody_supports_anybody() -> None:
        do(*(f"lapse {x}>{y}" for x in range(1, 6) for y in range(1, 6) if x != y))

    do("group 1a 2b 3c 4a 5b", "campaign 1", "stabilize", "time 0.1", "stabilize")
    nobody_supports_anybody()
    do("propose 1 x", "deliver 1>2", "drop", "persist 1", "persist 2", "drop", "down 1", "down 2")
    do("campaign 5", "persist 5", "deliver 5>3", "deliver 5>4", "drop", "persist 3", "persist 4", "deliver")
    do("persist 5", "drop", "down 5")  # 5 led, and has a NOOP of its own in slot 2 that nobody else has
    script.hosts[2].up = True
    do("restart 1", "campaign 1", "persist 1", "deliver 1>3", "deliver 3>1", "drop")  # outbid: 3 has promised 5 more
    do("persist 3", "deliver 3>1", "campaign 1", "persist 1", "drop 1>4", "drop 1>5", "deliver")
    do("persist 2", "persist 3", "deliver")
    # 1 leads again and brings x to 3: three of five have it. Its own NOOP gets nowhere.
    script.wire = [w for w in script.wire if not (w[1] == 3 and any(e.slot > 2 for e in getattr(w[2], "entries", ())))]
    do("drop 1>2", "drop 1>4", "drop 1>5", "deliver", "persist 1", "persist 3", "deliver 3>1", "drop")
    do("down 1", "down 2", "restart 5", "campaign 5", "persist 5", "deliver", "persist", "stabilize")
    do("time 0.1", "stabilize")
    by_1 = [line for line in told if line.startswith("1 applies") and "2@" in line]
    by_5 = [line for line in told if line.startswith("5 applies") and "2@" in line]
    return by_1, by_5


def test_an_older_ballots_entry_is_not_decided_by_counting() -> None:
    by_1, by_5 = act_out()
    assert by_1 == [], "slot 2 was decided although 5 could still replace it"
    assert any("noop" in line for line in by_5), f"5 was to replace slot 2, but applied {by_5}"


def test_the_act_convicts_a_leader_that_counts_them() -> None:
    with planted_bugs.PLANTS["count_old_ballots"]():
        by_1, by_5 = act_out()
    assert any("2@1.1:x" in line for line in by_1), "the act no longer sets the trap"
    assert any("noop" in line for line in by_5)
    with pytest.raises(AssertionError):
        assert by_1 == by_5
