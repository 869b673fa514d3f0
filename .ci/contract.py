"""The API from outside, on a real cluster: the contract tests with all well, then while a zone has no power.

``.ci/contract.py [--runtime local]``: 0 if every test passes, and in the outage none fails (those that met a 500, a 503
or throttling are counted, and must not be the most).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from cluster.runtime import state

ROOT = Path(__file__).resolve().parents[1]
BIN = ROOT / ".venv" / "bin"
OUTAGE_S = 90
LIMIT_S = 600
TROUBLE = ("crash", "exit", "request-crashed", "request-unanswered", "requests-cut-off", "stray-error")
"""Events of nodes that may explain a test that failed."""


def blackstart(*arguments: str) -> str:
    done = subprocess.run([BIN / "blackstart", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S)
    if done.returncode:
        raise SystemExit(f"blackstart {' '.join(arguments)}: exit code {done.returncode}\n{done.stderr[-3000:]}")
    return done.stdout


def contract(endpoint: str, env: dict[str, str], *flags: str) -> tuple[int, str, dict[str, int]]:
    """Exit code, output, and how many tests ended how."""
    command = [BIN / "pytest", "tests/contract", "-q", "-p", "no:cacheprovider", "--endpoint", endpoint, *flags]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=LIMIT_S)
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped|error)", done.stdout)}
    return done.returncode, done.stdout, counts


def judge(name: str, code: int, output: str, counts: dict[str, int]) -> bool:
    good = code == 0 and counts.get("passed", 0) > counts.get("skipped", 0)
    print(f"{'ok  ' if good else 'BAD '} {name}: {', '.join(f'{n} {word}' for word, n in counts.items())}", flush=True)
    if not good:
        print(output[-6000:], flush=True)
    return good


def tell_trouble(cluster_id: str) -> None:
    for path in sorted((state.clusters() / cluster_id / "events").glob("*.jsonl")):
        for line in path.read_text().splitlines():
            if json.loads(line)["event"] in TROUBLE:
                print(f"     {line[:1000]}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runtime", default="local", choices=["docker", "local"])
    runtime = parser.parse_args().runtime
    cluster = json.loads(blackstart("cluster", "up", "--runtime", runtime, "--json"))
    endpoint = cluster["endpoints"][0]
    env = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": cluster["access_key"],
        "AWS_SECRET_ACCESS_KEY": cluster["secret_key"],
        "AWS_DEFAULT_REGION": cluster["region"],
    }
    try:
        good = judge(f"{runtime}, all well", *contract(endpoint, env))
        options = ["--cluster", cluster["cluster"], "--json"]
        with subprocess.Popen(
            [BIN / "blackstart", "fault", "inject", "power-off", "--select", "az=b", "--for", f"{OUTAGE_S}s", *options],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        ) as fault:
            time.sleep(1)  # the tests are to meet the moment of the cut, not only its aftermath
            good &= judge(f"{runtime}, zone b without power", *contract(endpoint, env, "--during-outage"))
            blackstart("fault", "heal", "--cluster", cluster["cluster"])
            told = fault.communicate(timeout=OUTAGE_S)[0]
        if '"confirmed"' not in told:
            print(f"BAD  the power cut was not confirmed: {told}")
            good = False
        if not good:
            tell_trouble(cluster["cluster"])
    finally:
        blackstart("cluster", "down", cluster["cluster"])
    print(f"{int(good)} passed, {int(not good)} failed")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
