"""What `cluster status` tells of replication groups."""

from __future__ import annotations

from typing import Any

from chaos.commands.cluster import who_leads


def node(name: str, *replicas: tuple[str, str, bool]) -> dict[str, Any]:
    told = [{"group": group, "table": table, "leader": leads} for group, table, leads in replicas]
    return {"name": name, "replicas": told}


def test_groups_are_told_with_their_table_and_their_leader() -> None:
    rows = [
        node("storage-a1", ("f0-000", "orders", True), ("0a-000", "users", False)),
        node("storage-b1", ("f0-000", "orders", False), ("0a-000", "users", False)),
        node("autoadmin-a", ("system", "system", True)),
    ]
    assert who_leads(rows).splitlines() == [
        "f0-000  of orders  led by storage-a1",
        "system  led by autoadmin-a",
        "0a-000  of users  [red]has no leader[/]",
    ]


def test_no_name_of_a_table_is_taken_for_markup() -> None:
    assert "of \\[red]" in who_leads([node("storage-a1", ("g", "[red]", True))])
