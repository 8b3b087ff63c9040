"""Compressed forms of hot entries: made once, kept with their record, and counted in its bytes.

A short body is compressed at once. A longer one is handed to ``run``, a thread, and until it is ready its entry
answers as it is: nobody waits. What does not get smaller is remembered too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from caching_proxy.http.messages import RequestHead
from caching_proxy.rules.encodings import asks_for_form, coded, marked, negotiable
from caching_proxy.rules.entry import CacheEntry
from caching_proxy.rules.variance import variant_of

Name = tuple[bytes, bytes]
"""A variant and a coding; an empty one is the identity form."""

Keep = Callable[[Name, CacheEntry | None], None]
"""Keeps a form with the record that it was made for; None: it is not worth it."""

Run = Callable[[Callable[[], bytes]], Deferred[bytes]]

AT_ONCE_BYTES = 16 * 1024
"""The longest body that is compressed while its client waits: it takes about a millisecond."""

WAITING_BYTES = 32 * 1024 * 1024
"""Bodies that may wait for their turn; others try again when they are next asked for."""

WORTH = 0.95
"""The part of a body's length that its form may have."""


class Forms:
    """``offered``: codings in order of preference. ``compress`` makes one, ``run`` calls a function elsewhere."""

    _log = Logger()

    def __init__(
        self, offered: tuple[bytes, ...], least: int, compress: Callable[[bytes, bytes], bytes], run: Run
    ) -> None:
        self._offered = offered
        self._least = least
        self._compress = compress
        self._run = run
        self._pending: set[tuple[int, Name]] = set()
        self._queue: deque[tuple[CacheEntry, Name, Keep]] = deque()
        self._waiting = 0
        self._running = False

    @staticmethod
    def negotiates(entry: CacheEntry) -> bool:
        """Whether the answers made of ``entry`` depend on Accept-Encoding."""
        return negotiable(entry.status, entry.fields)

    def form(
        self, head: RequestHead, entry: CacheEntry, kept: dict[Name, CacheEntry | None], keep: Keep
    ) -> tuple[CacheEntry, bool]:
        """What answers ``head`` of an entry, and whether that is going to stay so. ``kept``: forms made before."""
        if not self.negotiates(entry):
            return entry, True
        variant = variant_of(entry)
        coding = asks_for_form(head, self._offered)
        settled = True
        if coding is not None and len(entry.body) >= self._least:
            name = variant, coding
            if name not in kept:
                self._make(entry, name, keep)
            made = kept.get(name)
            if made is not None:
                return made, True
            settled = name in kept
        name = variant, b""
        if name not in kept:
            keep(name, marked(entry))
        return kept.get(name) or marked(entry), settled

    def _make(self, entry: CacheEntry, name: Name, keep: Keep) -> None:
        if len(entry.body) <= AT_ONCE_BYTES:
            self._made(self._compress(name[1], entry.body), entry, name, keep)
            return
        if (id(entry), name) in self._pending or self._waiting + len(entry.body) > WAITING_BYTES:
            return
        self._pending.add((id(entry), name))
        self._waiting += len(entry.body)
        self._queue.append((entry, name, keep))
        self._next()

    def _next(self) -> None:
        """One at a time: clients are served by the other core, or by the same one."""
        if self._running or not self._queue:
            return
        self._running = True
        entry, name, keep = self._queue.popleft()
        done = self._run(partial(self._compress, name[1], entry.body)).addCallback(self._made, entry, name, keep)
        done.addErrback(self._failed).addCallback(self._over, entry, name)

    def _made(self, body: bytes, entry: CacheEntry, name: Name, keep: Keep) -> None:
        worth = len(body) <= WORTH * len(entry.body)
        keep(name, coded(entry, name[1], body) if worth else None)

    def _failed(self, failure: Failure) -> None:
        self._log.failure("a body could not be compressed", failure)

    def _over(self, _: object, entry: CacheEntry, name: Name) -> None:
        self._running = False
        self._pending.discard((id(entry), name))
        self._waiting -= len(entry.body)
        self._next()
