"""ItemCount and the sizes of tables and indexes: counted where the rows are, shown by whoever acts as control plane."""

from __future__ import annotations

from typing import Any

from cluster.core.indexes import global_key, local_key
from cluster.core.items import image_body, image_size
from cluster.core.keys import encode_key
from cluster.core.shape import global_indexes, index_table, key_of, local_indexes, types_of
from cluster.core.side import is_side
from cluster.node.config import Scrub
from cluster.wire.json import CODEC
from tests.sim.indexed import BODY, NAME, IndexedDatabase

EVERY_S = 5.0


def truth(db: IndexedDatabase) -> dict[str, tuple[int, int]]:
    """Items and bytes by name of table and index, from the leaders' rows, each looked at by itself."""
    key = key_of(BODY["KeySchema"], types_of(BODY))
    found: dict[str, list[int]] = {}
    for replica in db.leaders():
        for row, image in db.sim.run(replica.rows_all()):
            if is_side(row):
                continue
            item, name = CODEC.decode(image_body(image)), replica.spec.table
            places = {name: encode_key(key, item)}
            places |= {index.name: local_key(index, key, encode_key(key, item), item) for index in local_indexes(BODY)}
            for index in global_indexes(BODY):
                if name == index_table(NAME, index.name):
                    places = {index.name: global_key(index, key, encode_key(key, item), item)}
            (name,) = [called for called, place in places.items() if place == row]
            found[name] = [a + b for a, b in zip(found.get(name, [0, 0]), (1, image_size(image)), strict=True)]
    return {name: (items, size) for name, (items, size) in found.items()}


def shown(db: IndexedDatabase) -> dict[str, tuple[int, int]]:
    table: dict[str, Any] = db.described()
    found = {NAME: (table["ItemCount"], table["TableSizeBytes"])}
    for entry in table["LocalSecondaryIndexes"] + table["GlobalSecondaryIndexes"]:
        found[entry["IndexName"]] = (entry["ItemCount"], entry["IndexSizeBytes"])
    return found


def test_counts_follow_the_table_and_outlive_those_who_counted() -> None:
    db = IndexedDatabase(5, scrub=Scrub(bytes_per_s=1 << 20, every_s=EVERY_S))
    with db.sim:
        assert set(shown(db).values()) == {(0, 0)}
        db.rate = 40.0
        db.sim.run_for(20)
        db.settle()
        db.sim.run_for(3 * EVERY_S)
        expected = truth(db)
        assert len(expected) == 4
        assert all(items for items, _ in expected.values())
        assert shown(db) == expected
        acting = next(n for n in db.sim.running() for r in db.replicas(n) if r.serving and not r.spec.table)
        counting = db.leaders()[0].host.name
        db.power_off([acting, counting])
        db.sim.run_for(10)
        assert shown(db) == expected
