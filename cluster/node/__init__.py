"""Node drivers, one per role; they reach the outside only through an injected :class:`~cluster.node.world.World`."""
