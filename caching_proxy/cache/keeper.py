"""What the journal holds of the invalidations that wait for the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from twisted.logger import Logger
from twisted.python.failure import Failure

from caching_proxy.cache.pending import Pending, invalidation_of, pending_of
from caching_proxy.interfaces import IJournal
from caching_proxy.rules.bus_message import Invalidation


class JournalKeeper:
    """Keeps what waits in ``journal``, each of it once; without a journal nothing is kept."""

    _log = Logger()

    def __init__(self, journal: IJournal | None) -> None:
        self._journal = journal
        self._used = False
        self._failed = False

    def keep(self, waiting: Iterable[Pending], then: Callable[[bool], object]) -> None:
        """``then`` hears whether all of ``waiting`` is in the journal."""
        if self._journal is None:
            then(False)
            return
        fresh = [pending for pending in waiting if not pending.kept]
        for pending in fresh:
            pending.kept = True
        self._used = True
        keeping = self._journal.keep([invalidation_of([pending]) for pending in fresh])
        keeping.addCallbacks(lambda _: True, self._not_kept, errbackArgs=(fresh,)).addCallback(then)

    def clear(self) -> None:
        """Nothing waits any more."""
        if self._journal is not None and self._used:
            self._used = False
            self._journal.clear().addErrback(self._not_kept, ())

    def restored(self, invalidations: Iterable[Invalidation], now: float) -> Iterator[Pending]:
        """What an earlier process left there, as if it were made now (POSIX seconds)."""
        for invalidation in invalidations:
            for pending in pending_of(invalidation, now):
                self._used = pending.kept = True
                yield pending

    def _not_kept(self, failure: Failure, fresh: Iterable[Pending]) -> bool:
        for pending in fresh:
            pending.kept = False
        if not self._failed:
            self._failed = True
            why = failure.getErrorMessage()
            self._log.error("the journal of invalidations cannot be written: {why}", why=why)
        return False
