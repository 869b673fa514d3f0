"""The scrub as the report shows it: a row a partition, a cell for each replica and one for the archive's copy."""

from __future__ import annotations

from dataclasses import dataclass

from reports.rundir import RunDir, RunDirError, Scrub, ScrubGroup, ScrubReplica
from reports.wording import key_in_words


@dataclass(frozen=True, slots=True)
class Cell:
    """One copy of a partition: whose it is, what is said of it, and whether that is good (ok, failed, unknown)."""

    name: str
    text: str
    tone: str


@dataclass(frozen=True, slots=True)
class Row:
    """One partition at its barrier."""

    name: str
    slot: int
    cells: tuple[Cell, ...]
    archive: Cell


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """The whole section; ``disks`` and ``notes`` are sentences."""

    rows: tuple[Row, ...]
    disks: str
    notes: tuple[str, ...]


def scrubbed(run: RunDir) -> Scrubbed | None:
    """What ``scrub.json`` shows; None where there is none that can be read (a check then says so)."""
    try:
        scrub = run.read_scrub()
    except RunDirError:
        return None
    if scrub is None:
        return None
    return Scrubbed(tuple(_row(group) for group in scrub.groups), _disks(scrub), tuple(_notes(scrub)))


def _row(group: ScrubGroup) -> Row:
    name = f"{group.table}/{group.partition}" if group.table else group.group
    answers = [replica.digest for replica in group.replicas if replica.digest is not None]
    right = group.reference.digest if group.reference is not None and group.reference.digest else None
    right = right or max(sorted(set(answers)), key=answers.count, default=None)
    return Row(name, group.slot, tuple(_replica(replica, right) for replica in group.replicas), _archive(group))


def _replica(replica: ScrubReplica, right: str | None) -> Cell:
    if replica.digest is None:
        return Cell(replica.node, replica.error or "no answer", "unknown")
    text = f"{replica.items:,} items, {replica.digest[:8]}"
    if replica.digest == right:
        return Cell(replica.node, text, "ok")
    first = f"; first at {key_in_words(replica.key)} ({replica.difference})" if replica.key else ""
    healed = f"; healed in {replica.healed_s:.1f} s" if replica.healed_s is not None else ""
    return Cell(replica.node, text + first + healed, "failed")


def _archive(group: ScrubGroup) -> Cell:
    copy = group.reference
    if copy is None:
        return Cell("archive", group.error or "none", "unknown" if group.error else "skipped")
    if copy.problems:
        return Cell("archive", copy.problems[0], "failed")
    holes = f"; {len(copy.bridged)} holes bridged by images" if copy.bridged else ""
    text = f"{copy.items:,} items from {copy.segments} segments, {(copy.digest or '')[:8]}"
    return Cell("archive", text + holes, "ok")


def _disks(scrub: Scrub) -> str:
    if not scrub.disks:
        return ""
    read, bad = sum(disk.bytes for disk in scrub.disks), sum(disk.bad for disk in scrub.disks)
    silent = [disk.node for disk in scrub.disks if disk.error is not None]
    text = f"{len(scrub.disks) - len(silent)} disks read past their caches, {read / 1e6:,.1f} MB, {bad} bad places"
    return text + (f"; no answer from {', '.join(silent)}" if silent else "")


def _notes(scrub: Scrub) -> list[str]:
    """What nodes found and mended by themselves during the run."""
    words = {
        "replica-damage": "found {node_damaged} to differ in {group} at slot {slot}",
        "healed": "healed {node_healed} in {group}, {seconds} s",
        "heal-failed": "could not heal {node_damaged} in {group}",
        "scrub-unsettled": "could not tell who is right in {group} at slot {slot}",
        "archive-disagrees": "has another log of {group} than is archived from slot {first} on",
        "archive-refused": "would not upload its segment of {group} at slot {first}",
    }
    notes = []
    for event in scrub.background:
        form = words.get(str(event.get("event")))
        if form is not None:
            known = dict.fromkeys(("node_damaged", "node_healed", "group", "slot", "seconds", "first"), "?") | event
            notes.append(f"{event.get('node', 'a node')} " + form.format_map(known))
    return notes
