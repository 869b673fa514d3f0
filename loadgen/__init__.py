"""Traffic for game days: pure operation plans, an open-model arrival schedule, and the drivers that carry them out.

:mod:`loadgen.plan`, :mod:`loadgen.distributions`, :mod:`loadgen.arrivals`, :mod:`loadgen.translate`,
:mod:`loadgen.endpoints` and :mod:`loadgen.stats` are pure: no clock, no socket, no global randomness. The Locust driver
(:mod:`loadgen.driver`) runs them on real time; the simulator runs the same objects on virtual time.
"""
