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

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from math import inf
from types import MappingProxyType
from typing import cast

from twisted.internet.defer import Deferred, FirstError, gatherResults, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure
from txredisapi import ResponseError
from zope.interface import implementer

from caching_proxy.interfaces import (
    NO_OUTLINES,
    NOT_STALE,
    AnswerLost,
    Fate,
    IStore,
    Scanned,
    Stored,
    StoreError,
    StoreForbidden,
)
from caching_proxy.rules.bus_message import Invalidation
from caching_proxy.rules.glob import escape
from caching_proxy.rules.policy import MAX_VARIANT_BYTES, MAX_VARIANTS
from caching_proxy.store.redis.commands import Ask
from caching_proxy.store.redis.connection import RedisReply, checked, form, pack
from caching_proxy.store.redis.dropping import Dropping
from caching_proxy.store.redis.fences import Fence
from caching_proxy.store.redis.index import INDEX, outlines_in
from caching_proxy.store.redis.ledger import Words
from caching_proxy.store.redis.ledger_calls import Mark, Marked
from caching_proxy.store.redis.pool import RedisPool
from caching_proxy.store.redis.put import Put
from caching_proxy.store.redis.scripts import Discard, Forget
from caching_proxy.store.redis.stale_scripts import MARK, TAGS, Soften, SoftenTarget, Tagged
from caching_proxy.store.redis.target_index import INDEX_PREFIX, indexed

SCAN_COUNT = 1000
"""Keys that a step of a walk looks at."""

REFUSED_SECONDS = 600.0
"""For how long nothing is stored that is as large as what the server refused to send."""

LEAST_REFUSED = 16 * 1024
"""Bytes of a reply that a server keeps beside its output buffer, so that no limit on that is reached: who closes
connections over less has another reason."""

DELETE_STEP = 500

_PING = pack(b"PING") + pack(b"EVAL", b"return 1", b"0")
_LISTED = form(b"ZSCORE", blanks=2)
_LEFT = form(b"PTTL", blanks=1)
_ALL = form(b"HGETALL", blanks=1) + _LEFT


def _some(count: int) -> bytes:
    """A lookup of the index and so many fields, and whether they are stale."""
    names = pack(INDEX).partition(b"\r\n")[2]
    fields, marks = b"$%d\r\n%b\r\n" * count, b"$%d\r\n!%b\r\n" * count
    return b"*%d\r\n$5\r\nHMGET\r\n$%%d\r\n%%b\r\n%b%b%b%b" % (2 * count + 3, names, fields, marks, _LEFT)


_SOME = tuple(map(_some, range(9)))
_ONE = _SOME[1]
_NO_VARIANTS: Mapping[bytes, bytes] = MappingProxyType({})
_log = Logger()


class _Lookup(Ask[Stored | None]):
    """A lookup of ``fields``, or of all there is; it is asked once more if its connection is lost, and its key
    forgotten if that happens again."""

    __slots__ = ("_fields", "_key", "_listed", "_store")

    def __init__(self, store: RedisStore, key: bytes, fields: Sequence[bytes] | None) -> None:
        size, where = len(key), indexed(key)
        if fields is None:
            payload = _ALL % (size, key, size, key)
        elif len(fields) == 1:
            [field] = fields
            payload = _ONE % (size, key, len(field), field, len(field) + 1, field, size, key)
        else:
            form = _SOME[len(fields)] if len(fields) < len(_SOME) else _some(len(fields))
            asked = [part for field in fields for part in (len(field), field)]
            asked += [part for field in fields for part in (len(field) + 1, field)]
            payload = form % (size, key, *asked, size, key)
        if where is not None:
            role, index = where
            payload = _LISTED % (len(index), index, len(role), role) + payload
        self.wanted = 2 if where is None else 3
        self.if_lost = "retry"
        self.ready = payload
        self._store = store
        self._key = key
        self._fields = fields
        self._listed = where is not None

    def read(self, replies: list[RedisReply]) -> Stored | None:
        if self._listed:
            return _listed(self._key, _answer(self._fields, replies[1:]), replies[0])
        return _answer(self._fields, replies)

    def fail(self, error: StoreError | Failure) -> None:
        if isinstance(error, AnswerLost):
            self._store.unanswerable(self._key).addCallback(lambda _: Ask.fail(self, error))
        else:
            super().fail(error)


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
        return self.pool.execute(_Lookup(self, key, fields))

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


def _answer(fields: Sequence[bytes] | None, replies: list[RedisReply]) -> Stored | None:
    """The replies to HMGET, of the index and ``fields``, or HGETALL, and PTTL."""
    if fields is None:
        return _all(replies)
    values, ttl_ms = replies
    if not isinstance(values, list) or not isinstance(ttl_ms, int):
        checked(values)
        checked(ttl_ms)
        raise TypeError("replies of other kinds than asked for")
    if ttl_ms == -2:
        return None
    index, count = values[0], len(fields)
    if count == 1:  # as for most
        value = values[1]
        variants = _NO_VARIANTS if value is None else {fields[0]: value}
        stale = NOT_STALE if values[2] is None else _moments(((fields[0], values[2]),))
    else:
        found = zip(fields, values[1 : count + 1], strict=True)
        variants = {field: value for field, value in found if value is not None}
        stale = _moments(zip(fields, values[count + 1 :], strict=True))
    return Stored(variants, ttl_ms if ttl_ms > 0 else 0, NO_OUTLINES if index is None else outlines_in(index), stale)


def _moments(marks: Iterable[tuple[bytes, bytes | None]]) -> dict[bytes, float]:
    """From when on variants are stale; what is no number is not ours, and stale for ever."""
    found: dict[bytes, float] = {}
    for field, moment in marks:
        if moment is not None:
            with suppress(ValueError):
                found[field] = 0.0
                found[field] = float(moment)
    return found


def _first_failure(failure: Failure) -> Failure:
    """What went wrong first of what was done side by side."""
    if isinstance(failure.value, FirstError):
        inner: Failure = failure.value.subFailure
        return inner
    return failure


def _all(replies: list[RedisReply]) -> Stored | None:
    """The replies to HGETALL and PTTL."""
    flat, ttl_ms = cast("tuple[list[bytes], int]", replies)
    if isinstance(flat, ResponseError) or isinstance(ttl_ms, ResponseError):
        checked(flat)
        checked(ttl_ms)
    held = dict(zip(flat[::2], flat[1::2], strict=True))
    index = held.pop(INDEX, None)
    variants = {field: value for field, value in held.items() if field[:1] not in (TAGS, MARK)}
    if not variants or ttl_ms == -2:  # -2: expired between the two commands
        return None
    stale = _moments((field[1:], value) for field, value in held.items() if field[:1] == MARK)
    return Stored(variants, max(0, ttl_ms), outlines_in(index), stale)  # -1: no expiry, so not ours; let nobody keep it


def _listed(key: bytes, stored: Stored | None, score: RedisReply) -> Stored | None:
    """What was ``stored`` if the index lists it, which ZSCORE tells."""
    if stored is not None and (score is None or isinstance(score, ResponseError)):
        _log.debug("the index that lists {key} was evicted, so it counts as absent", key=key.decode("latin-1"))
        return None
    return stored
