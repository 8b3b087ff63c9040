"""How far this proxy has come in the ledger of invalidations.

``seen`` is the newest mark up to which everything has been applied here. It moves on with each message that follows
upon it, and with our own entries. Whatever does not fit in means that something was missed: then the ledger is read.
Where that does not reach back to ``seen``, or is another one, nothing that we hold can be trusted.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import cast

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from caching_proxy.interfaces import StoreError, StoreForbidden, Unreadable
from caching_proxy.rules.bus_message import Invalidation
from caching_proxy.rules.ledger import LEDGER_LENGTH, UNKNOWN, Entry, merged, missed, number_of, published
from caching_proxy.store.redis.commands import Ask
from caching_proxy.store.redis.connection import RedisReply, checked, pack
from caching_proxy.store.redis.ledger import LEDGER, Words
from caching_proxy.store.redis.ledger_calls import Marked, Since
from caching_proxy.store.redis.pool import RedisPool

_NEWEST = pack(b"HGET", LEDGER, b"last")


def _mark(replies: list[RedisReply]) -> bytes | None:
    return cast("bytes | None", checked(replies[0]))


class Follower:
    """Applies what others enter in the ledger on the server of ``pool``; ``words`` tell our entries from theirs.

    ``seen`` is None while the server does not let us read the ledger; ``received`` and ``flushes`` are counts.
    """

    _log = Logger()

    def __init__(self, pool: RedisPool, words: Words) -> None:
        self.seen: bytes | None = UNKNOWN
        self.received = self.flushes = 0
        self._heard_any = False
        self._pool = pool
        self._words = words
        self._apply: Callable[[Invalidation], object]
        self._flush: Callable[[], object]
        self._passed: dict[bytes, None] = {}  # marks up to ``seen``, as far as they are worth remembering
        self._waiting: list[Deferred[None]] = []

    def start(self, apply: Callable[[Invalidation], object], flush: Callable[[], object]) -> None:
        """From now on ``apply`` hears of each invalidation of others, ``flush`` when nobody can tell what it missed."""
        self._apply, self._flush = apply, flush

    def heard(self, payload: bytes) -> None:
        """This was published."""
        self._heard_any = True
        entry = published(payload)
        if entry.mark in self._passed:
            return
        self._take(entry)
        if self.seen is None or not entry.mark:
            return
        if entry.previous and entry.previous == self.seen:
            self._advance(entry.mark)
        else:
            self.catch_up().addErrback(lambda failure: failure.trap(StoreError))

    def marked(self, marked: Marked) -> None:
        """This is our own, and has been applied here; what is between it and ``seen`` has yet to be heard."""
        self._heard_any = True
        if marked.previous and marked.previous == self.seen:
            self._advance(marked.mark)

    def catch_up(self) -> Deferred[None]:
        """Read in the ledger what was missed; fails with :class:`StoreError` if that cannot be done now."""
        done: Deferred[None] = Deferred()
        self._waiting.append(done)
        if len(self._waiting) == 1:
            asked, word = self.seen or UNKNOWN, self._words.word()
            reading = Deferred.fromCoroutine(self._ask(asked, word))
            reading.addCallback(self._read, asked).addErrback(self._not_read).addBoth(self._tell)
        return done

    async def _ask(self, known: bytes, word: bytes) -> tuple[bytes, list[bytes | None]]:
        """The newest mark, and what the ledger has from ``known`` on."""
        if known == UNKNOWN:  # in one round trip, which a script may not be enough for: requests come already
            with suppress(Unreadable):
                if newest := await self._pool.execute(Ask(_NEWEST, 1, _mark)):
                    return newest, []
        return await self._pool.execute(Since(known, word))

    def trust_nothing(self) -> None:
        """Messages were missed, and there is no ledger to say which."""
        self.flushes += 1
        self._flush()

    def _read(self, told: tuple[bytes, list[bytes | None]], asked: bytes) -> None:
        newest, log = told
        if (self.seen or UNKNOWN) != asked:  # messages have brought us on meanwhile, so none is missing up to there
            return
        entries = missed(asked, newest, log)
        if self.seen == UNKNOWN and number_of(newest) == 0 and not self._heard_any:
            self._advance(newest)  # nobody has invalidated anything yet
        elif entries is None:
            self.flushes += asked != UNKNOWN
            self._flush()
            self._advance(newest)
        else:
            others = [entry.invalidation for entry in entries if entry.origin != self._words.origin]
            if others:
                self.received += len(others)
                self._apply(merged(others))
            for entry in entries:
                self._advance(entry.mark)

    def _take(self, entry: Entry) -> None:
        if entry.origin != self._words.origin:
            self.received += 1
            self._apply(entry.invalidation)

    def _advance(self, mark: bytes) -> None:
        self.seen = mark
        self._passed[mark] = None
        if len(self._passed) > LEDGER_LENGTH:
            del self._passed[next(iter(self._passed))]

    def _not_read(self, failure: Failure) -> Failure:
        if failure.check(StoreForbidden):
            self.seen = None
        elif not failure.check(StoreError):
            self._log.failure("reading the ledger failed", failure)
        return failure

    def _tell(self, outcome: Failure | None) -> None:
        waiting, self._waiting = self._waiting, []
        for done in waiting:
            done.callback(outcome)
