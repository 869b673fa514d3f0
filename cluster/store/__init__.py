"""Storage engine of a node: superblock, write-ahead log, checksummed B-tree, and the files beneath them.

Everything here reaches the disk through the file interfaces of :mod:`cluster.node.world`. :mod:`cluster.store.files`
has the real ones, and :mod:`cluster.store.memory` has ones that forget what was not synced.
"""
