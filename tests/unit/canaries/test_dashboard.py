"""The live page below the browser: what odd files do to it, what it remembers, whom it refuses."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import msgspec
import pytest
from dashboard_server import FAULT, HEAL, TOKEN, Shape, make_run, moments, served

from canaries.dashboard import view
from canaries.dashboard.source import Follower, Source
from canaries.dashboard.state import HISTORY_S, LOG_MAX, State
from canaries.series import Stretch
from reports.rundir import NodeInfo, Plan, Probe, RunDir

NODES = [NodeInfo(name=f"router-{az}", role="router", az=az, rack=f"{az}1") for az in "abc"]
NODES += [NodeInfo(name=f"storage-{az}1", role="storage", az=az, rack=f"{az}1") for az in "abc"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDir:
    return make_run(tmp_path_factory.mktemp("dashboard"), Shape(rate=60))


def seen(state: State, **more: Any) -> view.Seen:
    return view.Seen(**({"now_s": state.t, "age_s": 0.1, "alive": True, "unreadable": 0} | more))


def followed(path: Path) -> Follower:
    follower = Follower(path)
    follower.look()
    return follower


def page_at(run: RunDir, tmp_path: Path, t: float) -> dict[str, Any]:
    follower = followed(moments.at(run.path, tmp_path / f"at-{t}", t))
    return view.page(follower.state, seen(follower.state))


def event(t: float, kind: str, **fields: Any) -> dict[str, Any]:
    return {"t": t, "boot": 100 + t, "wall": 1e9 + t, "event": kind, **fields}


# What it says at which moment.


@pytest.mark.parametrize(
    ("t", "tone", "word"),
    [(0.5, "plain", "Preflight"), (28, "good", "All quiet"), (34, "warn", "Fault in"), (45, "bad", "Alarm")],
)
def test_the_banner_is_what_matters_most(run: RunDir, tmp_path: Path, t: float, tone: str, word: str) -> None:
    said = page_at(run, tmp_path, t)["banner"]
    assert (said.tone, said.word) == (tone, word)


def test_a_dark_zone_is_told_in_every_panel(run: RunDir, tmp_path: Path) -> None:
    page = page_at(run, tmp_path, 48)
    a, b, _ = page["zones"]
    assert (a["share"], a["alarm"]) == ("100\u00a0%", False)
    assert (b["share"], b["alarm"]) == ("0\u00a0%", True)
    assert {node["word"] for rack in b["racks"] for node in rack["nodes"]} == {"dark"}
    assert "Zone b has no power" in page["banner"].more
    assert [row["name"] for row in page["alarms"] if row["on"]] == ["cfa-availability", "cfa-zone-b"]
    assert {row["name"]: row["share"] for row in page["operations"]}["put"] == "68\u00a0%"
    assert page["matrix"][0]["cells"][1] == ("0\u00a0%", "bad")
    assert page["faults"][0]["active"]
    assert page["faults"][0]["effect"] == "confirmed"
    assert "4 of 5" in page["redundancy"]["full"] or "0 of 5" in page["redundancy"]["full"]


def test_after_the_heal_nodes_are_on_and_the_fault_is_told_as_lifted(run: RunDir, tmp_path: Path) -> None:
    page = page_at(run, tmp_path, HEAL + 6)
    assert not page["faults"][0]["active"]
    assert page["faults"][0]["when"] == f"healed after {int(HEAL + 0.1 - FAULT)} s"
    assert {node["word"] for zone in page["zones"] for rack in zone["racks"] for node in rack["nodes"]} == {""}


def test_a_run_that_ended_shows_its_verdict_and_one_that_died_says_so(run: RunDir, tmp_path: Path) -> None:
    from reports.conclude import conclude

    conclude(run)
    over = followed(run.path)
    finished = view.page(over.state, seen(over.state))
    assert finished["banner"].word == "Passed"
    assert [zone["share"] for zone in finished["zones"]] == ["100\u00a0%"] * 3
    dead = followed(moments.at(run.path, tmp_path / "dead", 45))
    assert view.page(dead.state, seen(dead.state, age_s=60.0))["banner"].word == "No news"
    cut = followed(moments.at(run.path, tmp_path / "cut", 200))
    assert view.page(cut.state, seen(cut.state))["banner"].word == "Ended"


def test_faults_of_every_kind_have_a_word_and_partitions_name_their_nodes() -> None:
    state = State("x")
    state.plan = Plan(playbook="p", nodes=NODES)
    for name, kind, targets in (
        ("cut", "partition", ["router-a", "storage-a1"]),
        ("odd", "meteor", ["storage-b1"]),
    ):
        state.take_event(event(1, "fault", name=name, fault_kind=kind, targets=targets, state="injecting", detail=""))
    page = view.page(state, seen(state))
    words = {n["name"]: n["word"] for z in page["zones"] for r in z["racks"] for n in r["nodes"]}
    assert words["router-a"] == "cut off"
    assert words["storage-b1"] == "meteor"
    assert page["banner"].sentence == "Zone a is cut off; Storage-b1 suffers meteor."


def test_nodes_that_fall_silent_lead_nothing() -> None:
    state = State("x")
    state.plan = Plan(playbook="p", nodes=NODES)
    state.take_event(event(1, "leader", group="g1", node="storage-a1", previous=None))
    assert state.leads() == {"storage-a1": 1}
    state.take_event(event(2, "node", node="storage-a1", state="down", detail="status"))
    assert state.leads() == {}
    page = view.page(state, seen(state))
    assert page["zones"][0]["racks"][0]["nodes"][1]["word"] == "silent"


# Odd files.


GARBAGE = [
    b"{", b"[]", b"null", b'{"t":"x","event":"run"}', b'{"t":1}', b'{"t":1,"event":"fault"}', b'{"t":1,"event":"fault",'
    b'"name":3,"state":7,"targets":5}', b'{"t":1,"event":"redundancy","groups":"many"}', b"\xff\xfe\x00",
    b'{"t":1e400}',
    b'{"t":1,"event":"alarm","name":"x","state":"fired","shares":["a"]}', b'{"t":2,"event":"leader"}',
]  # fmt: skip


def test_garbage_is_counted_and_the_rest_is_shown(run: RunDir, tmp_path: Path) -> None:
    path = moments.at(run.path, tmp_path / "garbage", 45)
    lines = (path / "events.jsonl").read_bytes().splitlines()
    for number, line in enumerate(GARBAGE):
        lines.insert(3 + 2 * number, line)
    (path / "events.jsonl").write_bytes(b"\n".join(lines) + b"\n" + b'{"t":44,"event":"no')
    with (path / "canaries" / "a.jsonl").open("ab") as file:
        file.write(b"nonsense\n" + b'{"boot":"x"}\n')
    with (path / "load" / "a.jsonl").open("ab") as file:
        file.write(b'{"second":1}\n{"second":1,"boot":1e3,"unknown":0,"skipped":0,"sent":1,"by_op":{"get":4}}\n')
    (path / "verdict.json").write_bytes(b"{")
    follower = followed(path)
    assert follower.unreadable >= len(GARBAGE)
    page = view.page(follower.state, seen(follower.state))
    assert page["banner"].word == "Alarm"
    assert view.drawing(follower.state, seen(follower.state)).startswith("<svg")


def test_a_run_that_has_just_begun_and_one_without_a_plan(tmp_path: Path) -> None:
    (tmp_path / "events.jsonl").write_bytes(b"")
    follower = followed(tmp_path)
    assert view.page(follower.state, seen(follower.state))["banner"].word == "Waiting"
    (tmp_path / "plan.json").write_bytes(b"{}")
    (tmp_path / "events.jsonl").write_bytes(
        msgspec.json.encode(event(1, "phase", phase="deploy", state="begin")) + b"\n"
    )
    follower.look()
    assert view.page(follower.state, seen(follower.state))["banner"].word == "Deploy"
    assert follower.unreadable == 1


def test_a_week_of_lines_needs_no_more_memory_than_an_hour() -> None:
    state = State("week")
    for second in range(0, 40_000, 4):
        for az in "abc":
            state.take_probe(
                Probe(boot=second, az=az, endpoint="u", endpoint_az="b", op="get", key="k", outcome="ok", ms=1), 0.0
            )
        state.take_event(event(second, "leader", group=f"g{second % 3}", node="n", previous=None))
        state.take_event(event(second, "redundancy", groups=5, below=second % 2))
        state.take_event(event(second, "phase", phase=f"p{second % 50}", state="begin"))
        state.take_event(event(second, "phase", phase=f"p{second % 50}", state="end"))
        state.take_event(event(second, "fault", name=f"f{second}", fault_kind="power-off", state="healed"))
    assert len(state.seconds) <= HISTORY_S + 61
    assert len(state.log) <= LOG_MAX
    assert len(state.redundancy) <= 400
    assert len(state.faults) <= 200
    assert len(state.phases_done) <= 30


def test_the_week_is_drawn_by_the_hour_and_gaps_are_no_zeros() -> None:
    now = 1_700_000_000.0
    stretches = [Stretch(now - 3600 * hour, "a", 100, 100 if hour != 3 else 10) for hour in (0, 1, 3, 4, 30)]
    drawn = view.days(stretches)
    assert "s-dead" in drawn
    assert "s-none" in drawn
    assert view.days(stretches[:1]) == ""
    assert view.days([]) == ""


# Which run.


def begin(path: Path, cluster: str = "c1") -> Path:
    path.mkdir(parents=True)
    (path / "events.jsonl").write_bytes(msgspec.json.encode(event(0, "run", state="begin", cluster=cluster)) + b"\n")
    return path


def test_the_latest_run_is_followed_and_a_new_one_takes_its_place(tmp_path: Path) -> None:
    source = Source(tmp_path)
    assert source.look() is None
    begin(tmp_path / "20260101T000000Z-first")
    source._find_at = 0
    follower = source.look()
    assert follower is not None
    assert follower.path.name.endswith("first")
    begin(tmp_path / "20260102T000000Z-second")
    (tmp_path / "20260103T000000Z-no-run").mkdir()
    source._find_at = 0
    follower = source.look()
    assert follower is not None
    assert follower.path.name.endswith("second")


def test_only_runs_of_the_cluster_that_was_named(tmp_path: Path) -> None:
    begin(tmp_path / "20260101T000000Z-mine", "c1")
    begin(tmp_path / "20260102T000000Z-other", "c2")
    follower = Source(tmp_path, cluster="c1").look()
    assert follower is not None
    assert follower.path.name.endswith("mine")


# Whom it refuses.


def get(url: str, **headers: str) -> tuple[int, str, dict[str, str]]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
            return answer.status, answer.read().decode(), dict(answer.headers)
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), dict(error.headers)


def test_the_token_and_the_name_are_asked_for(run: RunDir) -> None:
    with served(Source(run.path.parent, run.path)) as url:
        for path in ("", "events", "state.json"):
            assert get(url + path)[0] == 403
            assert get(url + path + "?token=wrong")[0] == 403
            assert get(url + path + "?token=")[0] == 403
        status, page, headers = get(f"{url}?token={TOKEN}")
        assert status == 200
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["referrer-policy"] == "no-referrer"
        assert TOKEN not in page
        assert get(url, Authorization=f"Bearer {TOKEN}")[0] == 200
        # A page elsewhere whose name is made to point here may know no token, and gets nothing even with one.
        assert get(f"{url}?token={TOKEN}", Host="evil.example")[0] == 403
        assert get(f"{url}?token={TOKEN}", Host="localhost:4711")[0] == 200
        assert get(f"{url}nothing?token={TOKEN}")[0] == 404
        request = urllib.request.Request(f"{url}?token={TOKEN}", method="POST", data=b"")
        with pytest.raises(urllib.error.HTTPError, match="405"):
            urllib.request.urlopen(request, timeout=10)


def test_names_from_a_run_are_text_and_never_markup(tmp_path: Path) -> None:
    evil = "<img src=x onerror=alert(1)>"
    path = begin(tmp_path / "run", evil)
    nodes = [NodeInfo(name=evil, role="storage", az=evil, rack=evil)]
    (path / "plan.json").write_bytes(
        msgspec.json.encode(Plan(playbook=evil, title=evil, nodes=nodes, start_boot_s=100))
    )
    told = [
        event(1, "fault", name=evil, fault_kind=evil, targets=[evil], state="injecting", detail=evil),
        event(2, "alarm", name=evil, az=evil, state="fired", shares=[0.1]),
        event(2, "note", text=evil),
        event(3, "node", node=evil, state="ended", detail=evil),
    ]
    with (path / "events.jsonl").open("ab") as file:
        file.writelines(msgspec.json.encode(line) + b"\n" for line in told)
    (path / "canaries").mkdir()
    odd = Probe(boot=101, az=evil, endpoint="u", endpoint_az=evil, op="get", key="k", outcome="ok", ms=1)
    (path / "canaries" / "a.jsonl").write_bytes(msgspec.json.encode(odd) + b"\n")
    with served(Source(tmp_path, path)) as url:
        text = get(f"{url}?token={TOKEN}")[1]
        assert "&lt;img" in text
        assert "<img" not in text
        data = json.loads(get(f"{url}state.json?token={TOKEN}")[1])
        assert data["schema"] == 1
        assert data["banner"]["word"] in ("Alarm", "No news")


def test_a_page_that_fails_says_so_and_recovers(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    with served(Source(run.path.parent, run.path)) as url:
        honest = view.page
        calls = iter([ZeroDivisionError("oops")])

        def broken(state: State, seen: view.Seen) -> dict[str, Any]:
            if state.plan is not None and (error := next(calls, None)) is not None:
                raise error
            return honest(state, seen)

        monkeypatch.setattr(view, "page", broken)
        words: list[str] = []
        while len(words) < 2 and (word := json.loads(get(f"{url}state.json?token={TOKEN}")[1])["banner"]["word"]):
            if word not in words[-1:]:
                words.append(word)
            if words[0] != "Page broken":
                words = []
        assert words[0] == "Page broken"


def test_the_stream_tells_changes_and_lives(run: RunDir, tmp_path: Path) -> None:
    path = moments.at(run.path, tmp_path / "live", 28)
    with served(Source(tmp_path, path)) as url:
        request = urllib.request.urlopen(f"{url}events?token={TOKEN}", timeout=10)

        def update() -> dict[str, Any]:
            while not (line := request.readline()).startswith(b"data:"):
                assert line.strip() == b""
            return dict(json.loads(line[5:]))

        first = update()
        assert set(first["panels"]) >= {"banner", "zones", "timeline", "details", "head", "steps"}
        fault = event(29, "fault", name="n", fault_kind="power-off", targets=["router-b"], state="injecting", detail="")
        with (path / "events.jsonl").open("ab") as file:
            file.write(msgspec.json.encode(fault | {"boot": run.start_boot_s + 29}) + b"\n")
        deadline = time.monotonic() + 10
        while "Fault in" not in (later := update())["panels"].get("banner", ""):
            assert time.monotonic() < deadline
        assert "head" not in later["panels"]
        request.close()
