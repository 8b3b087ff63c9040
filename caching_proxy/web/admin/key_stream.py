"""The answer of ``GET /keys`` where there are more keys than fit on a page: written as they are found.

A page at a time is asked for, and only when the client has taken what was written. The list by role comes behind
that of all keys, so what it needs is kept meanwhile: each page sorted and compressed, in small blocks, some ten bytes a
key. In the end the pages are merged. An answer that is too long for that ends with a cursor.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from heapq import merge
from itertools import chain, groupby, islice

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from caching_proxy.interfaces import StoreError
from caching_proxy.rules.key import key_text, role_label
from caching_proxy.rules.listing import Cursor, Page, parse_cursor
from caching_proxy.web.admin.json_answers import AdminRequest

BLOCK = 500
"""Keys that are compressed together, and keys to a piece."""

MOST_PAGES = 200
"""Pages that are merged in the end, and so in one answer."""

MOST_TOLD_APART = 200_000
"""Keys up to which none comes twice; a walk over a store that shrinks meanwhile, or several workers', may give some."""

NextPage = Callable[[int, Cursor], Deferred[Page]]
"""At most so many keys, from there on."""

_log = Logger()


class Spool:
    """Keys, a page after the other, to be read back by role."""

    def __init__(self) -> None:
        self.count = 0
        self.pages: list[list[bytes]] = []

    def add(self, keys: Sequence[bytes]) -> Iterator[bytes]:
        """Keep some, which must be sorted and not more than a page; gives their JSON texts in pieces meanwhile."""
        lines: list[str] = []
        for start in range(0, len(keys), BLOCK):
            some = keys[start : start + BLOCK]
            texts = [json.dumps(key_text(key)) for key in some]
            lines += [f"{json.dumps(role_label(key))}\t{text}" for key, text in zip(some, texts, strict=True)]
            yield _joined(texts, first=not self.count)
            self.count += len(some)
        lines.sort()
        blocks: list[bytes] = []
        self.pages.append(blocks)
        for start in range(0, len(lines), BLOCK):
            blocks.append(zlib.compress("\n".join(lines[start : start + BLOCK]).encode("ascii"), 1))
            yield b""

    def by_role(self) -> Iterator[bytes]:
        """The members of an object of lists, in pieces."""
        streams = []
        for first, *rest in filter(None, self.pages):
            streams.append(chain(list(_lines([first])), _lines(rest)))
            yield b""  # a hundred of them at once would take long
        lines = (line.partition("\t") for line in merge(*streams))
        first_role = True
        for role, members in groupby(lines, lambda line: line[0]):
            yield b"%b%b:[" % (b"" if first_role else b",", role.encode("ascii"))
            first_role, opening = False, True
            while texts := [text for _, _, text in islice(members, BLOCK)]:
                yield _joined(texts, opening)
                opening = False
            yield b"]"


def _joined(texts: Sequence[str], first: bool) -> bytes:
    return (b"" if first else b",") + ",".join(texts).encode("ascii")


def _lines(blocks: Sequence[bytes]) -> Iterator[str]:
    for block in blocks:
        yield from zlib.decompress(block).decode("ascii").split("\n")


@implementer(IPushProducer)
class KeyStream:
    """One answer: what is on ``first`` and on the pages behind it, at most ``limit`` keys (None: all).

    ``counted`` hears how many there were, if those were all.
    """

    def __init__(
        self,
        clock: IReactorTime,
        first: Page,
        next_page: NextPage,
        limit: int | None,
        page: int,
        counted: Callable[[int], object],
    ) -> None:
        self._clock = clock
        self._next_page = next_page
        self._limit = limit
        self._page = page
        self._counted = counted
        self._first: Page | None = first
        self._seen: set[int] = set()
        self._room: Deferred[None] | None = None
        self._work: Deferred[None] | None = None

    def begin(self, request: AdminRequest) -> None:
        """Write to ``request``, whose head is on its way."""
        request.notifyFinish().addBoth(lambda _: self.stopProducing())
        request.registerProducer(self, True)
        self._work = Deferred.fromCoroutine(self._write(request))
        self._work.addErrback(self._failed, request)

    def pauseProducing(self) -> None:
        if self._room is None:
            self._room = Deferred()

    def resumeProducing(self) -> None:
        room, self._room = self._room, None
        if room is not None:
            room.callback(None)

    def stopProducing(self) -> None:
        if self._work is not None:
            self._work.cancel()

    async def _write(self, request: AdminRequest) -> None:
        async for piece in self._pieces():
            if piece:
                request.write(piece)
            if self._room is not None:
                await self._room
            else:
                await deferLater(self._clock, 0)
        request.unregisterProducer()
        request.finish()

    async def _pieces(self) -> AsyncIterator[bytes]:
        spool = Spool()
        page, self._first = self._first, None
        assert page is not None
        yield b'{"keys":['
        while True:
            for piece in spool.add(self._news(page.keys)):
                yield piece
            cursor = page.cursor and parse_cursor(page.cursor)
            left = self._page if self._limit is None else min(self._page, self._limit - spool.count)
            if not cursor or left <= 0 or len(spool.pages) >= MOST_PAGES:
                break
            page = await self._next_page(left, cursor)
        yield b'],"keysByRole":{'
        for piece in spool.by_role():
            yield piece
        yield b'},"keyCount":%d' % spool.count
        if page.cursor is None:
            self._counted(spool.count)
        else:
            yield b',"cursor":"%b"' % page.cursor
        yield b"}\n"

    def _news(self, keys: Sequence[bytes]) -> Sequence[bytes]:
        news = [key for key in keys if hash(key) not in self._seen] if self._seen else keys
        if len(self._seen) < MOST_TOLD_APART:
            self._seen.update(map(hash, news))
        return news

    def _failed(self, failure: Failure, request: AdminRequest) -> None:
        """The head has gone out: only a body without its end can tell."""
        if failure.check(CancelledError):
            return
        if failure.check(StoreError):
            _log.warn("a list of keys ends early: {reason}", reason=failure.getErrorMessage())
        else:
            _log.failure("a list of keys ends early", failure)
        request.abort()
