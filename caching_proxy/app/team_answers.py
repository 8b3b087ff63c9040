"""What a worker answers when a sibling asks: what its own services say, in pieces that fit the control channel."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from caching_proxy.interfaces import StoreError
from caching_proxy.rules.codec import encode
from caching_proxy.rules.listing import parse_cursor
from caching_proxy.web.admin.services import AdminServices
from caching_proxy.workers.announcer import SEPARATOR, in_pieces
from caching_proxy.workers.archive import WHAT as METRICS
from caching_proxy.workers.frames import pieces
from caching_proxy.workers.siblings import SiblingReply, Siblings, Words

KEYS, KEYS_COUNTED, ENTRIES, READY, TAGGED = "keys", "keys counted", "entries", "ready", "tagged"


class TeamAnswers:
    """``process`` and ``number`` say in metrics whose they are."""

    _log = Logger()

    def __init__(self, services: AdminServices, process: str, number: int) -> None:
        self._services = services
        self._process = process
        self._number = number

    def register(self, siblings: Siblings) -> None:
        """Answer from now on."""
        siblings.answerers[METRICS] = self._metrics
        siblings.answerers[KEYS_COUNTED] = self._keys_counted
        later = {KEYS: self._keys, ENTRIES: self._entries, READY: self._ready, TAGGED: self._tagged}
        for what, answer in later.items():
            siblings.answerers[what] = self._later(answer)

    def counted(self) -> bytes:
        """What this worker has counted."""
        return self._services.metrics.snapshot(self._process, self._number).encode()

    def _later(
        self, answer: Callable[[Words, bytes, SiblingReply], Awaitable[None]]
    ) -> Callable[[Words, bytes, SiblingReply], None]:
        async def answered(words: Words, blob: bytes, reply: SiblingReply) -> None:
            try:
                await answer(words, blob, reply)
            except StoreError as error:
                reply.end({"failed": str(error)})

        def failed(failure: Failure, reply: SiblingReply) -> None:
            self._log.failure("a sibling could not be answered", failure)
            reply.end()

        def begin(words: Words, blob: bytes, reply: SiblingReply) -> None:
            Deferred.fromCoroutine(answered(words, blob, reply)).addErrback(failed, reply)

        return begin

    def _metrics(self, words: Words, blob: bytes, reply: SiblingReply) -> None:
        for piece in pieces(self.counted()):
            reply.part({}, piece)
        reply.end()

    def _keys_counted(self, words: Words, blob: bytes, reply: SiblingReply) -> None:
        self._services.metrics.gauge("cache_keys_total").set(words["n"])
        reply.end()

    async def _keys(self, words: Words, blob: bytes, reply: SiblingReply) -> None:
        page = await self._services.keys(blob or None, words["limit"], parse_cursor(words["cursor"].encode()))
        for piece in in_pieces(page.keys):
            reply.part({}, piece)
        reply.end({"cursor": None if page.cursor is None else page.cursor.decode()})

    async def _tagged(self, words: Words, blob: bytes, reply: SiblingReply) -> None:
        for piece in in_pieces(await self._services.tagged(blob.split(SEPARATOR))):
            reply.part({}, piece)
        reply.end()

    async def _entries(self, words: Words, blob: bytes, reply: SiblingReply) -> None:
        for number, entry in enumerate(await self._services.entries(blob)):
            for piece in pieces(encode(entry)):
                reply.part({"entry": number}, piece)
        reply.end()

    async def _ready(self, words: Words, blob: bytes, reply: SiblingReply) -> None:
        report = await self._services.ready()
        reply.end(attrs.asdict(report))


__all__ = ["ENTRIES", "KEYS", "KEYS_COUNTED", "METRICS", "READY", "SEPARATOR", "TAGGED", "TeamAnswers"]
