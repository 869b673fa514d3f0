"""Game days in the simulator: ``blackstart run PLAYBOOK --runtime simulated``.

The same playbooks, plans, probes, checkers and reports as on real containers; instead of a cluster runtime there is a
:class:`cluster.sim.simulation.Simulation`, instead of threads there is virtual time, and everything that happens is
decided by the seed. :mod:`~chaos.simulated.day` is the counterpart of :mod:`chaos.engine.game`.
"""
