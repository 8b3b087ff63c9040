"""Looking a key up: one round trip for some of its variants, or for all, with the outlines of the others.

A server that evicts may lose an index of roles before the entries it lists: what its index does not list counts as
absent, so a look-up of such a key asks for both.

Most look-ups ask for one variant of a key of a built-in role, and there is one for every hit that Redis answers. So
whoever wants no Deferred for it gets the answer from :class:`Seek`, which says the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Protocol, cast

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from txredisapi import ResponseError

from caching_proxy.interfaces import NO_OUTLINES, NOT_STALE, AnswerLost, Seeker, Stored, StoreError
from caching_proxy.store.direct import Watch
from caching_proxy.store.redis.commands import AnswerTaker, Ask, Call
from caching_proxy.store.redis.connection import RedisReply, checked, form, pack
from caching_proxy.store.redis.index import INDEX, outlines_in
from caching_proxy.store.redis.stale_scripts import MARK, TAGS
from caching_proxy.store.redis.target_index import NEVER_LISTED, indexed

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


class Forgetful(Protocol):
    """The store, as far as a look-up needs it."""

    def unanswerable(self, key: bytes) -> Deferred[None]: ...


class LookupCall(Ask[Stored | None]):
    """A lookup of ``fields``, or of all there is; it is asked once more if its connection is lost, and its key
    forgotten if that happens again."""

    __slots__ = ("_fields", "_key", "_listed", "_store")

    def __init__(self, store: Forgetful, key: bytes, fields: Sequence[bytes] | None) -> None:
        size, where = len(key), None if key.startswith(NEVER_LISTED) else indexed(key)
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


class Seek(LookupCall):
    """A lookup that tells ``seeker`` itself, and before that ``watch``, which hears of good news only when not calm.
    Whoever makes one sets the three."""

    __slots__ = ("called", "seeker", "watch")

    called: bool
    seeker: Seeker
    watch: Watch

    @property
    def answer(self) -> AnswerTaker[Stored | None]:  # type: ignore[override]
        """This object itself, where other calls have a Deferred. It is not kept, as that would be a reference cycle."""
        return self

    def answered(self) -> None:
        if self.called:  # out of time
            self.pool.finished(self)
            return
        try:
            # ``read``, at a frame less where no index lists the key
            stored = self.read(self.replies) if self._listed else _answer(self._fields, self.replies)
        except Exception:  # noqa: BLE001  what that means is the same for all calls
            Call.answered(self)
            return
        self.pool.finished(self)
        if self.called:
            return
        self.called = True
        if not self.watch.breaker.calm:
            self.watch.went_well()
        try:
            self.seeker.found(stored)
        except Exception:  # noqa: BLE001  a bug there, which is not the connection's
            _log.failure("what was found under {key} was not taken", key=self._key.decode("latin-1"))

    def callback(self, result: Stored | Failure | None) -> None:
        """There is no answer; ``result`` says why, since whatever is one goes the other way."""
        assert isinstance(result, Failure)
        self.errback(result)

    def errback(self, error: StoreError | Failure) -> None:
        """There is no answer."""
        self.called = True
        failure = error if isinstance(error, Failure) else Failure(error)
        self.watch.went_wrong(failure)
        try:
            self.seeker.failed(failure)
        except Exception:  # noqa: BLE001  likewise
            _log.failure("that {key} was not found was not taken", key=self._key.decode("latin-1"))


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
