"""The reaper: lifts faults whose controller died.

One detached process per run, started before the first fault and independent of the controller: a session of its own, no
terminal, no pipe to anyone. It holds no fault itself; it watches the journal's leases, and heals what has expired. It
ends by itself when the cluster is gone, or when the journal is empty and its controller is no more.

``python -m chaos.reaper CLUSTER CONTROLLER_PID CONTROLLER_STARTED``
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from chaos.healing import drop_tables, heal_all
from chaos.journal import Journal, boot_s

POLL_S = 0.5
RETRY_S = 3.0
LOG = "reaper.log"
READY_TIMEOUT_S = 20.0
READY = "reaper.ready"


def start(cluster: str, state_dir: Path) -> subprocess.Popen[bytes]:
    """Start a cluster's reaper and return once it watches. Raises TimeoutError where it does not come up."""
    from cluster.runtime.processes import start_time

    me = os.getpid()
    ready = state_dir / READY
    ready.unlink(missing_ok=True)
    with (state_dir / LOG).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "chaos.reaper", cluster, str(me), str(start_time(me))],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=Path(__file__).resolve().parents[1],
        )
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not ready.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise TimeoutError(f"the reaper did not come up; see {state_dir / LOG}")
        time.sleep(0.02)
    return process


def watch(cluster_id: str, controller: tuple[int, int]) -> None:
    """Heal expired faults until there is nothing left to watch."""
    from cluster.runtime import attach
    from cluster.runtime.processes import start_time

    cluster = attach(cluster_id)
    journal = Journal(cluster.state_dir)
    (cluster.state_dir / READY).write_text(str(os.getpid()))
    say(f"watching the journal of {cluster_id} for controller {controller[0]}")
    not_before = 0.0
    while journal.exists():
        entries = journal.entries()
        controller_lives = start_time(controller[0]) == controller[1]
        if not entries and not controller_lives:
            say("the controller is gone and no fault is in: done")
            return
        now = boot_s()
        if any(entry.expired(now) for entry in entries) and now >= not_before:
            # Attached anew: what the nodes were when we started is not what they are now.
            for healed in heal_all(attach(cluster_id), journal, expired_only=True):
                say(f"lifted {healed.entry.kind} '{healed.entry.name}'" + (f": {healed.error}" if healed.error else ""))
                if healed.error:
                    not_before = boot_s() + RETRY_S
        time.sleep(POLL_S)
    say("the cluster is gone: done")
    for name in drop_tables(cluster):
        say(f"dropped table {name}")


def say(text: str) -> None:
    """One line in the log."""
    print(f"{time.strftime('%FT%TZ', time.gmtime())} {text}", flush=True)


def main(argv: list[str]) -> int:
    """The process."""
    cluster, pid, started = argv
    try:
        watch(cluster, (int(pid), int(started)))
    except Exception as error:
        say(f"ended: {type(error).__name__}: {error}")
        return 4
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
