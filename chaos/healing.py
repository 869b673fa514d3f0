"""Undoing what the journal says is in: the one way in which engine, reaper and ``blackstart fault heal`` do it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from chaos import nft
from chaos.faults import fault_of
from chaos.faults.base import Effect
from chaos.journal import Entry, Journal, boot_s

if TYPE_CHECKING:
    from cluster.runtime.base import Cluster


class Healed(NamedTuple):
    """What became of one entry: ``error`` says why it could not be undone, and is None where it was."""

    entry: Entry
    effect: Effect | None
    error: str | None


def heal_entry(cluster: Cluster, journal: Journal, entry: Entry) -> Healed:
    """Undo one fault and forget it. One that is no longer in the journal was undone by somebody else."""
    with journal.lock(entry.id):
        if not journal.path(entry.id).exists():
            return Healed(entry, None, None)
        try:
            effect = fault_of(entry.kind).heal(cluster, entry)
        except Exception as error:
            return Healed(entry, None, f"{type(error).__name__}: {error}")
        journal.remove(entry.id)
        return Healed(entry, effect, None)


def heal_all(cluster: Cluster, journal: Journal, *, expired_only: bool = False) -> list[Healed]:
    """Undo everything in the journal, last in, first out; what cannot be undone is said and stays in the journal."""
    now = boot_s()
    entries = [entry for entry in journal.entries() if not expired_only or entry.expired(now)]
    return [heal_entry(cluster, journal, entry) for entry in reversed(entries)]


def drop_tables(cluster: Cluster) -> list[str]:
    """Delete every nft table that bears the cluster's name, journal or no journal; their names."""
    listing = cluster.host.call("run", argv=["nft", "list", "tables", "bridge"])
    names = [line.split()[-1] for line in str(listing).splitlines() if line.startswith("table bridge ")]
    ours = [name for name in names if name.startswith(f"{cluster.id}_")]
    for name in ours:
        cluster.host.call("nft", text=nft.delete_table(name))
    return ours
