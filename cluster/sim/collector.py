"""How often the garbage collector looks while a simulation runs."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

RARER: Final = 512


@contextmanager
def rare_collections() -> Iterator[None]:
    """Within, collections are :data:`RARER` times rarer, and pass over everything that is there already.

    A simulation makes dozens of objects for a message and hardly any cycle: at the usual thresholds a quarter of its
    processor time went into looking for some. What the thresholds are is nothing that a seed may depend on.
    """
    young, *older = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(young * RARER, *older)
    try:
        yield
    finally:
        gc.set_threshold(young, *older)
        gc.unfreeze()
