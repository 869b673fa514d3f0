"""Parts of an item: projection expressions, and what UPDATED_OLD and UPDATED_NEW return."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cluster.core.expressions.parser import parse_projection
from cluster.core.expressions.scope import ClauseLike, Parts, resolve
from cluster.core.items import Item, Value

Tree = dict[Any, Any]
"""Path part to subtree; an empty subtree means the whole value."""


def project(clause: ClauseLike, item: Item) -> Item:
    """The attributes a projection names; those the item lacks are left out."""
    return pick([resolve(path, clause.names) for path in parse_projection(clause.text).paths], item)


def pick(paths: Iterable[Parts], item: Item) -> Item:
    """The values at some paths, inside the maps and lists that hold them; a list keeps only the named elements, in
    order."""
    tree: Tree = {}
    for parts in paths:
        branch = tree
        for part in parts:
            branch = branch.setdefault(part, {})
    return {
        name: found
        for name, branch in tree.items()
        if name in item and (found := _part(item[name], branch)) is not None
    }


def _part(value: Value, tree: Tree) -> Value | None:
    if not tree:
        return value
    members = value.get("M")
    if members is not None:
        kept = {
            name: found
            for name, branch in tree.items()
            if name in members and (found := _part(members[name], branch)) is not None
        }
        return {"M": kept} if kept else None
    elements = value.get("L")
    if elements is None:
        return None
    indexes = sorted(index for index in tree if isinstance(index, int) and index < len(elements))
    found_elements = [found for index in indexes if (found := _part(elements[index], tree[index])) is not None]
    return {"L": found_elements} if found_elements else None
