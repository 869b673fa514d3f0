"""What scrubbing and archiving cost: bytes a second beside reading the same files, and the processor they take.

One B-tree on this machine's disk is read plainly, then page by page with its checksums, then row by row into a digest,
each time with the cache dropped; a log of the same items is sealed into segments, stored, fetched and rebuilt from. The
background scrub's share of a core follows from its rate. ``--run DIR`` adds the archive's lag in a run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cluster.core import archive
from cluster.core.archive import ORIGIN, Place
from cluster.core.ballot import Ballot
from cluster.core.messages import DATA, Entry
from cluster.node import payload
from cluster.node.reference import Reference
from cluster.store.btree import Pool, Replica
from cluster.store.files import RealPageFiles
from cluster.store.objects import Objects
from cluster.topology import ScrubSpec

ROWS = 60_000
VALUE_BYTES = 900
BATCH = 100
SEGMENTS = 16
READ_BYTES = 1 << 20


def timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds on the wall, seconds of processor, and the result."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def drop_cache(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fdatasync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)


def read_plainly(path: Path) -> int:
    with path.open("rb", buffering=0) as file:
        return sum(len(block) for block in iter(lambda: file.read(READ_BYTES), b""))


def rates(size: int, wall: float, cpu: float) -> dict[str, float]:
    return {"mb_per_s": size / wall / 1e6, "mb_per_cpu_s": size / max(cpu, 1e-9) / 1e6}


def tree(home: Path, rows: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    """A B-tree read four ways."""
    pool = Pool(RealPageFiles(home / "pages"))
    replica = Replica.open(pool, "bench")
    for at in range(0, len(rows), BATCH):
        replica.apply(at + 1, rows[at : at + BATCH])
    replica.checkpoint()
    path = home / "pages" / "bench.db"
    size = path.stat().st_size
    drop_cache(path)
    read = timed(lambda: read_plainly(path))
    drop_cache(path)
    pages = timed(replica.scrub)
    replica.rest()
    drop_cache(path)
    digest = timed(replica.digest)
    pool.close()
    logical = digest[2].bytes
    return {
        "file_bytes": size,
        "read": rates(size, *read[:2]),
        "pages": rates(size, *pages[:2]),
        "digest": rates(logical, *digest[:2]),
        "pages_to_read": read[0] / pages[0],
        "bad": len(pages[2]),
    }


def log(home: Path, rows: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    """Segments of about a megabyte: sealed, stored in a directory, fetched and applied."""
    place = Place("bs000000", "bench", "g", b"", b"")
    store = Objects(f"file://{home}/objects")
    tip, slot, manifests = ORIGIN, 0, []
    sealing = sealed_bytes = storing = cpu = 0.0
    per_segment = archive.SEGMENT_BYTES // (BATCH * (VALUE_BYTES + 40))
    for number in range(min(SEGMENTS, len(rows) // (BATCH * per_segment))):
        entries = []
        for batch in range(per_segment):
            slot += 1
            first = (number * per_segment + batch) * BATCH
            entries.append(Entry(slot, Ballot(1, 1), DATA, payload.encode((0, 1, rows[first : first + BATCH]))))
        wall, used, (manifest, data) = timed(lambda e=entries, t=tip: archive.seal(place, t, e, 1, 1))  # type: ignore[misc]
        sealing, cpu, sealed_bytes = sealing + wall, cpu + used, sealed_bytes + len(data)
        name = archive.object_name(place, manifest.first, "log")
        storing += timed(lambda n=name, d=data: asyncio.run(store.put(n, d)))[0]  # type: ignore[misc]
        manifests.append(manifest)
        tip = archive.tip_after(manifest)
    copy = Reference(place)

    def rebuild() -> None:
        for wanted in copy.wanted(archive.plan_rebuild(place, manifests, slot)):
            copy.take(wanted, store.get_now(wanted.name))
        copy.digest()

    wall, used, _ = timed(rebuild)
    assert not copy.problems, copy.problems
    return {
        "segments": len(manifests),
        "seal": rates(int(sealed_bytes), sealing, cpu),
        "put_ms": storing / len(manifests) * 1000,
        "rebuild": rates(int(sealed_bytes), wall, used),
    }


def lags(run: Path) -> dict[str, Any]:
    """How old the first entry of each segment was when it was archived, and how long stores were away."""
    said = []
    for file in sorted((run / "nodes").glob("*.jsonl")):
        for line in file.read_bytes().splitlines():
            if b'"archived"' in line:
                said.append(float(json.loads(line).get("lag_s", 0.0)))
    said.sort()
    if not said:
        return {"segments": 0}
    return {"segments": len(said), "p50_s": statistics.median(said), "max_s": said[-1]}


def measure(rows: int = ROWS, run: Path | None = None) -> dict[str, Any]:
    rng = random.Random(1)
    data = sorted((rng.randbytes(20), rng.randbytes(VALUE_BYTES)) for _ in range(rows))
    with tempfile.TemporaryDirectory(prefix="blackstart-scrubbing-") as home:
        found: dict[str, Any] = {"rows": rows, "tree": tree(Path(home), data), "log": log(Path(home), data)}
    rate = ScrubSpec().rate
    found["background"] = {
        "bytes_per_s": rate,
        "cpu_percent": 100 * rate / 1e6 / found["tree"]["pages"]["mb_per_cpu_s"],
    }
    if run is not None:
        found["lag"] = lags(run)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scrubbing", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--run", type=Path, help="a run directory, for the archive's lag")
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.rows, arguments.run), indent=1))


if __name__ == "__main__":
    main()
