"""Topologies: what is accepted, what is refused and where, and the address plan."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster import topology
from cluster.topology import ROLES, Topology, TopologyError


def test_small_is_what_the_issue_asks_for() -> None:
    small = topology.load("small")
    nodes = small.nodes()
    assert small.azs == ("a", "b", "c")
    assert [n.name for n in nodes if n.az == "a"] == [
        *("storage-a1", "router-a", "memds-a", "identity-a"),
        *("storage-a2", "autoadmin-a", "gac-a"),
    ]
    assert len(nodes) == 22
    assert nodes[-1] == ("archive", "archive", "", "", 240)
    assert sum(n.role == "storage" for n in nodes) == 6
    hosts = {n.name: n.host for n in nodes}
    assert (hosts["storage-a1"], hosts["storage-a2"], hosts["storage-b1"], hosts["storage-c2"]) == (16, 32, 80, 160)
    assert small.client_hosts("a") == range(64, 80)
    assert small.canary_hosts("a") == range(76, 80)
    assert small.disk_bytes("storage") == 512 << 20
    assert small.disk_bytes("router") is None


def test_every_shipped_topology_loads() -> None:
    for path in topology.DIRECTORY.glob("*.yaml"):
        assert topology.load(path).name == path.stem


@given(
    st.dictionaries(
        st.sampled_from("abc"),
        st.lists(st.dictionaries(st.sampled_from(ROLES), st.integers(0, 2), min_size=1), min_size=1, max_size=3),
        min_size=1,
    )
)
def test_names_and_addresses_never_collide(plan: dict[str, list[dict[str, int]]]) -> None:
    zones = {az: {f"{az}{n + 1}": dict(rack) for n, rack in enumerate(racks)} for az, racks in plan.items()}
    first = min(zones)
    zones[first][f"{first}1"]["storage"] = 1
    made = Topology(name="x", zones=zones)
    nodes = made.nodes()
    hosts = [n.host for n in nodes] + [host for az in made.azs for host in made.client_hosts(az)]
    assert len(set(hosts)) == len(hosts)
    assert all(1 < host < 255 for host in hosts)
    assert len({n.name for n in nodes}) == len(nodes)
    assert sorted(nodes) == sorted(made.nodes())


BAD = {
    "version: 2\nname: x\nzones: {a: {a1: {storage: 1}}}": "line 1: version",
    "name: x\nzones:\n  a:\n    b1: {storage: 1}": "must begin with its zone's letter",
    "name: x\nzones:\n  a:\n    a1: {storage: 1, oracle: 2}": "there is no role 'oracle'",
    "name: x\nzones:\n  a:\n    a1: {router: 1}": "there is no storage node",
    "name: x\nzones:\n  a:\n    a1: {storage: 17}": "line 4: zones.a.a1.storage",
    "name: x\nzones:\n  a: {a1: {storage: 1}}\n  b: {b1: {}}\n  c: {c1: {}}\n  d: {d1: {}}": "room for 1 to 3",
    "name: x\nname: y\nzones: {a: {a1: {storage: 1}}}": "line 2: 'name' is given twice",
    "name: x\nzones: {a: {a1: {storage: 1}}}\ntiming:\n  lease: soon": "line 4: timing.lease: 'soon' is not a duration",
    "name: x\nzones: {a: {a1: {storage: 1}}}\ntiming: {lease: 1s, renewal: 900ms}": "at most half of the lease",
    "name: x\nzones: {a: {a1: {storage: 1}}}\ndisks: {storage: big}": "'big' is not a size",
    "name: x\nzones: {a: {a1: {storage: 1}}}\nregional: {archive: 2}": "line 3: regional.archive",
    "name: x\nzones: {a: {a1: {storage: 1}}}\nregional: {router: 1}": "line 3: regional.router",
    "name: x\nzones: {a: {a1: {storage: 1}}}\narchive: {url: ftp://x/y}": "line 3: archive.url",
    "name: x\nzones: {a: {a1: {storage: 1}}}\nscrub: {rate: fast}": "'fast' is not a size",
    "name: x\nzones: {a: {a1: {storage: 1}}}\nzoo: 1": "line 3: zoo: unknown field",
    "- a\n- b": "a topology is a mapping",
    "": "a topology is a mapping",
    "name: [x\n": "not valid YAML",
    "a0: &a0 [x]\n" + "".join(f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 8)}]\n" for n in range(6)): "by aliases",
}


@pytest.mark.parametrize("text", BAD, ids=range(len(BAD)))
def test_what_is_wrong_is_named_with_its_line(text: str) -> None:
    with pytest.raises(TopologyError) as caught:
        topology.parse(text, "bad.yaml")
    assert BAD[text] in str(caught.value)
    assert str(caught.value).startswith("bad.yaml: ")
    assert caught.value.exit_code == 2


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(TopologyError) as caught:
        topology.parse("name: X!\nzones: {a: {a1: {storage: 1}}}\nregion: ''\nnonsense: 1\n")
    assert len(caught.value.problems) == 3


def test_a_topology_that_does_not_exist_names_those_that_do(tmp_path: Path) -> None:
    with pytest.raises(TopologyError, match=r"one of: .*small"):
        topology.load("smal")
    with pytest.raises(TopologyError, match="there is no such topology"):
        topology.load(tmp_path / "none.yaml")


def test_addresses_are_valid_in_a_slash_24() -> None:
    network = ipaddress.ip_network("198.18.7.0/24")
    assert all(network.network_address + n.host in network for n in topology.load("small").nodes())
