"""The deterministic simulator: the node drivers on virtual time, with a network and disks of one seed.

:class:`cluster.sim.simulation.Simulation` is the way in. Nothing in here reads a clock, a socket, a file or a random
number of the machine it runs on, and nothing depends on the order of a set or on an address: the same seed and code
give the same event log to the bit.
"""
