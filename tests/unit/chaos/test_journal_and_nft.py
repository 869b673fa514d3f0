"""The journal, the text of nft transactions, and healing: with a cluster that only remembers what was asked of it."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from chaos import nft
from chaos.errors import PlatformError
from chaos.faults import FAULTS, fault_of
from chaos.faults.base import Spec
from chaos.faults.partition import inside
from chaos.healing import heal_all
from chaos.journal import Entry, Journal, boot_s, host_boot_id


def entry(name: str = "f0", kind: str = "partition", **changes: Any) -> Entry:
    made = Entry(
        id=name,
        cluster="bs123456",
        runtime="local",
        kind=kind,
        name="a cut",
        targets=("storage-a1",),
        undo={"table": "bs123456_f0", "pairs": [["198.18.0.16", "198.18.0.80"]]},
        lease_s=15.0,
        expires_boot_s=boot_s() + 15,
        boot_id=host_boot_id(),
        created_wall_s=1.0,
    )
    return replace(made, **changes)


class Host:
    """Remembers every operation; fails those it is told to."""

    def __init__(self, fail: tuple[str, ...] = ()) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.fail = fail

    def call(self, operation: str, /, **args: Any) -> Any:
        self.calls.append((operation, args))
        if operation in self.fail:
            raise RuntimeError(f"{operation} does not work here")
        return ""


def cluster(host: Host) -> Any:
    return SimpleNamespace(id="bs123456", host=host, nodes={})


def test_an_entry_reads_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert journal.entries() == []
    made = entry()
    journal.write(made)
    assert journal.entries() == [made]
    journal.remove("f0")
    journal.remove("f0")
    assert journal.entries() == []


def test_a_renewed_entry_expires_later_and_a_healed_one_does_not_come_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    made = entry(expires_boot_s=boot_s() - 1)
    assert made.expired(boot_s())
    journal.write(made)
    journal.renew(made, boot_s())
    assert not journal.entries()[0].expired(boot_s())
    journal.remove("f0")
    journal.renew(made, boot_s())
    assert journal.entries() == []


def test_a_reboot_of_the_host_ends_every_lease() -> None:
    assert entry(boot_id="another boot").expired(0.0)


def test_a_journal_that_cannot_be_read_is_no_empty_journal(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write(entry())
    journal.path("f0").write_text('{"schema": 1, "id"')
    with pytest.raises(PlatformError, match="cannot be read"):
        journal.entries()
    journal.path("f0").write_text(json.dumps({"schema": 2}))
    with pytest.raises(PlatformError, match="another version"):
        journal.entries()


def test_healing_is_last_in_first_out_and_idempotent(tmp_path: Path) -> None:
    journal, host = Journal(tmp_path), Host()
    for number in range(3):
        undo = {"table": f"bs123456_f{number}", "pairs": []}
        journal.write(entry(f"f{number}", created_wall_s=float(number), undo=undo))
    healed = heal_all(cluster(host), journal)
    assert [one.entry.id for one in healed] == ["f2", "f1", "f0"]
    assert all(one.error is None for one in healed)
    assert heal_all(cluster(host), journal) == []


def test_what_cannot_be_undone_is_named_and_stays(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write(entry())
    healed = heal_all(cluster(Host(fail=("nft",))), journal)
    assert healed[0].error == "RuntimeError: nft does not work here"
    assert [one.id for one in journal.entries()] == ["f0"]
    journal.write(entry(kind="meteorite"))
    assert "there is no fault 'meteorite'" in str(heal_all(cluster(Host()), journal)[0].error)


def test_only_expired_entries_are_reaped(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write(entry("f0"))
    journal.write(entry("f1", expires_boot_s=boot_s() - 0.1))
    assert [one.entry.id for one in heal_all(cluster(Host()), journal, expired_only=True)] == ["f1"]


def test_two_healers_never_undo_the_same_fault(tmp_path: Path) -> None:
    journal, host = Journal(tmp_path), Host()
    journal.write(entry())
    threads = [threading.Thread(target=heal_all, args=(cluster(host), journal)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([name for name, _ in host.calls if name == "nft"]) == 1


def test_tables_are_named_after_cluster_and_fault_and_nothing_else_fits() -> None:
    assert nft.table_name("bs12ab34", "f0") == "bs12ab34_f0"
    for cluster_id, fault in (("bs12ab3", "f0"), ("bs12ab34", "f0; flush ruleset"), ("bs12ab34", "")):
        with pytest.raises(ValueError, match="cannot name"):
            nft.table_name(cluster_id, fault)


def test_a_cut_lists_ordered_pairs_that_expire() -> None:
    text = nft.cut_pairs("bs123456_f0", [("10.0.0.2", "10.0.0.1")], 14.2)
    assert "10.0.0.2 . 10.0.0.1 timeout 15s" in text
    assert "10.0.0.1 . 10.0.0.2" not in text
    assert text.count("hook") == 1, "a cut between nodes must not touch the host's own way to them"


def test_silence_is_complete() -> None:
    text = nft.silence("bs123456_f0", ["10.0.0.1"], 15)
    for hook in ("forward", "input", "output"):
        assert f"hook {hook} " in text
    for match in ("ip saddr", "ip daddr", "arp saddr ip", "arp daddr ip"):
        assert text.count(f"{match} @dark") == 3


def test_counters_are_summed() -> None:
    listing = {
        "nftables": [
            {"metainfo": {}},
            {"rule": {"expr": [{"match": {}}, {"counter": {"packets": 3, "bytes": 9}}, {"drop": None}]}},
            {"rule": {"expr": [{"counter": {"packets": 4, "bytes": 9}}]}},
        ]
    }
    assert nft.packets_dropped(json.dumps(listing)) == 7


def test_every_fault_is_known_by_its_kind() -> None:
    assert {kind: fault.kind for kind, fault in FAULTS.items()} == {kind: kind for kind in FAULTS}
    with pytest.raises(PlatformError, match="there is no fault 'flood'"):
        fault_of("flood")


def test_new_only_stops_what_begins_a_connection() -> None:
    pairs = [("10.0.0.1", "10.0.0.2")]
    assert nft.NEW_ONLY in nft.cut_pairs("bs123456_f0", pairs, 15, new_only=True)
    assert nft.NEW_ONLY not in nft.cut_pairs("bs123456_f0", pairs, 15)


def test_resets_leave_loopback_and_resets_alone() -> None:
    text = nft.reset_inside("bs123456_f0", [("10.0.0.1", "10.0.0.2")], [], 15)
    assert "hook input" in text
    assert "hook output" not in text
    assert text.index('iifname "lo" accept') < text.index("tcp flags & rst == rst accept") < text.index("reject")
    assert "table bridge" not in text


def zoned(host: Host) -> Any:
    """Two zones, one of two nodes, one of one, and a node of none; every zone has two addresses for canaries."""
    places = {"x1": ("x", 1), "x2": ("x", 2), "y1": ("y", 3), "store": ("", 4)}
    nodes = {
        name: SimpleNamespace(name=name, az=az, address=f"10.0.0.{at}", pid=lambda: None, process=lambda: None)
        for name, (az, at) in places.items()
    }
    own = {"x": ("10.0.0.98", "10.0.0.99"), "y": ("10.0.0.108", "10.0.0.109")}
    return SimpleNamespace(
        id="bs123456", host=host, nodes=nodes, canary_addresses=own.__getitem__, kill=lambda names: None
    )


@pytest.mark.parametrize(
    ("targets", "canaries"),
    [
        (("x1",), {}),
        (("x1", "store"), {}),
        (("x1", "x2"), {"x": ["10.0.0.98", "10.0.0.99"]}),
        (("x1", "x2", "y1"), {"x": ["10.0.0.98", "10.0.0.99"], "y": ["10.0.0.108", "10.0.0.109"]}),
    ],
)
def test_a_zone_that_goes_dark_whole_takes_its_canaries_path_along(
    targets: tuple[str, ...], canaries: dict[str, list[str]]
) -> None:
    host = Host()
    made, fault = zoned(host), fault_of("power-off")
    spec = Spec("dark", targets, {"unsynced": "keep"})
    undo = fault.undo(made, "f0", spec)
    assert undo["canaries"] == canaries
    expected = [made.nodes[name].address for name in targets] + [it for own in canaries.values() for it in own]
    assert undo["addresses"] == expected
    detail = fault.inject(made, entry(kind="power-off", undo=undo), spec)
    assert detail.endswith(f"; no path for the canaries of zone {', '.join(canaries)}") == bool(canaries)
    fault.renew(made, entry(kind="power-off", undo=undo))
    cut, renewed = (args["text"] for operation, args in host.calls if operation == "nft")
    assert all(f"{address} timeout" in text for address in expected for text in (cut, renewed))
    assert "10.0.0.4 timeout" not in cut or "store" in targets


def test_a_reset_is_made_in_the_nodes_at_either_end_and_never_in_a_client() -> None:
    nodes = {name: SimpleNamespace(address=f"10.0.0.{at}") for at, name in enumerate(("x", "y"), 1)}
    made = SimpleNamespace(nodes=nodes, client_addresses=lambda az: ("10.0.0.8", "10.0.0.9"))
    pairs = frozenset({("x", "y"), ("x", "client-a"), ("client-a", "x")})
    found = inside(made, Spec("cut", ("x",), {"how": "reset"}, pairs))  # type: ignore[arg-type]
    assert found["y"] == {"arriving": [["10.0.0.1", "10.0.0.2"]], "leaving": []}
    assert found["x"]["arriving"] == [["10.0.0.8", "10.0.0.1"], ["10.0.0.9", "10.0.0.1"]]
    assert found["x"]["leaving"] == [["10.0.0.1", "10.0.0.8"], ["10.0.0.1", "10.0.0.9"]]
    assert set(found) == {"x", "y"}
