"""Whether the work that an input causes grows with its length and no faster.

What Python does is counted in calls. What happens inside one call (an expression, a search, a copy) cannot be counted,
so processor time is compared as well: the best of several runs, and only as a ratio, with room for noise between the
4 of linear work and the 16 of quadratic work.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable

MOST_CALLS = 6.0
"""Times the calls at four times the input."""

MOST_TIME = 10.0
NEGLIGIBLE = 0.002
"""Seconds below which a ratio says nothing."""


def calls(run: Callable[[], object]) -> int:
    """Calls of Python and built-in functions while ``run`` runs; what it raises does not matter."""
    count = 0

    def note(frame: object, event: str, argument: object) -> None:
        nonlocal count
        if event in ("call", "c_call"):
            count += 1

    sys.setprofile(note)
    try:
        with contextlib.suppress(Exception):
            run()
    finally:
        sys.setprofile(None)
    return count


def seconds(run: Callable[[], object], times: int = 5) -> float:
    """Processor time of the fastest of several runs."""
    best = float("inf")
    for _ in range(times):
        begin = time.process_time()
        with contextlib.suppress(Exception):
            run()
        best = min(best, time.process_time() - begin)
    return best


def assert_linear(parse: Callable[[bytes], object], make: Callable[[int], bytes], size: int = 8000) -> None:
    """Fails if ``parse(make(4 * size))`` is more than linearly more work than ``parse(make(size))``."""
    small, large = make(size), make(4 * size)
    few, many = calls(lambda: parse(small)), calls(lambda: parse(large))
    assert many <= MOST_CALLS * few + 50, f"{few} calls became {many}"
    long = seconds(lambda: parse(large))
    if long > NEGLIGIBLE:
        short = seconds(lambda: parse(small))
        assert long <= MOST_TIME * short, f"{short * 1000:.1f} ms became {long * 1000:.1f} ms"
