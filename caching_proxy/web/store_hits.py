"""Hits in the burst tier or the store, answered from the channel as hot ones are.

What the hot path has found out of a request, and has no hot entry for, is looked up here; the connection waits without
a request, a resource or a Deferred of its own. Only a fresh entry that answers the request as it stands is sent. All
else goes on: an ordinary miss to :mod:`.fast_miss`, the rest to the full path, which gets what was found and asks
nobody again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import is_

from twisted.logger import Logger

from caching_proxy.cache.requests import Plan
from caching_proxy.cache.tiers.hot import HotTier, named_by
from caching_proxy.cache.tiers.store_reader import Found, StoreReader
from caching_proxy.cache.tiers.variants import PLAIN_GUESS, VaryNames
from caching_proxy.http.messages import RequestHead
from caching_proxy.http.pieces import SHARED_BYTES, Content
from caching_proxy.http.request_directives import NO_DIRECTIVES
from caching_proxy.interfaces import Identity
from caching_proxy.rules.entry import CacheEntry
from caching_proxy.rules.explain import fast_whole_head
from caching_proxy.rules.locations import MARKED
from caching_proxy.rules.outcome import CacheStatus
from caching_proxy.rules.reuse import Use, choose, fast_answers
from caching_proxy.rules.scope import PLAIN_VIEW, View
from caching_proxy.server.batch import HotAnswer, LargeAnswer
from caching_proxy.server.channel import HTTPChannel
from caching_proxy.server.refusal import CLIENT_LEFT
from caching_proxy.web.fast_miss import FastMiss
from caching_proxy.web.hot_reading import Bearing, Head, Reading, asking
from caching_proxy.web.recorder import Recorder
from caching_proxy.web.rendered import rendered

_GET = b"GET"
_HIT = Use.HIT


class StoreHits:
    """What all visits use."""

    def __init__(
        self,
        hot: HotTier,
        reader: StoreReader,
        varying: VaryNames,
        recorder: Recorder,
        proxy_name: bytes | None,
        now: Callable[[], float],
        reading: Reading,
    ) -> None:
        self.hot = hot
        self.reader = reader
        self.varying = varying
        self.recorder = recorder
        self.proxy_name = proxy_name
        self.now = now
        self.reading = reading
        self.misses: FastMiss | None = None


def _same(some: Sequence[CacheEntry], others: Sequence[CacheEntry]) -> bool:
    return len(some) == len(others) and all(map(is_, some, others))


class Declined:
    """A request that is for the full path: nothing to look for, but its plan is known."""

    __slots__ = ("_channel", "_parsed", "_plan")

    def __init__(self, channel: HTTPChannel, parsed: Head, plan: Plan) -> None:
        self._channel = channel
        self._parsed = parsed
        self._plan = plan

    def start(self) -> None:
        self._channel.walk(self._parsed, self._plan)

    def client_left(self) -> None:
        """It has been handed on."""


class Visit:
    """One request on its way there and back.

    ``request_id`` is what a trusted proxy calls it.
    """

    __slots__ = (
        "_bearing", "_channel", "_hits", "_identity", "_key", "_left", "_parsed", "_request_id", "_view", "_wanted",
        "received_at",
    )  # fmt: skip
    _log = Logger()

    def __init__(
        self,
        hits: StoreHits,
        channel: HTTPChannel,
        parsed: Head,
        bearing: Bearing,
        identity: Identity,
        key: bytes,
        view: View,
        request_id: bytes | None,
    ) -> None:
        self.received_at = channel.clock.seconds()
        self._hits = hits
        self._channel = channel
        self._parsed = parsed
        self._bearing = bearing
        self._identity = identity
        self._key = key
        self._view = view
        self._request_id = request_id
        self._left = False

    def start(self) -> None:
        """Look the key up; the channel hears of what comes of it, at once or later."""
        hits, wanted = self._hits, PLAIN_GUESS
        varying = hits.varying
        plain = self._view is PLAIN_VIEW and not self._bearing.ranged
        if not plain or (varying.worth and not varying.none_known(self._key)):
            wanted = varying.guess(self._key, self._parsed.head.fields, self._view.scope)
        self._wanted = wanted
        found = hits.reader.read(self._key, wanted, self.found)
        if found is not None:
            self.found(found)

    def found(self, found: Found) -> None:
        """What burst tier or store had to say."""
        channel = self._channel
        if self._left:
            return
        answer = None
        if found.entries and found.trouble is None and not channel.site.connections.draining:
            try:
                answer = self._answer(found)
            except Exception:  # noqa: BLE001 a bug, which must not stop the others who wait for this read
                self._log.failure("answering {key} failed", key=self._key.decode("latin-1"))
        try:
            if answer is not None:
                channel.answered(answer)
            else:
                self._go_on(found)
        except Exception:  # noqa: BLE001 the same; what was sent ahead is served from here as well
            self._log.failure("a connection failed")
            channel.abort()

    def _go_on(self, found: Found) -> None:
        """Nothing that was found answers: fetch it from here, or let the full path see to it."""
        channel, hits, parsed = self._channel, self._hits, self._parsed
        plan, misses = hits.reading.plan(parsed, self._bearing, self._identity, self._key, self._view), hits.misses
        nothing = not found.entries and found.current and found.trouble is None
        if misses is None or not nothing or not misses(channel, parsed, plan, self.received_at):
            plan.wanted, plan.found = self._wanted, found
            channel.walk(parsed, plan, self.received_at)

    def _answer(self, found: Found) -> HotAnswer | None:
        """The bytes of a hit, which is hot from now on; None where the full path has to decide."""
        hits, key, now = self._hits, self._key, self._hits.now()
        hot, entries = hits.hot, found.entries
        record = hot.get(key, now) if key in hot.records else None
        if not found.current or (record is not None and not _same(record.entries, entries)):
            return None  # there was news while the store was read
        undemanding, entry = self._bearing.undemanding, entries[0]
        plainly = undemanding and self._view is PLAIN_VIEW and len(entries) == 1
        if not (plainly and fast_answers(entry, now)):  # as ``choose`` begins, at some frames less
            chosen = self._chosen(entries, now)
            if chosen is None:
                return None
            entry = chosen
        if entry.missing is not None or MARKED in entry.head:
            return None
        hot.misses += 1
        if record is None:  # else whoever waited for the same read has put them there
            found.kept = hot.put_all(key, entries, now) or found.kept
        head: bytes | None = None
        body: Content = entry.body
        status = entry.status
        line = self._parsed.line
        if undemanding and line.method == _GET:
            head = fast_whole_head(entry, CacheStatus.HIT, now, hits.proxy_name)
        if head is None:
            asked = asking(self._parsed, self._bearing)
            made = rendered(asked, entry, CacheStatus.HIT, now, hits.proxy_name)
            head, body, status = made.head, made.body, made.status
        hits.recorder.from_store(line, status, self._identity.label, self.received_at, self._request_id)
        if isinstance(body, bytes) and len(body) < SHARED_BYTES:
            return head + body
        return LargeAnswer(head, body)

    def _chosen(self, entries: Sequence[CacheEntry], now: float) -> CacheEntry | None:
        """Which of ``entries`` answers as it stands; None where none does or the full path has to decide."""
        head = asking(self._parsed, self._bearing)
        if len(entries) > 1 or entries[0].selecting:
            named = named_by(entries)
            if named:
                if self._hits.reading.steered(named):
                    return None
                head = self._parsed.head
        lookup = choose(head, NO_DIRECTIVES, entries, now, self._view)
        return lookup.entry if lookup.use is _HIT else None

    # -- a client that leaves --------------------------------------------------------------------

    @property
    def head(self) -> RequestHead:
        return self._parsed.head

    @property
    def client_ip(self) -> bytes:
        return self._channel.peer_host

    def client_left(self) -> None:
        """Nobody waits for the answer any more; the read goes on for others and for the burst tier."""
        self._left = True
        self._hits.recorder.refused(CLIENT_LEFT, self)
