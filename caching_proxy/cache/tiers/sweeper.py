"""Dropping what matches some patterns, or many keys, from a memory tier, in slices, as if it happened at once.

From the moment that a sweep begins, the tier must not give out what it covers: tiers ask ``takes`` before they use a
record, as long as ``sweeps`` is not empty. What is put meanwhile is spared, as it was made after the sweep began.
All sweeps that wait share one walk over the keys.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from caching_proxy.cache.pace import SLICE_STEPS, Pace
from caching_proxy.rules.pattern_set import REMOVAL_STEPS, SLICE_KEYS, PatternSet


class Sweep:
    """One sweep over one tier; ``gone`` are the keys that it removed so far. What it covers is given by patterns or
    as the very keys."""

    __slots__ = ("gone", "over", "spared", "what")

    def __init__(self, what: PatternSet | set[bytes], over: Callable[[set[bytes]], object]) -> None:
        self.what = what
        self.over = over
        self.spared: set[bytes] = set()
        self.gone: set[bytes] = set()

    def covers(self, key: bytes) -> bool:
        """Whether what the tier holds for ``key`` is to be dropped."""
        if key in self.spared:
            return False
        what = self.what
        return key in what if isinstance(what, set) else what(key)

    def takes(self, key: bytes) -> bool:
        """The same; notes that it is dropped."""
        if not self.covers(key):
            return False
        self.gone.add(key)
        return True


class Tier(Protocol):
    """What is swept."""

    sweeps: Sequence[Sweep]

    def all_keys(self) -> list[bytes]: ...

    def remove(self, key: bytes) -> bool: ...


class Sweeper:
    """Sweeps over ``tier``."""

    _log = Logger()

    def __init__(self, tier: Tier, clock: IReactorTime) -> None:
        self._tier = tier
        self._clock = clock
        self._sweeps: list[Sweep] = []
        tier.sweeps = self._sweeps
        self._walking = False
        self._walk: Deferred[None] | None = None

    def begin(self, what: PatternSet | set[bytes], over: Callable[[set[bytes]], object]) -> None:
        """Drop every key that matches, or that is one of these; ``over`` hears which, now or later."""
        self._sweeps.append(Sweep(what, over))
        if not self._walking:
            self._walking = True
            self._walk = Deferred.fromCoroutine(self._run()).addErrback(self._failed)

    def stop(self) -> None:
        """Leave the rest; nobody reads the tier any more."""
        if self._walk is not None:
            self._walk.cancel()

    async def _run(self) -> None:
        while self._sweeps:
            together = tuple(self._sweeps)
            patterned = [(sweep, sweep.what) for sweep in together if isinstance(sweep.what, PatternSet)]
            if patterned:
                await self._sweep(patterned)
            for sweep in together:
                if isinstance(sweep.what, set):
                    await self._drop(sweep, list(sweep.what))
            del self._sweeps[: len(together)]  # the others came later
            for sweep in together:
                sweep.over(sweep.gone)
        self._walking = False

    async def _drop(self, sweep: Sweep, keys: list[bytes]) -> None:
        pace = Pace(self._clock)
        for start in range(0, len(keys), SLICE_KEYS):
            piece = keys[start : start + SLICE_KEYS]
            sweep.gone.update(key for key in piece if key not in sweep.spared and self._tier.remove(key))
            await pace.spend(len(piece) * REMOVAL_STEPS)

    async def _sweep(self, together: Sequence[tuple[Sweep, PatternSet]]) -> None:
        pace, keys = Pace(self._clock), self._tier.all_keys()
        union = PatternSet(*{one: None for _, patterns in together for one in patterns.patterns})
        for piece in union.slices(keys, SLICE_STEPS):
            gone: set[bytes] = set()
            covered = union.select(piece)
            for sweep, patterns in together if covered else ():
                for key in patterns.select(covered):
                    if key not in sweep.spared and (key in gone or self._tier.remove(key)):
                        sweep.gone.add(key)
                        gone.add(key)
            await pace.spend(union.steps(piece) + len(gone) * REMOVAL_STEPS)

    def _failed(self, failure: Failure) -> None:
        left = tuple(self._sweeps)
        del self._sweeps[:]
        self._walking = False
        for sweep in left:
            sweep.over(sweep.gone)
        if not failure.check(CancelledError):
            self._log.failure("sweeping a memory tier failed", failure)
