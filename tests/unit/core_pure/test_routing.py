"""The routing map: floor lookups, versions, and whose word counts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cluster.core.routing import MemberView, Partition, RoutingMap, Standing, Table

MEMBERS = tuple(MemberView(n, f"storage-{z}1", z, f"{z}1", "voter") for n, z in enumerate("abc", start=1))


def table(name: str, starts: list[bytes], status: str = "ACTIVE") -> Table:
    ends = [*starts[1:], b""]
    parts = tuple(Partition(f"{name}-{n}", s, e, MEMBERS) for n, (s, e) in enumerate(zip(starts, ends, strict=True)))
    return Table(name, f"id-{name}", status, b"{}", parts)


def test_an_older_map_is_refused() -> None:
    routing = RoutingMap()
    assert routing.install(4, [table("t", [b""])])
    assert not routing.install(3, [])
    assert not routing.install(4, [])
    assert "t" in routing.tables


def test_the_highest_ballot_is_believed_whatever_the_order() -> None:
    routing = RoutingMap()
    routing.observe("t-0", Standing(2, 1, 0, "storage-b1", MEMBERS))
    assert not routing.observe("t-0", Standing(1, 9, 50, "storage-a1", MEMBERS))
    routing.install(1, [table("t", [b""])])
    route = routing.route("t", b"key")
    assert route is not None
    assert route.leader == "storage-b1"
    assert route.nodes[0] == "storage-b1"
    assert routing.observe("t-0", Standing(2, 1, 7, "", MEMBERS)), "a later configuration of the same ballot is newer"


def test_unknown_tables_have_no_route() -> None:
    routing = RoutingMap()
    assert routing.route("t", b"key") is None
    routing.install(1, [table("t", [b""])])
    routing.install(2, [])
    assert routing.route("t", b"key") is None


@given(st.lists(st.binary(min_size=1, max_size=4), max_size=12, unique=True), st.binary(max_size=5))
def test_floor_is_the_partition_that_a_linear_search_finds(cuts: list[bytes], key: bytes) -> None:
    starts = [b"", *sorted(cuts)]
    routing = RoutingMap()
    routing.install(1, [table("t", starts)])
    found = routing.floor("t", key)
    assert found is not None
    assert found.start <= key
    assert not found.end or key < found.end
