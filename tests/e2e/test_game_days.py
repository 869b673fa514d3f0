"""A game day that passes, one that a person stops, one whose controller is killed: each leaves a verdict or nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from chaos.leftovers import Marks, collect
from tests.e2e.conftest import ROOT, Blackstart, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]
SHORT = "playbooks/plants/region-blink.yaml"


def test_a_short_game_day_passes_and_its_run_directory_is_whole(blackstart: Blackstart) -> None:
    process = blackstart.run(SHORT)
    out, _ = process.communicate(timeout=400)
    verdict = json.loads(out)
    assert (process.returncode, verdict["verdict"]) == (0, "passed"), (verdict["why"], blackstart.said()[-2000:])
    assert verdict["runtime"] == blackstart.runtime
    assert [fault["effect"] for fault in verdict["faults"]] == ["confirmed"]
    assert {check["result"] for check in verdict["checks"]} == {"ok"}
    (run,) = (blackstart.home / "runs").iterdir()
    for name in ("playbook.yaml", "plan.json", "events.jsonl", "scrub.json", "leftovers.json", "verdict.json",
                 "report.html", "junit.xml"):  # fmt: skip
        assert (run / name).stat().st_size > 0, name
    assert json.loads((run / "verdict.json").read_text()) == verdict
    assert blackstart.clusters() == []
    code, _ = blackstart.call("plan", str(run / "playbook.yaml"), "--json")
    assert code == 0, "a resolved playbook can be played again"


def start_and_break(blackstart: Blackstart, playbook: Path) -> subprocess.Popen[str]:
    """A game day in the middle of its power-off."""
    process = blackstart.run(str(playbook))
    wait_until(
        lambda: "everything goes dark: injected" in blackstart.said() or process.poll() is not None,
        240.0,
        blackstart.said,
    )
    assert process.poll() is None, blackstart.said()
    return process


@pytest.fixture
def lasting(tmp_path: Path) -> Path:
    """The short playbook with a fault that would last a minute, and a lease of three seconds."""
    text = (
        (ROOT / SHORT)
        .read_text()
        .replace("for: 3s", "for: 60s")
        .replace("max-duration: 4m", "max-duration: 4m\n  lease: 3s")
    )
    path = tmp_path / "lasting.yaml"
    path.write_text(text)
    return path


def test_ctrl_c_heals_tears_down_and_writes_a_verdict(blackstart: Blackstart, lasting: Path) -> None:
    process = start_and_break(blackstart, lasting)
    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=300)
    verdict = json.loads(out)
    assert (process.returncode, verdict["verdict"]) == (3, "interrupted"), (verdict["why"], blackstart.said()[-2000:])
    assert verdict["faults"][0]["healed_s"] is not None
    assert next(check for check in verdict["checks"] if check["name"] == "leftovers")["result"] == "ok"
    assert blackstart.clusters() == []


def test_a_killed_controller_leaves_faults_that_lift_themselves_and_a_cluster_that_goes_down(
    blackstart: Blackstart, lasting: Path
) -> None:
    process = start_and_break(blackstart, lasting)
    process.kill()
    process.wait()
    (cluster,) = blackstart.clusters()

    def lifted() -> bool:
        code, faults = blackstart.call("fault", "list", "--cluster", cluster, "--json")
        return code == 0 and faults["active"] == []

    wait_until(lifted, 120.0, blackstart.said)
    code, status = blackstart.call("cluster", "status", cluster, "--json")
    assert code == 0, blackstart.said()[-1000:]
    assert status
    code, healed = blackstart.call("fault", "heal", "--cluster", cluster, "--json")
    assert (code, healed["healed"]) == (0, [])
    code, _ = blackstart.call("cluster", "down", cluster)
    assert code == 0, blackstart.said()[-1000:]
    marks = Marks(cluster)
    wait_until(lambda: left(marks) == [], 15.0, lambda: str(left(marks)))


def left(marks: Marks) -> list[str]:
    """Whatever still bears the cluster's name."""
    return [f"{kind}: {line}" for kind, lines in collect(marks)[0].items() for line in lines if marks.ours(line)]
