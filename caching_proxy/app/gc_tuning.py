"""How often the interpreter looks for reference cycles.

A proxy keeps tens of thousands of objects for long (entries, connections) and makes hundreds for each request, nearly
all of which die by reference counting. With the interpreter's defaults a third of the processor went into looking at
the same objects again and again, in pauses of many milliseconds.
"""

from __future__ import annotations

import gc

YOUNG = 50_000
"""Objects made since the last look at the young ones; 700 by default. Cycles wait that long: some megabytes at most."""

MIDDLE = 1
"""Looks at the young ones, beyond one, before those that survived are looked at as well; 10 by default. A look takes as
long as there are objects: while 300,000 entries came into memory, 20 ms at the most with 1, and 157 ms with 20."""

OLD = 200
"""Looks at those before everything is looked at; 10 by default. Some twenty million objects come between."""


def tune_gc() -> None:
    """Look less often, and never again at what exists now: modules, settings and parts live as long as the process."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, MIDDLE, OLD)
