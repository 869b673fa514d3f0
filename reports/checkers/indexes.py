"""Indexes: once all is quiet, every secondary index holds exactly the projection of its table's items.

What should be there is worked out anew from the items, in the plainest way, with no code of the database's own. An item
that should be in an index and is not, one that should not be there, one with other contents, and two rows of one item
are told apart; the first of each index, by the item's key, is named.
"""

from __future__ import annotations

from base64 import b64decode
from typing import Any

from reports.checkers.evidence import FINDINGS_MAX, count
from reports.rundir import CheckResult, Finding, IndexDump, IndexRows, TableDump

NAME = "indexes"

HASH_BYTES_MAX, SORT_BYTES_MAX = 2048, 1024

Item = dict[str, Any]
Key = tuple[str, ...]


def check(rows: IndexRows | None) -> CheckResult:
    """Compare the dumps of ``indexes.json``; skipped where no table has an index."""
    if rows is None:
        return CheckResult(name=NAME, result="skipped", why="no index was read: the run did not come that far")
    if rows.error:
        return CheckResult(name=NAME, result="unknown", why=f"the indexes could not be read: {rows.error}")
    if not rows.tables:
        return CheckResult(name=NAME, result="skipped", why="no table of this run has a secondary index")
    findings: list[Finding] = []
    doubts: list[str] = []
    looked_at = 0
    for table in rows.tables:
        if table.error:
            doubts.append(f"table {table.name}: {table.error}")
            continue
        if table.waiting:
            changes = count(table.waiting, "index change was", "index changes were")
            doubts.append(f"table {table.name}: {changes} still on the way when all should have been quiet")
        for index in table.indexes:
            looked_at += len(index.items)
            if index.error:
                doubts.append(f"index {table.name}/{index.name}: {index.error}")
            else:
                findings += _compare(table, index)
    if findings:
        why = f"{count(len(findings), 'item is', 'items are')} wrong in an index: {findings[0]['what']}"
        return CheckResult(
            name=NAME, result="failed", looked_at=looked_at, findings=findings[:FINDINGS_MAX], found=len(findings),
            why=why,
        )  # fmt: skip
    if doubts:
        return CheckResult(name=NAME, result="unknown", looked_at=looked_at, why="; ".join(doubts[:3]))
    names = ", ".join(f"{table.name}/{index.name}" for table in rows.tables for index in table.indexes)
    why = f"{looked_at} rows of {names} are what the tables' items say"
    return CheckResult(name=NAME, result="ok", looked_at=looked_at, why=why)


def _compare(table: TableDump, index: IndexDump) -> list[Finding]:
    """What differs in one index, by the items' keys."""
    expected: dict[Key, Item] = {}
    for item in table.items:
        shown = _shown(table, index, item)
        if shown is not None:
            expected[_key(table, item)] = shown
    found: dict[Key, Item] = {}
    findings: list[Finding] = []
    for item in index.items:
        key = _key(table, item)
        if key in found:
            findings.append(_finding(table, index, key, "has two rows", found[key], item))
        found[key] = item
    for key in sorted(expected.keys() | found.keys()):
        wanted, got = expected.get(key), found.get(key)
        if got is None:
            findings.append(_finding(table, index, key, "is missing", wanted, got))
        elif wanted is None:
            findings.append(_finding(table, index, key, "should not be there", wanted, got))
        elif wanted != got:
            names = sorted(name for name in wanted.keys() | got.keys() if wanted.get(name) != got.get(name))
            findings.append(_finding(table, index, key, f"differs in {', '.join(names[:3])}", wanted, got))
    return findings


def _shown(table: TableDump, index: IndexDump, item: Item) -> Item | None:
    """What an index shows of an item; None where the item has no place in it."""
    for names, limit in ((index.hash, HASH_BYTES_MAX), (index.sort, SORT_BYTES_MAX)):
        size = 0
        for name in names:
            kind = table.types[name]
            text = item.get(name, {}).get(kind)
            if not text:
                return None
            size += {"S": len(text.encode()), "B": len(b64decode(text)) if kind == "B" else 0, "N": 0}[kind]
        if size > limit:
            return None
    if index.projection == "ALL":
        return item
    names = [*table.key, *index.hash, *index.sort, *(index.include if index.projection == "INCLUDE" else [])]
    return {name: item[name] for name in names if name in item}


def _key(table: TableDump, item: Item) -> Key:
    return tuple(str(next(iter(item[name].values()))) if name in item else "?" for name in table.key)


def _finding(table: TableDump, index: IndexDump, key: Key, how: str, wanted: Item | None, got: Item | None) -> Finding:
    name = f"{table.name}/{index.name}"
    return {
        "what": f"in index {name}, item {', '.join(key)} {how}",
        "table": table.name,
        "index": index.name,
        "key": list(key),
        "expected": wanted,
        "found": got,
    }
