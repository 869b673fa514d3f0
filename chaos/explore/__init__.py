"""``blackstart explore``: thousands of small game days in the simulator, each from one seed.

:mod:`~chaos.explore.scenario`  what is played: topology, weather, load and a schedule of faults; pure data
:mod:`~chaos.explore.drawing`   which scenario a seed means; :mod:`~chaos.explore.features` what only some seeds have
:mod:`~chaos.explore.ground`    a table, clients that keep a history, a look inside; what tests of drivers stand on, too
:mod:`~chaos.explore.stage`     a scenario's cluster on that ground, and everything that watches it
:mod:`~chaos.explore.faults`    carrying out one action of a schedule; :mod:`~chaos.explore.disks` what befalls disks
:mod:`~chaos.explore.play`      a scenario from deployment to judgement
:mod:`~chaos.explore.coverage`  what was met, and what never
:mod:`~chaos.explore.shrink`    a failing scenario made small
:mod:`~chaos.explore.picture`   the end of a failing run as a sequence of messages
:mod:`~chaos.explore.recorded`  a scenario played as a game day is, with a run directory
:mod:`~chaos.explore.swarm`     many seeds on all cores

Everything below :mod:`~chaos.explore.play` happens in one process and one thread of virtual time.
"""
