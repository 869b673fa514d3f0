"""One image replaces another: whenever the power goes, one of the two is there, whole, and nothing else."""

from __future__ import annotations

from random import Random

import pytest
from power import runs_within

from cluster.store.btree import Pool, Replica
from cluster.store.image import LABEL_SUFFIX, MAIN_SUFFIX
from cluster.store.memory import MemoryDisk
from cluster.store.pagevfs import ImageDamaged

Rows = list[tuple[bytes, bytes]]
OLD: Rows = [(b"old-%02d" % n, b"o" * 900) for n in range(12)]
NEW: Rows = [(b"new-%02d" % n, b"n" * 700) for n in range(20)]
OLD_POSITION, NEW_POSITION = 5, 9


def with_an_old_one(disk: MemoryDisk, *, checkpointed: bool = True) -> tuple[Pool, Replica]:
    pool = Pool(disk.pages)
    old = Replica.open(pool, "g")
    old.apply(OLD_POSITION - 1, OLD[:6])
    if checkpointed:
        old.checkpoint()
    old.apply(OLD_POSITION, OLD[6:])
    return pool, old


def fill(pool: Pool) -> Replica:
    new = Replica.beside(pool, "g")
    for start in range(0, len(NEW), 10):
        new.apply(0, NEW[start : start + 10])
    new.apply(NEW_POSITION, [], {"snapshot": b"whence"})
    return new


def names(disk: MemoryDisk) -> list[str]:
    return [name for name in disk.pages.list() if not name.endswith("-wal")]


def test_the_new_one_has_the_place_and_the_old_one_nothing_more_to_say() -> None:
    disk = MemoryDisk()
    pool, old = with_an_old_one(disk)
    new = fill(pool)
    old.apply(OLD_POSITION + 1, [(b"still", b"used")])
    assert old.get(b"still") == b"used"
    assert pool.names() == ["g"], "what is being made is no image of its own"
    found = new.replace(old)
    assert (found.name, found.position, found.checkpointed) == ("g", NEW_POSITION, NEW_POSITION)
    assert found.scan() == NEW
    assert found.meta("snapshot") == b"whence"
    assert names(disk) == ["g.db", "g.label"]
    for ended in (old, new):
        with pytest.raises(ImageDamaged):
            ended.scan()
        ended.destroy()  # late, by whoever still has it: the name is another's now
    assert found.scan() == NEW
    found.apply(NEW_POSITION + 1, [(b"more", b"")])
    assert found.checkpoint() == NEW_POSITION + 1
    pool.close()
    assert pool.connections == 0


def test_an_image_replaces_only_the_one_it_was_made_for() -> None:
    disk = MemoryDisk()
    pool, old = with_an_old_one(disk)
    other = Replica.open(pool, "h")
    new = fill(pool)
    with pytest.raises(ValueError, match="not made to replace"):
        new.replace(other)
    with pytest.raises(ValueError, match="not made to replace"):
        other.replace(old)
    with pytest.raises(ValueError, match="open already"):
        fill(pool)
    with pytest.raises(ValueError, match="name"):
        Replica.open(pool, new.name)


def test_one_that_is_not_wanted_after_all_leaves_nothing() -> None:
    disk = MemoryDisk()
    pool, old = with_an_old_one(disk)
    fill(pool).destroy()
    assert names(disk) == ["g.db", "g.label"]
    assert old.scan() == OLD
    assert fill(pool).replace(old).scan() == NEW


@pytest.mark.parametrize("old_is", ["sound", "never checkpointed", "destroyed", "damaged"])
@pytest.mark.parametrize("seed", [None, 1])
def test_a_power_failure_anywhere_leaves_one_of_the_two(old_is: str, seed: int | None) -> None:
    """At every single change of the disk from before the new image is made until it has the other's place."""
    step, finished, decided = 0, False, False
    while not finished:
        disk = MemoryDisk()
        pool, old = with_an_old_one(disk, checkpointed=old_is != "never checkpointed")
        if old_is == "destroyed":
            old.destroy()
        elif old_is == "damaged":
            old.close()
            disk.pages.contents["g.db"].replace(bytes(disk.pages.contents["g.db"].data[:4096]))
        finished = runs_within(disk, step, lambda pool=pool, old=old: fill(pool).replace(old))  # type: ignore[misc]
        disk.crash(None if seed is None else Random(1000 * seed + step))
        try:
            found = Replica.open(Pool(disk.pages), "g")
            rows = found.scan()
        except ImageDamaged:
            assert old_is == "damaged"
            assert not decided, f"at step {step}: what was decided before is undone"
        else:
            whole = found.position == NEW_POSITION
            assert whole or not decided, f"at step {step}: what was decided before is undone"
            decided = whole
            if whole:
                assert rows == NEW
                assert found.meta("snapshot") == b"whence"
            elif old_is == "destroyed":
                assert (found.position, rows) == (0, [])
            else:
                assert (found.position, rows) in [(0, []), (OLD_POSITION - 1, OLD[:6]), (OLD_POSITION, OLD)]
                assert found.position >= OLD_POSITION - 1 or old_is == "never checkpointed"
            assert not [name for name in disk.pages.list() if "~" in name], f"at step {step}"
        step += 1
    assert decided
    assert step > 30, "a replacement took suspiciously few changes of the disk"


def test_a_power_failure_while_the_rest_is_settled_is_settled_too() -> None:
    """The power goes after every step of the replacement, and again after every step of what settles it."""
    outcomes = set()
    for first in range(200):
        second, settled = 0, False
        while not settled:
            disk = MemoryDisk()
            pool, old = with_an_old_one(disk)
            new = fill(pool)
            finished = runs_within(disk, first, lambda new=new, old=old: new.replace(old))  # type: ignore[misc]
            disk.crash()
            settled = runs_within(disk, second, lambda disk=disk: Replica.open(Pool(disk.pages), "g"))  # type: ignore[misc]
            disk.crash()
            rows = Replica.open(Pool(disk.pages), "g").scan()
            assert rows in (OLD[:6], OLD, NEW)
            outcomes.add((rows == NEW, finished))
            second += 1
        if finished:
            break
    assert outcomes == {(False, False), (True, False), (True, True)}


def test_what_is_beside_an_image_goes_with_it() -> None:
    disk = MemoryDisk()
    pool, _ = with_an_old_one(disk)
    fill(pool)
    disk.crash()
    Replica.discard(Pool(disk.pages), "g")
    assert disk.pages.list() == []


def test_a_new_image_that_the_disk_does_not_keep_leaves_the_old_one_in_use() -> None:
    disk = MemoryDisk()
    pool, old = with_an_old_one(disk)
    new = fill(pool)
    new.checkpoint()
    new.apply(NEW_POSITION + 1, [(b"last", b"row" * 2000)])
    liar = pool.vfs.main(new.name + MAIN_SUFFIX).file
    liar.write = lambda offset, data: None  # type: ignore[method-assign]
    with pytest.raises(ImageDamaged):
        new.replace(old)
    new.destroy()
    assert old.scan() == OLD
    assert names(disk) == ["g" + MAIN_SUFFIX, "g" + LABEL_SUFFIX]
