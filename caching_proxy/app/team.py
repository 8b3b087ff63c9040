"""The admin endpoints of one of several workers: what they ask goes to its siblings too; answers are put together."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, ParamSpec, TypeVar

import attrs
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from caching_proxy.app.figures import Figures
from caching_proxy.app.team_answers import ENTRIES, KEYS, KEYS_COUNTED, METRICS, READY, SEPARATOR, TAGGED, TeamAnswers
from caching_proxy.app.team_watch import TeamWatch
from caching_proxy.cache.inspector import PAGE, in_order
from caching_proxy.cache.pace import Pace
from caching_proxy.cache.tiers.variants import latest_of_each
from caching_proxy.interfaces import SCAN_ENDS, ISiblings, StoreError
from caching_proxy.rules.codec import CodecError, decode
from caching_proxy.rules.entry import CacheEntry
from caching_proxy.rules.listing import MEMORY, STORE, Cursor, Page, parse_cursor
from caching_proxy.telemetry.access_log import AccessLog
from caching_proxy.telemetry.fetched_lines import FetchedLines
from caching_proxy.telemetry.happenings import Happenings
from caching_proxy.telemetry.metrics.snapshot import Snapshot
from caching_proxy.web.admin.services import AdminServices, ReadyReport, Workers
from caching_proxy.web.admin.streams import Look
from caching_proxy.workers.siblings import Gathered, Parts, Siblings, Words
from caching_proxy.workers.switchboard import ASKED_SECONDS

LAST_SECONDS = 2 * ASKED_SECONDS
"""Whoever is asked has answered by then, or is known not to."""

_log = Logger()

_PHASES = ("closed", "half-open", "open")
_BUS = ("up", "late", "unordered", "down")

P = ParamSpec("P")
T = TypeVar("T")


class Team:
    """The other workers: ``channel`` asks them, ``siblings`` has them invalidate; we are ``wanted`` in all.

    ``own_store``: each worker has a store of its own, else all share one.
    """

    def __init__(
        self,
        channel: Siblings,
        siblings: ISiblings,
        clock: IReactorTime,
        *,
        number: int,
        slot: int,
        wanted: int,
        own_store: bool,
    ) -> None:
        self.siblings = siblings
        self.own_store = own_store
        self.workers = Workers(wanted, wanted)
        self.answers: TeamAnswers
        self._channel = channel
        self._clock = clock
        self._number = number
        self._slot = slot

    def look(self, statistics: Callable[[], Figures], happenings: Happenings, access: AccessLog) -> Look:
        """Looks at all workers; ``statistics``, ``happenings`` and ``access`` are those of this one."""
        lines = FetchedLines(access, self._clock)
        watch = TeamWatch(self._channel, f"{self._slot}.{self._number}", statistics, happenings, lines)
        return _deferred(watch.look)

    def share(self, services: AdminServices) -> AdminServices:
        """``services`` that speak for all workers."""
        self.answers = TeamAnswers(services, str(self._slot + 1), self._number)
        self.answers.register(self._channel)
        all_ = _All(services, self, self._channel, self._clock, self._slot)
        return attrs.evolve(
            services,
            invalidate=_deferred(all_.invalidate),
            invalidate_tags=_deferred(all_.invalidate_tags),
            tagged=_deferred(all_.tagged),
            keys=_deferred(all_.keys),
            entries=_deferred(all_.entries),
            ready=_deferred(all_.ready),
            scrape=_deferred(all_.scrape),
            workers=lambda: self.workers,
        )


class _All:
    """The services of all workers; ``own`` are those of this one."""

    def __init__(self, own: AdminServices, team: Team, channel: Siblings, clock: IReactorTime, slot: int) -> None:
        self._own = own
        self._team = team
        self._channel = channel
        self._clock = clock
        self._slot = slot

    async def invalidate(self, pattern: bytes, soft: bool) -> int:
        return await self._everywhere(self._own.invalidate(pattern, soft))

    async def invalidate_tags(self, tags: Sequence[bytes], soft: bool) -> int:
        return await self._everywhere(self._own.invalidate_tags(tags, soft))

    async def tagged(self, tags: Sequence[bytes]) -> set[bytes]:
        found = set(await self._own.tagged(tags))
        said = await self._channel.gather(TAGGED, {}, blob=SEPARATOR.join(tags))
        for parts in said.parts.values():
            _check(parts)
            found.update(key for _, blob in parts if blob for key in blob.split(SEPARATOR))
        return found

    async def _everywhere(self, invalidation: Deferred[int]) -> int:
        try:
            return await invalidation
        except StoreError:  # what the answer says of memory is to be true of every worker
            await self._team.siblings.reached()
            raise

    async def _soon(self, gathering: Coroutine[Any, Any, Gathered]) -> Gathered:
        """What the impatient get; nothing if it is the supervisor that does not answer."""
        try:
            return await Deferred.fromCoroutine(gathering).addTimeout(LAST_SECONDS, self._clock)
        except TimeoutError:
            _log.error("the supervisor does not answer: this worker speaks for itself")
            return Gathered()

    async def scrape(self, accept: str | None) -> tuple[bytes, bytes]:
        said = await self._soon(self._channel.gather(METRICS, {}, everyone=True, patient=False))
        snapshots: list[Snapshot] = []
        for parts in said.parts.values():
            if text := b"".join(blob for _, blob in parts):
                snapshots.append(Snapshot.decode(text))
                await deferLater(self._clock, 0)  # thousands of series take milliseconds each
        if not snapshots:  # nobody is there to pass questions on
            return self._own.metrics.render(accept)
        return self._own.metrics.render_all(snapshots, accept)

    async def ready(self) -> ReadyReport:
        own = await self._own.ready()
        said = await self._soon(self._channel.gather(READY, {}, patient=False))
        report = own
        for parts in said.parts.values():
            if (words := parts[-1][0]).get("backend"):
                report = _worse(report, words)
        workers = self._team.workers
        return attrs.evolve(report, workers=attrs.evolve(workers, serving=workers.serving - len(said.late)))

    async def entries(self, key: bytes) -> list[CacheEntry]:
        own = await self._own.entries(key)
        said = await self._channel.gather(ENTRIES, {}, blob=key)
        for parts in said.parts.values():
            _check(parts)
            own = list(latest_of_each(_entries(parts, key), own))
        return own

    async def keys(self, match: bytes | None, limit: int | None, cursor: Cursor | None) -> Page:
        """The workers' listings one after another; where they share a store, only the first lists it."""
        wanted, found = limit or PAGE, dict[bytes, None]()
        at: Cursor | None = cursor
        for slot in range(cursor.slot if cursor else 0, self._team.workers.wanted):
            at = at or Cursor(STORE if self._team.own_store or not slot else MEMORY, SCAN_ENDS)
            while at is not None:
                if len(found) >= wanted:
                    return await self._page(list(found), attrs.evolve(at, slot=slot))
                page = await self._page_of(slot, match, min(wanted - len(found), PAGE), attrs.evolve(at, slot=0))
                found.update(dict.fromkeys(page.keys))
                at = parse_cursor(page.cursor) if page.cursor is not None else None
        if match is None and cursor is None:
            self._channel.ask(KEYS_COUNTED, {"n": len(found)})
        return await self._page(list(found), None)

    async def _page(self, keys: list[bytes], cursor: Cursor | None) -> Page:
        return Page(await in_order(keys, Pace(self._clock)), None if cursor is None else bytes(cursor))

    async def _page_of(self, slot: int, match: bytes | None, limit: int, at: Cursor) -> Page:
        if slot == self._slot:
            return await self._own.keys(match, limit, at)
        asked = {"limit": limit, "cursor": bytes(at).decode()}
        said = await self._channel.gather(KEYS, asked, blob=match or b"", slot=slot)
        keys: dict[bytes, None] = {}
        cursor: str | None = None
        for parts in said.parts.values():
            _check(parts)
            keys.update((key, None) for _, blob in parts if blob for key in blob.split(SEPARATOR))
            cursor = parts[-1][0].get("cursor") or cursor
        return Page(list(keys), None if cursor is None else cursor.encode())


def _check(parts: Parts) -> None:
    failed = parts[-1][0].get("failed")
    if failed:
        raise StoreError(failed)


def _entries(parts: Parts, key: bytes) -> list[CacheEntry]:
    texts: dict[int, bytearray] = {}
    for words, blob in parts:
        if "entry" in words:
            texts.setdefault(words["entry"], bytearray()).extend(blob)
    entries = []
    for text in texts.values():
        try:
            entries.append(decode(bytes(text), key))
        except CodecError:  # its worker died half-way
            continue
    return entries


def _worse(report: ReadyReport, other: Words) -> ReadyReport:
    """What is wrong with either."""
    return attrs.evolve(
        report,
        backend=report.backend if report.backend != "ok" else other["backend"],
        store=report.store if report.store != "ok" else other["store"],
        breaker=max(report.breaker, other["breaker"], key=_PHASES.index),
        bus=None if report.bus is None else max(report.bus, other.get("bus") or "down", key=_BUS.index),
        pending=report.pending + other.get("pending", 0),
    )


def _deferred(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, Deferred[T]]:
    return lambda *args, **named: Deferred.fromCoroutine(function(*args, **named))
