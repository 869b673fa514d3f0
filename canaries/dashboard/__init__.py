"""The live page: a read-only view over a run directory, of a game day or of canaries left running.

``source`` finds the directory and follows its files, ``state`` is what they have said so far, ``view`` puts that into
words (both pure), ``server`` shows it. Nothing here writes to a run.
"""
