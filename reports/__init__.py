"""Evidence and judgement: what a run wrote down, what the checkers make of it, and the report a person reads.

* :mod:`reports.rundir` is a leaf: the formats of the run directory. Everyone may import it, it imports nothing of ours.
* :mod:`reports.checkers` are pure functions from evidence to a :class:`reports.rundir.CheckResult`.
* :mod:`reports.metrics`, :mod:`reports.judge` turn a run directory into ``verdict.json``.
* :mod:`reports.render` turns it into ``report.html`` and ``junit.xml``.
"""
