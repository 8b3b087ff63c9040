"""Invalidations on their way to the siblings: one message at a time; what comes meanwhile goes together in the next."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed

from caching_proxy.rules.bus_message import EVERYTHING, KINDS, Invalidation
from caching_proxy.workers.frames import PIECE_BYTES
from caching_proxy.workers.siblings import SiblingReply, Siblings, Words

OnRemoved = Callable[[set[bytes]], object]

MAX_TOGETHER = 500
SEPARATOR = b"\n"
"""Between keys: none holds a line end, as targets have none and roles are escaped."""


@attrs.define(slots=True, eq=False)
class _Batch:
    items: list[tuple[Invalidation, OnRemoved]] = attrs.Factory(list)
    size: int = 0
    waiting: list[Deferred[None]] = attrs.Factory(list)

    def full(self) -> bool:
        return len(self.items) >= MAX_TOGETHER or self.size >= PIECE_BYTES


class Announcer:
    """The :class:`caching_proxy.interfaces.ISiblings` of a worker; ``soon`` calls a function in the next turn."""

    def __init__(self, siblings: Siblings, soon: Callable[[Callable[[], object]], object]) -> None:
        self._siblings = siblings
        self._soon = soon
        self._batches: list[_Batch] = []  # the first is on its way if ``_busy``
        self._busy = False

    def announce(self, invalidation: Invalidation, on_removed: OnRemoved) -> None:
        size = _size(invalidation)
        if size > PIECE_BYTES:
            invalidation, size = EVERYTHING, _size(EVERYTHING)
        open_ = self._batches[1:] if self._busy else self._batches
        if open_ and not open_[-1].full():
            batch = open_[-1]
        else:
            batch = _Batch()
            self._batches.append(batch)
            if not self._busy and len(self._batches) == 1:
                self._soon(self._next)
        batch.items.append((invalidation, on_removed))
        batch.size += size

    def reached(self) -> Deferred[None]:
        if not self._batches:
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._batches[-1].waiting.append(done)
        return done

    def _next(self) -> None:
        if self._busy or not self._batches:
            return
        self._busy = True
        batch = self._batches[0]
        removed: list[set[bytes]] = [set() for _ in batch.items]

        def part(worker: int, words: Words, blob: bytes) -> None:
            if blob:
                removed[words["item"]].update(blob.split(SEPARATOR))

        def over(late: list[int]) -> None:
            for (_, on_removed), keys in zip(batch.items, removed, strict=True):
                on_removed(keys)

        items = [_words(invalidation) for invalidation, _ in batch.items]
        self._siblings.ask("drop", {"items": items}, part, lambda: self._reached(batch)).addCallback(over)

    def _reached(self, batch: _Batch) -> None:
        """Every sibling has taken it."""
        self._batches.remove(batch)
        self._busy = False
        for done in batch.waiting:
            if not done.called:
                done.callback(None)
        self._next()


Hear = Callable[[list[Invalidation], Callable[[set[bytes]], object]], object]


def answer_drops(siblings: Siblings, hear: Hear) -> None:
    """Let ``hear`` carry out what siblings announce, and tell them what it removed."""

    def drop(words: Words, blob: bytes, reply: SiblingReply) -> None:
        items = words["items"]
        left = len(items) + 1

        def one_over() -> None:
            nonlocal left
            left -= 1
            if not left:
                reply.end()

        for number, item in enumerate(items):

            def removed(keys: set[bytes], number: int = number) -> None:
                for some in in_pieces(keys):
                    reply.part({"item": number}, some)
                one_over()

            hear([_invalidation(item)], removed)
        if left > 1:
            reply.part()  # everything has taken effect; what was removed follows
        one_over()

    siblings.answerers["drop"] = drop


def in_pieces(keys: Iterable[bytes]) -> list[bytes]:
    """``keys`` in pieces that fit frames."""
    pieces: list[bytes] = []
    some: list[bytes] = []
    size = 0
    for key in keys:
        some.append(key)
        size += len(key) + 1
        if size > PIECE_BYTES:
            pieces.append(SEPARATOR.join(some))
            some, size = [], 0
    return [*pieces, SEPARATOR.join(some)] if some else pieces


def _size(invalidation: Invalidation) -> int:
    return 20 + sum(len(one) + 4 for kind in KINDS for one in getattr(invalidation, kind))


def _words(invalidation: Invalidation) -> dict[str, Any]:
    lists = {kind: [one.decode("latin-1") for one in getattr(invalidation, kind)] for kind in KINDS}
    return {**lists, "soft": invalidation.soft}


def _invalidation(words: dict[str, Any]) -> Invalidation:
    lists = {kind: tuple(one.encode("latin-1") for one in words[kind]) for kind in KINDS}
    return Invalidation(**lists, soft=words["soft"])
