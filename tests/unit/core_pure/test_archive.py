"""Archived segments: cut alike by everybody, damaged nowhere unseen, chained without holes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.core import archive
from cluster.core.archive import ORIGIN, Cutter, Damaged, Manifest, Place, Tip
from cluster.core.ballot import Ballot
from cluster.core.messages import CONFIG, DATA, NOOP, Entry

PLACE = Place("bs000001", "load", "g-1", b"\x40", b"\x80")
WALL_MS = 1_767_225_600_000


def entry(slot: int, payload: bytes = b"payload", kind: int = DATA, ballot: int = 3) -> Entry:
    return Entry(slot, Ballot(ballot, 1), kind, payload)


def log(first: int, last: int, ballot: int = 3) -> list[Entry]:
    kinds = (NOOP, DATA, DATA, CONFIG)
    return [entry(slot, b"%d" % slot, kinds[slot % 4], ballot) for slot in range(first, last + 1)]


def chain(*ends: int, ballot: int = 3) -> tuple[list[Manifest], dict[str, bytes]]:
    """Segments that end at these slots."""
    tip, manifests, stored = ORIGIN, [], {}
    for last in ends:
        manifest, data = archive.seal(PLACE, tip, log(tip.last + 1, last, ballot), WALL_MS, WALL_MS + 5)
        manifests.append(manifest)
        stored[archive.object_name(PLACE, manifest.first, "log")] = data
        tip = archive.tip_after(manifest)
    return manifests, stored


entries = st.lists(
    st.tuples(st.sampled_from((NOOP, DATA, CONFIG)), st.binary(max_size=60)), min_size=1, max_size=20
).map(lambda values: [Entry(slot, Ballot(2, 1), kind, payload) for slot, (kind, payload) in enumerate(values, 1)])


@given(entries)
def test_a_segment_comes_back_as_it_was(values: list[Entry]) -> None:
    assert archive.decode(archive.encode(values)) == values


@given(entries, st.data())
def test_any_one_damaged_byte_is_found(values: list[Entry], data: st.DataObject) -> None:
    manifest, stored = archive.seal(PLACE, ORIGIN, values, 0, 0)
    assert archive.check_segment(PLACE, ORIGIN, manifest, stored) == []
    at = data.draw(st.integers(0, len(stored) - 1))
    bad = stored[:at] + bytes([stored[at] ^ data.draw(st.integers(1, 255))]) + stored[at + 1 :]
    assert archive.check_segment(PLACE, ORIGIN, manifest, bad)
    assert archive.check_segment(PLACE, ORIGIN, manifest, stored[:at])


@given(st.binary(max_size=300))
def test_nothing_but_a_segment_or_a_manifest_is_read(data: bytes) -> None:
    if not data.startswith(archive.MAGIC):
        with pytest.raises(Damaged):
            archive.decode(data)
    with pytest.raises(Damaged):
        archive.decode_manifest(data)


@given(st.data())
def test_any_one_damaged_byte_of_a_manifest_is_found(data: st.DataObject) -> None:
    (manifest,), _ = chain(9)
    text = archive.encode_manifest(manifest)
    assert archive.decode_manifest(text) == manifest
    at = data.draw(st.integers(0, len(text) - 2))  # the last byte is the line's end
    bad = text[:at] + bytes([text[at] ^ data.draw(st.integers(1, 255))]) + text[at + 1 :]
    try:
        read = archive.decode_manifest(bad)
    except Damaged:
        return
    assert read == manifest  # white space, or an escape that says the same


@given(
    st.lists(st.tuples(st.integers(0, 400_000), st.integers(0, 4000), st.booleans()), max_size=60), st.integers(1, 60)
)
def test_where_a_segment_ends_does_not_depend_on_who_cuts_or_when(
    said: list[tuple[int, int, bool]], pause: int
) -> None:
    """Two agents that look at the log at different moments cut the same segments."""
    values = [(entry(slot, bytes(size)), WALL_MS + at, barrier) for slot, (size, at, barrier) in enumerate(said, 1)]

    def cut(pieces: list[list[tuple[Entry, int, bool]]]) -> list[int]:
        ends, cutter = [], Cutter(1)
        for value, wall_ms, barrier in (item for piece in pieces for item in piece):
            if cutter.ends(value, wall_ms, barrier):
                ends.append(value.slot)
                cutter = Cutter(value.slot + 1)
        return ends

    assert cut([values]) == cut([values[:pause], values[pause:]])
    assert all(slot in cut([values]) for slot, (_, _, barrier) in enumerate(said, 1) if barrier)


def test_a_segment_ends_by_bytes_by_count_by_time_and_at_a_barrier() -> None:
    assert Cutter(1).ends(entry(1, bytes(archive.SEGMENT_BYTES)), WALL_MS, False)
    many = Cutter(1)
    assert [slot for slot in range(1, archive.SEGMENT_SLOTS + 1) if many.ends(entry(slot, b""), 0, False)] == [
        archive.SEGMENT_SLOTS
    ]
    late = Cutter(1)
    assert not late.ends(entry(1), WALL_MS, False)
    assert not late.ends(entry(2), WALL_MS + archive.SEGMENT_SPAN_MS - 1, False)
    assert late.ends(entry(3), WALL_MS + archive.SEGMENT_SPAN_MS, False)
    assert Cutter(1).ends(entry(1), WALL_MS, True)
    with pytest.raises(ValueError, match="slot 3 where 1"):
        Cutter(1).ends(entry(3), 0, False)


def test_two_uploads_of_a_segment_that_cross_are_sound_together() -> None:
    """Two replicas upload at once, and each of them puts its bytes, then its manifest: what stays may be of both."""
    mine, bytes_of_mine = archive.seal(PLACE, ORIGIN, log(1, 9, ballot=3), WALL_MS, WALL_MS + 5)
    _, bytes_of_another = archive.seal(PLACE, ORIGIN, log(1, 9, ballot=4), WALL_MS, WALL_MS + 5)
    assert bytes_of_mine != bytes_of_another
    assert archive.read_segment(mine, bytes_of_another) == log(1, 9, ballot=4)
    assert archive.check_segment(PLACE, ORIGIN, mine, bytes_of_another) == []
    _, bytes_of_other_entries = archive.seal(PLACE, ORIGIN, log(1, 8), WALL_MS, WALL_MS + 5)
    with pytest.raises(Damaged, match="not those that its manifest sums up"):
        archive.read_segment(mine, bytes_of_other_entries)


def test_ballots_are_recorded_and_not_compared() -> None:
    (one,), stored = chain(8, ballot=3)
    (two,), other = chain(8, ballot=7)
    assert one.identity == two.identity
    assert one != two
    assert archive.differing(*(archive.decode(data) for held in (stored, other) for data in held.values())) is None


WRONG = {
    "another group": (lambda m: m._replace(group="g-2"), "not of load/g-1"),
    "another table": (lambda m: m._replace(table="other"), "not of load/g-1"),
    "another range": (lambda m: m._replace(end="ff"), "another range of keys"),
    "a hole before it": (lambda m: m._replace(first=m.first + 1), "a hole"),
    "too few entries": (lambda m: m._replace(entries=m.entries - 1), "each once"),
    "backwards": (lambda m: m._replace(last=m.first - 1), "before it begins"),
    "other contents": (lambda m: m._replace(content="0" * 64), "not those that its manifest sums up"),
    "another history": (lambda m: m._replace(chain="0" * 64), "another history"),
}


@pytest.mark.parametrize("name", WRONG)
def test_before_an_upload_what_does_not_belong_is_refused(name: str) -> None:
    change, why = WRONG[name]
    (first, second), stored = chain(10, 20)
    data = stored[archive.object_name(PLACE, 11, "log")]
    assert archive.check_segment(PLACE, archive.tip_after(first), second, data) == []
    assert any(why in wrong for wrong in archive.check_segment(PLACE, archive.tip_after(first), change(second), data))


def test_a_rebuild_takes_every_segment_up_to_its_position() -> None:
    manifests, _ = chain(10, 20, 30)
    planned = archive.plan_rebuild(PLACE, manifests[::-1], 20)
    assert planned == (None, tuple(manifests[:2]), Tip(20, manifests[1].chain), (), ())
    assert archive.plan_rebuild(PLACE, manifests, 25).problems == ("the archive's segments end at slot 30, not at 25",)


@pytest.mark.parametrize("gone", [0, 1])
def test_a_dropped_segment_is_a_hole(gone: int) -> None:
    manifests, _ = chain(10, 20, 30)
    left = [manifest for at, manifest in enumerate(manifests) if at != gone]
    problems = archive.plan_rebuild(PLACE, left, 30).problems
    assert any("a hole" in problem for problem in problems)


def test_a_chain_goes_on_after_a_hole_with_an_image_and_says_so() -> None:
    (first, second, third), _ = chain(10, 20, 30)
    tip = archive.tip_after(first)
    part = archive.image_part(0, archive.encode_rows([(b"\x41", b"row")]))
    image = archive.image_manifest(PLACE, tip, 20, 1, [part])
    after, _ = archive.seal(PLACE, archive.tip_after(image), log(21, 30), 0, 0)
    planned = archive.plan_rebuild(PLACE, [first, image, after], 30)
    assert (planned.base, planned.segments, planned.bridged, planned.problems) == (image, (after,), ((11, 20),), ())
    # What followed the log that was lost does not follow the image.
    assert archive.plan_rebuild(PLACE, [first, image, third], 30).problems
    assert archive.decode_manifest(archive.encode_manifest(image)) == image
    assert second.chain != image.chain


def test_segments_that_came_into_a_hole_after_all_leave_the_image_as_it_is() -> None:
    """Explored seed 3014: a follower had the log, and uploaded it as its leader began the chain anew."""
    (first, second, third), _ = chain(10, 20, 30)
    part = archive.image_part(0, archive.encode_rows([(b"\x41", b"row")]))
    image = archive.image_manifest(PLACE, archive.tip_after(first), 25, 1, [part])
    after, _ = archive.seal(PLACE, archive.tip_after(image), log(26, 40), WALL_MS, WALL_MS)
    planned = archive.plan_rebuild(PLACE, [first, second, third, image, after], 40)
    assert (planned.base, planned.segments, planned.problems) == (image, (after,), ())
    assert archive.plan_rebuild(PLACE, [first, second, third, image, after], 20).segments == (first, second)
    stranger = archive.image_manifest(PLACE, Tip(10, "another history"), 25, 1, [part])
    assert any("another history" in each for each in archive.plan_rebuild(PLACE, [first, stranger], 25).problems)


def test_two_logs_that_differ_are_told_apart_at_the_first_slot() -> None:
    ours = log(1, 9)
    assert archive.differing(ours, [*ours[:4], entry(5, b"other"), *ours[5:]]) == 5
    assert archive.differing(ours, ours[:7]) == 8
    assert archive.differing(ours, ours) is None


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=9), st.binary(max_size=40)), max_size=9), st.data())
def test_rows_of_an_image_come_back_or_are_refused(rows: list[tuple[bytes, bytes]], data: st.DataObject) -> None:
    packed = archive.encode_rows(rows)
    assert archive.decode_rows(packed) == rows
    cut = packed[: data.draw(st.integers(0, len(packed)))]
    try:
        assert archive.decode_rows(cut) == rows[: len(archive.decode_rows(cut))]
    except Damaged:
        pass


def test_names_sort_by_position_and_stay_in_one_directory() -> None:
    place = PLACE._replace(table="orders/by-date")
    names = [archive.manifest_name(place, first) for first in (1, 9, 10, 123456)]
    assert names == sorted(names)
    assert [archive.first_of(name) for name in names] == [1, 9, 10, 123456]
    assert {name.count("/") for name in names} == {3}
