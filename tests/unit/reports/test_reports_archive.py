"""The checks over scrub.json: archive_agrees, and what nodes mended by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cluster.core.keys import KeyAttribute, KeySchema, encode_key
from reports import wording
from reports.checkers import archive_agrees, replicas_agree
from reports.render.scrubbed import scrubbed
from reports.rundir import NodeInfo, RunDir, Scrub, ScrubDisk, ScrubGroup, ScrubReference, ScrubReplica


def group(reference: ScrubReference | None, *, odd: bool = False, **more: Any) -> ScrubGroup:
    replicas = [
        ScrubReplica(replica=str(n), node=f"storage-{az}1", az=az, digest="good", items=4, slot=9)
        for n, az in enumerate("abc", 1)
    ]
    if odd:
        replicas[2] = ScrubReplica(
            replica="3", node="storage-c1", az="c", digest="bad", items=3, slot=9, start="40", end="50", key="4711",
            difference="missing",
        )  # fmt: skip
    return ScrubGroup(group="g", table="load", partition=1, slot=9, replicas=replicas, reference=reference, **more)


GOOD = ScrubReference(digest="good", items=4, segments=3, archived_bytes=900)


def check(*groups: ScrubGroup, background: list[dict[str, Any]] | None = None, expected: bool = True) -> Any:
    return archive_agrees.check(
        Scrub(groups=list(groups), archived=True, background=background or []), expected=expected
    )


def test_without_an_archive_it_is_skipped_and_without_a_scrub_unknown() -> None:
    assert archive_agrees.check(None, expected=False).result == "skipped"
    assert archive_agrees.check(Scrub(groups=[group(None)]), expected=False).result == "skipped"
    assert archive_agrees.check(None, expected=True).result == "unknown"
    assert archive_agrees.check(Scrub(), expected=True).result == "unknown"


def test_a_copy_that_equals_all_replicas_is_ok() -> None:
    result = check(group(GOOD), group(GOOD))
    assert (result.result, result.looked_at) == ("ok", 6)
    assert "2 partitions rebuilt from 6 segments" in result.why


def test_a_replica_that_differs_is_named_with_its_first_item() -> None:
    result = check(group(GOOD, odd=True))
    assert (result.result, result.found) == ("failed", 1)
    assert "storage-c1 holds 3 items" in result.why
    assert "the first is 4711 (missing)" in result.why
    assert (result.findings[0]["node"], result.findings[0]["key"]) == ("storage-c1", "4711")


def test_all_three_can_be_wrong_alike() -> None:
    result = check(group(ScrubReference(digest="what the log says", items=5, segments=3)))
    assert (result.result, result.found) == ("failed", 3)


def test_a_hole_is_a_failure_but_lateness_and_silence_prove_nothing() -> None:
    hole = ["segment 30: it begins at slot 30, but the archive ends at 19: a hole"]
    assert check(group(ScrubReference(problems=hole, segments=2))).result == "failed"
    late = ["the archive's segments end at slot 19, not at 30"]
    assert check(group(ScrubReference(problems=late))).result == "unknown"
    assert check(group(ScrubReference(problems=late + hole))).result == "failed"
    away = ["the archive cannot be read: list c/t/g: no answer"]
    assert check(group(ScrubReference(problems=away))).result == "unknown"
    assert check(group(None, error="no leader")).result == "unknown"


def test_what_an_image_bridges_is_told() -> None:
    result = check(group(ScrubReference(digest="good", items=4, segments=2, bridged=[(20, 90)])))
    assert result.result == "ok"
    assert "slots 20 to 90 stand as an image only" in result.why


def test_what_agents_said_during_the_run_counts() -> None:
    said = {"event": "archive-disagrees", "node": "storage-b1", "group": "g", "first": 40, "slot": 44}
    result = check(group(GOOD), background=[said])
    assert result.result == "failed"
    assert "storage-b1's log of g differs from what is archived, first at slot 44" in result.why
    refused = {"event": "archive-refused", "node": "storage-b1", "group": "g", "first": 40, "why": ["a hole"]}
    assert check(group(GOOD), background=[refused]).result == "failed"
    assert check(group(GOOD), background=[{"event": "healed", "group": "g"}]).result == "ok"


def test_the_scrub_does_not_hide_what_it_mended() -> None:
    """A replica that differed and was healed before the end of the run differed all the same, unless its disk was
    damaged on purpose."""
    told = {"event": "replica-damage", "node": "storage-a1", "node_damaged": "storage-c1", "group": "g", "slot": 5,
            "key": "4711", "detail": "different"}  # fmt: skip
    scrub = Scrub(groups=[group(GOOD)], background=[told, {"event": "healed", "group": "g"}])
    result = replicas_agree.check(scrub)
    assert result.result == "failed"
    assert "storage-c1 held something else of g at slot 5" in result.why
    assert replicas_agree.check(scrub, frozenset({"storage-c1"})).result == "ok"
    unsettled = Scrub(groups=[group(GOOD)], background=[{"event": "scrub-unsettled", "group": "g", "slot": 5}])
    assert replicas_agree.check(unsettled).result == "failed"


def test_the_report_shows_every_copy_of_every_partition(tmp_path: Path) -> None:
    run = RunDir.create(tmp_path, "scrubbed", 1)
    assert scrubbed(run) is None
    told = {"event": "replica-damage", "node": "storage-a1", "node_damaged": "storage-c1", "group": "g", "slot": 5}
    disks = [ScrubDisk(node="storage-a1", bytes=3_000_000, seconds=0.1), ScrubDisk(node="storage-b1", error="silent")]
    run.write_scrub(Scrub(groups=[group(GOOD, odd=True), group(None)], disks=disks, background=[told]))
    shown = scrubbed(run)
    assert shown is not None
    first, second = shown.rows
    assert [cell.tone for cell in first.cells] == ["ok", "ok", "failed"]
    assert "first at 4711 (missing)" in first.cells[2].text
    assert (first.archive.tone, second.archive.tone) == ("ok", "skipped")
    assert shown.disks == "1 disks read past their caches, 3.0 MB, 0 bad places; no answer from storage-b1"
    assert shown.notes == ("storage-a1 found storage-c1 to differ in g at slot 5",)
    run.scrub.write_text("{")
    assert scrubbed(run) is None


def test_what_stands_in_no_zone_is_called_by_its_name() -> None:
    nodes = [NodeInfo(name=f"storage-{az}1", role="storage", az=az, rack=f"{az}1") for az in "abc"]
    nodes.append(NodeInfo(name="archive", role="archive", az=""))
    assert wording.place(["archive"], nodes) == "archive"
    assert wording.place(["storage-a1"], nodes) == "zone a"
    assert wording.place([node.name for node in nodes], nodes) == "all zones"
    assert wording.place(["storage-a1", "archive"], nodes) == "storage-a1, archive"


def test_a_key_is_told_by_its_attributes_and_what_is_no_items_key_as_it_is() -> None:
    schema = KeySchema(KeyAttribute("pk", "S"), KeyAttribute("sk", "N"))
    key = encode_key(schema, {"pk": {"S": "user-17"}, "sk": {"N": "-2.50"}}).hex()
    assert wording.key_in_words(key) == '"user-17", -2.5'
    assert wording.key_in_words("4711") == "4711"
    assert wording.key_in_words("no hex") == "no hex"
