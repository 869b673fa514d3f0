"""The canary process: every probe on record, a dead router delays nobody, and it leaves when asked."""

from __future__ import annotations

import importlib.util
import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from canaries.config import EXIT_CONFIG, CanaryConfig, ConfigError, Endpoint, load
from canaries.fleet import CanaryFailed, Flock
from loadgen.fleet import Credentials, on_this_host
from reports.rundir import Probe, read_probes

_SERVERS = Path(__file__).parents[1] / "loadgen" / "load_servers.py"
_spec = importlib.util.spec_from_file_location("canary_load_servers", _SERVERS)
assert _spec is not None
assert _spec.loader is not None
servers = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = servers
_spec.loader.exec_module(servers)


def flock(tmp_path: Path, endpoints: dict[str, str], zones: tuple[str, ...] = ("a",), **more: Any) -> Flock:
    settings = {"interval_s": 0.1, "timeout_s": 0.4, **more}
    credentials = Credentials("key", "secret", "local-1")
    return Flock(tmp_path / "canaries", tmp_path, zones, endpoints, credentials, table="load", **settings)


def gather(birds: Flock, until: Callable[[list[Probe]], bool], limit_s: float = 30.0) -> list[Probe]:
    probes: list[Probe] = []
    deadline = time.monotonic() + limit_s
    while not until(probes):
        assert time.monotonic() < deadline, probes[-5:]
        probes += birds.probes()
        time.sleep(0.05)
    return probes


def test_every_probe_is_recorded_and_a_dead_router_delays_nobody(tmp_path: Path) -> None:
    with servers.standin() as port, servers.scripted(lambda connection: time.sleep(10)) as silent:
        birds = flock(
            tmp_path,
            {name: f"http://127.0.0.1:{at}" for name, at in (("a", port), ("b", servers.free_port()), ("c", silent))},
        )
        birds.launch(on_this_host)
        try:
            birds.await_ready(30.0)
            assert not (tmp_path / "canaries" / ".secret").exists()
            gather(birds, lambda probes: sum(probe.endpoint_az == "c" for probe in probes) >= 10)
            assert birds.died() is None
            assert birds.stop() == []
        finally:
            birds.kill()
        birds.probes()
    probes, problems = read_probes(tmp_path / "canaries")
    assert problems == []
    assert birds.finished["a"]["sent"] == len(probes)
    by_zone = {zone: [probe for probe in probes if probe.endpoint_az == zone] for zone in "abc"}
    assert {probe.outcome for probe in by_zone["a"]} == {"ok"}
    assert {probe.op for probe in by_zone["a"]} == {"put", "get", "eget", "update", "delete"}
    assert {(probe.outcome, probe.error) for probe in by_zone["b"]} == {("fail", "ConnectRefused")}
    assert {(probe.outcome, probe.error) for probe in by_zone["c"]} == {("unknown", "AnswerTimeout")}
    # Rounds on the healthy router began all along: a round on the silent one takes 2 s, twenty intervals.
    starts = [probe.boot for probe in by_zone["a"] if probe.op == "put"]
    assert max(b - a for a, b in itertools.pairwise(starts)) < 1.5


@pytest.mark.parametrize("indexed", [False, True])
def test_a_table_with_a_sort_key_is_asked_with_one(tmp_path: Path, indexed: bool) -> None:
    heard: list[bytes] = []
    with servers.scripted(lambda connection: heard.append(connection.recv(65536))) as port:
        birds = flock(tmp_path, {"a": f"http://127.0.0.1:{port}"}, indexed=indexed)
        birds.launch(on_this_host)
        try:
            gather(birds, lambda probes: len(probes) >= 5)
        finally:
            birds.kill()
    assert heard
    assert all((b'"sk"' in request) == indexed for request in heard if request)


def test_errors_of_the_database_are_failures_not_silence(tmp_path: Path) -> None:
    with servers.standin("--fail", "500:InternalServerError") as port:
        birds = flock(tmp_path, {"a": f"http://127.0.0.1:{port}"})
        birds.launch(on_this_host)
        try:
            birds.await_ready(30.0)
            probes = gather(birds, lambda probes: len(probes) >= 5)
        finally:
            birds.kill()
    assert {probe.outcome for probe in probes} == {"unknown"}
    assert {probe.status for probe in probes} == {500}


def test_a_canary_that_ends_by_itself_is_noticed_with_its_last_words(tmp_path: Path) -> None:
    birds = flock(tmp_path, {"a": "https://nonsense"})
    birds.launch(on_this_host)
    with pytest.raises(CanaryFailed, match=rf"zone a ended with code {EXIT_CONFIG}.*https://nonsense"):
        birds.await_ready(30.0)
    assert "zone a ended by itself" in (birds.died() or "")


def test_a_configuration_that_cannot_be_used_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="endpoints: at least one"):
        CanaryConfig(
            az="a", name="n", endpoints=(), access_key="k", secret_key_file="s", region="r", table="t", record="x"
        )  # fmt: skip
    with pytest.raises(ConfigError, match="interval_s"):
        CanaryConfig(
            az="a", name="n", endpoints=(Endpoint("a", "http://x"),), access_key="k", secret_key_file="s", region="r",
            table="t", record="x", interval_s=0,
        )  # fmt: skip
    with pytest.raises(ConfigError, match=r"none\.json"):
        load(tmp_path / "none.json")
    with pytest.raises(CanaryFailed, match="at least one zone"):
        flock(tmp_path, {})


def test_a_torn_line_is_said_and_the_rest_is_read(tmp_path: Path) -> None:
    good = b'{"boot":1.0,"az":"a","endpoint":"u","endpoint_az":"b","op":"get","key":"k","outcome":"ok","ms":1.0}\n'
    (tmp_path / "a.jsonl").write_bytes(b'{"event":"ready"}\n' + good + b'{"nonsense":1}\n' + good[:40])
    probes, problems = read_probes(tmp_path)
    assert len(probes) == 1
    assert [problem.split(":")[0] for problem in problems] == ["canaries/a.jsonl line 3", "canaries/a.jsonl line 4"]
