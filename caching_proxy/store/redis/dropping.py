"""Dropping targets, many of them in one script while many are asked for.

Each change that passes through asks for one. The first goes at once; those that come while it is under way leave
together when it is back, as one call with one message to the other proxies. Nobody waits for a timer, and a target
that is asked for again is dropped by a call that begins after that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from caching_proxy.rules.bus_message import Invalidation
from caching_proxy.store.redis.connection import RedisReply
from caching_proxy.store.redis.errors import CommandRefused
from caching_proxy.store.redis.ledger import Words
from caching_proxy.store.redis.pool import RedisPool
from caching_proxy.store.redis.scripts import DropTarget, DropTargets

TOGETHER = 64
"""Targets in one call: a script holds up everybody."""

TOGETHER_BYTES = 4000
"""What they may take; a longer message would be remembered as an invalidation of everything, and escapes double it."""

T = TypeVar("T")
Waiting = dict[bytes, list[Deferred[set[bytes]]]]
"""Targets, and what fires with the keys that existed, for each who asked."""


class Dropping:
    """Drops targets on ``pool``. ``words`` None keeps no ledger; ``on_marked`` hears what it said."""

    def __init__(self, pool: RedisPool, words: Words | None, on_marked: Callable[[RedisReply], object]) -> None:
        self.words = words
        self._pool = pool
        self._on_marked = on_marked
        self._waiting: Waiting = {}
        self._under_way = False

    def drop(self, target: bytes) -> Deferred[set[bytes]]:
        """The keys of ``target`` that existed; fails with :class:`StoreError`."""
        if not self._under_way:
            self._under_way = True
            return self._alone(target).addBoth(self._over)
        answer: Deferred[set[bytes]] = Deferred()
        self._waiting.setdefault(target, []).append(answer)
        return answer

    def _alone(self, target: bytes) -> Deferred[set[bytes]]:
        return self._pool.execute(DropTarget(target, self._said((target,)), self._on_marked))

    def _said(self, targets: tuple[bytes, ...]) -> tuple[bytes, ...]:
        return () if self.words is None else self.words.arguments(Invalidation(targets=targets))

    def _over(self, result: T) -> T:
        """A call is back, whatever came of it; the next ones go."""
        self._under_way = False
        while self._waiting and not self._under_way:
            self._under_way = True
            self._send(self._next())
        return result

    def _next(self) -> Waiting:
        """Those that go together."""
        taken: Waiting = {}
        size = 0
        for target in self._waiting:
            size += len(target)
            if taken and (len(taken) == TOGETHER or size > TOGETHER_BYTES):
                break
            taken[target] = self._waiting[target]
        for target in taken:
            del self._waiting[target]
        return taken

    def _send(self, together: Waiting) -> None:
        targets = tuple(together)
        if len(targets) == 1:
            call = self._alone(targets[0]).addBoth(_tell, together[targets[0]])
        else:
            dropped = self._pool.execute(DropTargets(targets, self._said(targets), self._on_marked))
            call = dropped.addCallbacks(_dropped, self._not_dropped, (together,), errbackArgs=(together,))
        call.addBoth(self._over)

    def _not_dropped(self, failure: Failure, together: Waiting) -> None:
        """What the server refuses of one must not keep the others from what they ask for."""
        for target, answers in together.items():
            if failure.check(CommandRefused):
                self._alone(target).addBoth(_tell, answers)
            else:
                _tell(failure, answers)


def _dropped(gone: Mapping[bytes, set[bytes]], together: Waiting) -> None:
    for target, answers in together.items():
        _tell(gone[target], answers)


def _tell(result: set[bytes] | Failure, answers: Sequence[Deferred[set[bytes]]]) -> None:
    for answer in answers:
        answer.callback(result)
