"""Those who ask: each answer is held against the model, whenever it comes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from simulation.backend import whole
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from caching_proxy.cache.requests import CacheResponse, ClientRequest
from caching_proxy.http.body import Body
from caching_proxy.http.messages import Fields, RequestHead

if TYPE_CHECKING:
    from simulation.play import Slot

MOST_SECONDS = 120.0
"""Within which every request has ended: two lookups, two flights that are given up, a fetch of its own."""


class Request:
    """A client's request ``number`` to the process in ``slot``; PUT changes the target. ``part``: a range."""

    def __init__(
        self,
        slot: Slot,
        number: int,
        method: bytes,
        place: tuple[bytes, bytes],
        refresh: bool,
        part: tuple[int, int] | None = None,
    ) -> None:
        self.slot = slot
        self.process = slot.process
        self.number = number
        self.place = place
        self.method = method
        self.refresh = refresh
        self.over = False
        self.status: bytes | None = None
        world = slot.world
        self.began = world.now
        self.least = slot.least(place)
        self.language = world.random.choice((b"de", b"en"))
        target, role = place
        fields = [(b"Host", b"p"), (b"Authorization", b"role " + role), (b"Accept-Language", self.language)]
        if refresh:
            fields.append((b"Cache-Control", b"no-cache"))
        if part is not None:
            fields.append((b"Range", b"bytes=%d-%d" % part))
        head = RequestHead(method, target, Fields(fields))
        world.note(f"{self} asks {method.decode()} {target.decode()} as {role.decode()}{' anew' * refresh}{part or ''}")
        body = Body.of(b"")
        way = self.process.short_way if number % 2 else self.process.cache.pipeline
        answer = way.handle(ClientRequest(head, body, b"192.0.2.7", b"%d" % number))
        self._work: Deferred[CacheResponse] | None = None
        self._reply: CacheResponse | None = None
        if isinstance(answer, Deferred):
            self._work = answer
            answer.addCallbacks(self._replied, self._failed)
        else:
            self._replied(answer)

    def __str__(self) -> str:
        return f"{self.process.origin.decode()} #{self.number}"

    def leave(self) -> None:
        """The client goes away."""
        if self.over:
            return
        self.slot.world.note(f"{self} leaves")
        if self._reply is not None:
            self._reply.discard()
        elif self._work is not None:
            self._work.cancel()
        self.over = True

    def lost(self) -> None:
        """Its proxy is no more."""
        self.over = True

    def _replied(self, reply: CacheResponse) -> None:
        if self.over:
            reply.discard()
            return
        self._reply = reply
        body: Any = reply.body
        if isinstance(body, Body):
            body.collect(1 << 20).addCallbacks(self._read, self._broke_off)
        else:
            self._read(body if isinstance(body, bytes) else b"".join(body))

    def _failed(self, failure: Failure) -> None:
        if self.over:
            return
        if not failure.check(CancelledError):
            self._wrong(f"failed with {failure.value!r}")
        self._end()

    def _broke_off(self, failure: Failure) -> None:
        if self.over:
            return
        if not self.slot.world.odds.backend_fails:
            self._wrong("broke off, though the backend sends all it has")
        self._end()

    def _read(self, body: bytes) -> None:
        if self.over:
            return
        assert self._reply is not None
        self._end()
        status = self._reply.head.status
        self.status = self._reply.head.fields.first(b"x-cache-status")
        self.slot.world.note(f"{self} gets {status} {(self.status or b'').decode()} {body.decode()}")
        if status not in (200, 206):
            if not self.slot.world.odds.backend_fails:
                self._wrong(f"is answered with {status}, though the backend is well")
            return
        self._held_against_the_model(body)

    def _held_against_the_model(self, body: bytes) -> None:
        assert self._reply is not None
        fields, target = self._reply.head.fields, self.place[0]
        role, language, version = (fields.first(b"etag") or b"").strip(b'"').split(b"-")
        content = whole(target, role, language, int(version))
        if self._reply.head.status == 206:
            first, last, size = map(int, re.findall(rb"\d+", fields.first(b"content-range") or b""))
            content = content[first : last + 1] if size == len(content) else b""
        if body != (b"" if self.method == b"HEAD" else content):
            self._wrong(f"gets {body!r} as version {int(version)} of {self.place}")
        if role != self.place[1]:
            self._wrong(f"for {self.place} gets what is for {role!r}")
        if target == b"/varied" and language != self.language:
            self._wrong(f"in {self.language!r} gets what is in {language!r}")
        if int(version) < self.least:
            self._wrong(f"gets version {int(version)} of {self.place}, after {self.least}")
        if self.method == b"PUT":
            self.slot.changed_through(self, int(version))
        elif self.refresh and self.status == b"REFRESH" and self.slot.world.odds.hows == ("silently",):
            self.slot.refreshed(self, int(version))

    def _end(self) -> None:
        self.over = True
        if self.slot.world.now - self.began > MOST_SECONDS:
            self._wrong(f"took {self.slot.world.now - self.began:.1f} s")

    def _wrong(self, what: str) -> None:
        self.slot.world.fail(f"{self} {what}")
