"""The nodes' file systems: one ext4 image each, so that a freeze, a filler or a power cut hits that node alone."""

from __future__ import annotations

from cluster.runtime.host import Host
from cluster.runtime.state import ClusterState


def make_disks(record: ClusterState, host: Host, *, owner: tuple[int, int]) -> ClusterState:
    """Make every node's file system, its root owned by ``owner`` (uid, gid); the record with their devices, saved."""
    wanted = {node.name: node.disk for node in record.nodes.values() if node.disk is not None}
    devices = host.call(
        "make_disks",
        disks=[{"image": str(disk.image), "size": disk.size, "owner": list(owner)} for disk in wanted.values()],
    )
    record = record.with_disks({name: devices[str(disk.image)] for name, disk in wanted.items()})
    record.save()
    return record
