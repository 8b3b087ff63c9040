"""The store on Redis, KeyDB or Valkey (6.2 commands): one hash per key, one field per variant, an index of them.

Keys on the server are exactly the keys of the proxy. Beside them stands, for keys of other than the built-in roles, an
index per target (``cacheindex:<target>``, a sorted set of roles) that makes dropping a target cheap. A server
that evicts may lose an index before the entries it lists; an entry that its index does not list could never be dropped
with its target, so it counts as absent, and the next write clears it away. A user restricted by an ACL needs
``~cache:* ~cacheindex:*``.

A write carries the latest time at which the server may carry it out, in the server's own time: one that was stuck in
a frozen server would otherwise put back, after the thaw, what has been invalidated meanwhile. For the same reason a
write whose connection was lost counts as under way until that time has come.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from math import inf
from typing import cast

from twisted.internet.defer import Deferred, FirstError, gatherResults, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from caching_proxy.interfaces import (
    Fate,
    IStore,
    Scanned,
    Seeker,
    Stored,
    StoreError,
    StoreForbidden,
)
from caching_proxy.rules.bus_message import Invalidation
from caching_proxy.rules.glob import escape
from caching_proxy.rules.policy import MAX_VARIANT_BYTES, MAX_VARIANTS
from caching_proxy.store.direct import Watch
from caching_proxy.store.redis.commands import Ask
from caching_proxy.store.redis.connection import RedisReply, checked, pack
from caching_proxy.store.redis.dropping import Dropping
from caching_proxy.store.redis.fences import Fence
from caching_proxy.store.redis.ledger import Words
from caching_proxy.store.redis.ledger_calls import Mark, Marked
from caching_proxy.store.redis.lookup import LookupCall, Seek
from caching_proxy.store.redis.pool import RedisPool
from caching_proxy.store.redis.put import Put
from caching_proxy.store.redis.scripts import Discard, Forget
from caching_proxy.store.redis.stale_scripts import Soften, SoftenTarget, Tagged
from caching_proxy.store.redis.target_index import INDEX_PREFIX

SCAN_COUNT = 1000
"""Keys that a step of a walk looks at."""

REFUSED_SECONDS = 600.0
"""For how long nothing is stored that is as large as what the server refused to send."""

LEAST_REFUSED = 16 * 1024
"""Bytes of a reply that a server keeps beside its output buffer, so that no limit on that is reached: who closes
connections over less has another reason."""

DELETE_STEP = 500

_PING = pack(b"PING") + pack(b"EVAL", b"return 1", b"0")
_log = Logger()


@implementer(IStore)
class RedisStore:
    """An :class:`IStore` on ``pool``; walks over keys use ``bulk``, so that no lookup stands behind them."""

    def __init__(
        self,
        pool: RedisPool,
        bulk: RedisPool | None = None,
        max_variants: int = MAX_VARIANTS,
        max_variant_bytes: int = MAX_VARIANT_BYTES,
        words: Words | None = None,
    ) -> None:
        self.words = words
        """What it says to the ledger of invalidations; None keeps no ledger."""
        self.on_marked: Callable[[Marked], object] = _untold_marks
        """Hears of each invalidation of ours that the server took."""
        self.pool = pool
        self.bulk = bulk or pool
        pool.companion = bulk
        self._most = b"%d" % max_variants, b"%d" % max_variant_bytes
        self._dropping = Dropping(pool, words, self._told_of_mark)
        self._refused_size = inf
        self._refused_until = 0.0

    def lookup(self, key: bytes, fields: Sequence[bytes] | None = None) -> Deferred[Stored | None]:
        return self.pool.execute(LookupCall(self, key, fields))

    def seek_watched(self, key: bytes, fields: Sequence[bytes] | None, seeker: Seeker, watch: Watch) -> None:
        """:meth:`lookup` for who wants no Deferred (``WatchedStore``)."""
        call = Seek(self, key, fields)
        call.seeker, call.watch, call.called = seeker, watch, False
        self.pool.carry(call)

    def put(
        self,
        key: bytes,
        field: bytes,
        value: bytes,
        ttl_ms: int,
        since: bytes | None = None,
        tags: Sequence[bytes] = (),
        fence: Fence | None = None,
    ) -> Deferred[None]:
        if ttl_ms <= 0 or (len(value) >= self._refused_size and self.pool.clock.seconds() < self._refused_until):
            return self.discard(key, field).addCallback(_nothing)
        return self.pool.execute(Put(key, field, value, ttl_ms, self._most, since, tags, fence))

    def unanswerable(self, key: bytes) -> Deferred[None]:
        """The server gives up connections rather than answer a lookup of ``key``: forget what is there, and store
        nothing that large for a while. Never fails."""
        _log.warn(
            "the server closes connections instead of sending {key}, which is forgotten: is its "
            "client-output-buffer-limit for normal clients less than MAX_CACHEABLE_BYTES?",
            key=key.decode("latin-1"),
        )
        forgotten = self.pool.execute(Forget(key))
        return forgotten.addCallback(self._note_refused).addErrback(_untold)

    def _note_refused(self, size: int) -> None:
        if size >= LEAST_REFUSED:
            known = self._refused_size if self.pool.clock.seconds() < self._refused_until else inf
            self._refused_size = min(known, size)
            self._refused_until = self.pool.clock.seconds() + REFUSED_SECONDS

    def discard(self, key: bytes, field: bytes) -> Deferred[bool]:
        return self.pool.execute(Discard(key, field))

    def delete(self, keys: Sequence[bytes]) -> Deferred[set[bytes]]:
        return Deferred.fromCoroutine(self._delete(list(dict.fromkeys(keys))))

    async def _delete(self, keys: list[bytes]) -> set[bytes]:
        gone: set[bytes] = set()
        for start in range(0, len(keys), DELETE_STEP):
            some = keys[start : start + DELETE_STEP]
            payload = b"".join([pack(b"UNLINK", key) for key in some])
            gone |= await self.pool.execute(Ask(payload, len(some), partial(_positive, some)))
        return gone

    def delete_target(self, target: bytes) -> Deferred[set[bytes]]:
        return self._dropping.drop(target)

    def _told_of_mark(self, reply: RedisReply) -> None:
        self.on_marked(Marked.of(reply))

    def mark(self, invalidation: Invalidation) -> Deferred[None]:
        if self.words is None:
            return succeed(None)
        marking = self.pool.execute(Mark(self.words.arguments(invalidation)))
        return marking.addCallbacks(self._marked, self._not_marked)

    def _marked(self, marked: Marked) -> None:
        self.on_marked(marked)

    def _not_marked(self, failure: Failure) -> None:
        """Without the rights there is no order; the cache goes on as if it were alone."""
        failure.trap(StoreForbidden)
        self.on_marked(Marked(b"", b"", failure.getErrorMessage()))

    def tagged(self, tag: bytes, cursor: bytes, fate: Fate, moment: float = 0.0) -> Deferred[Scanned]:
        return self.pool.execute(Tagged(tag, cursor, fate, moment))

    def soften(self, keys: Sequence[bytes], moment: float) -> Deferred[set[bytes]]:
        softened = [self.pool.execute(Soften(key, moment)) for key in dict.fromkeys(keys)]
        done = gatherResults(softened, consumeErrors=True)
        return done.addCallbacks(lambda found: set[bytes]().union(*found), _first_failure)

    def soften_target(self, target: bytes, moment: float) -> Deferred[set[bytes]]:
        return self.pool.execute(SoftenTarget(target, moment))

    def scan(self, cursor: bytes, prefix: bytes = b"") -> Deferred[Scanned]:
        return self.walk(cursor, escape(prefix) + b"*")

    def walk(self, cursor: bytes, pattern: bytes) -> Deferred[Scanned]:
        """A step over names that match ``pattern``, a cheap one: the server would stand still over a costly one."""
        payload = pack(b"SCAN", cursor, b"MATCH", pattern, b"COUNT", b"%d" % SCAN_COUNT)
        return self.bulk.execute(Ask(payload, 1, _scanned))

    def held(self, keys: Sequence[bytes]) -> Deferred[set[bytes]]:
        payload = b"".join([pack(b"EXISTS", key) for key in keys])
        return self.bulk.execute(Ask(payload, len(keys), partial(_positive, keys))) if keys else succeed(set())

    def ping(self) -> Deferred[None]:
        return self.pool.execute(Ask(_PING, 2, _alive))

    def start(self) -> Deferred[None]:
        self.bulk.start()
        return self.pool.start()

    def stop(self) -> Deferred[None]:
        stopped = self.pool.stop()
        if self.bulk is not self.pool:
            bulk = self.bulk.stop()
            stopped.addCallback(lambda _: bulk)
        return stopped


def _untold_marks(marked: Marked) -> None:
    """Nobody follows the ledger."""


def _untold(failure: Failure) -> None:
    failure.trap(StoreError)


def _nothing(_: object) -> None:
    """Drops what was answered."""


def _positive(keys: Sequence[bytes], replies: list[RedisReply]) -> set[bytes]:
    """Those of ``keys`` whose command was answered with 1."""
    return {key for key, reply in zip(keys, replies, strict=True) if checked(reply) == 1}


def _alive(replies: list[RedisReply]) -> None:
    """The replies to PING and to a script that does nothing. Any answer to PING shows that the server is there."""
    with suppress(StoreForbidden):
        checked(replies[0])
    checked(replies[1])


def _scanned(replies: list[RedisReply]) -> Scanned:
    """The reply to SCAN, without our own indexes."""
    cursor, keys = cast("tuple[bytes, list[bytes]]", checked(replies[0]))
    return Scanned([key for key in keys if not key.startswith(INDEX_PREFIX)], cursor)


def _first_failure(failure: Failure) -> Failure:
    """What went wrong first of what was done side by side."""
    if isinstance(failure.value, FirstError):
        inner: Failure = failure.value.subFailure
        return inner
    return failure
