"""What the admin endpoints need of the rest of the program, and what they have in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from caching_proxy.rules.entry import CacheEntry
from caching_proxy.rules.listing import Cursor, Page
from caching_proxy.telemetry.happenings import Happenings
from caching_proxy.telemetry.metrics import Metrics
from caching_proxy.web.admin.guard import Guard
from caching_proxy.web.admin.json_answers import AdminRequest, JsonAnswer, JsonResource, RequestRefused
from caching_proxy.web.admin.streams import Look, Streams
from caching_proxy.web.admin.why import ExplainedRequest


@attrs.frozen(slots=True)
class Workers:
    """How many workers serve, and how many there should be."""

    serving: int
    wanted: int


@attrs.frozen(slots=True)
class ReadyReport:
    """What readiness found. ``backend`` and ``store`` are ``ok`` or say what is wrong; ``breaker`` is a phase.

    ``bus`` is how invalidations of other proxies come, None where there are none; ``pending`` of ours wait for the
    store.

    Without its backend the proxy is not ready; without its store it only works harder.
    """

    backend: str = "ok"
    store: str = "ok"
    breaker: str = "closed"
    draining: bool = False
    workers: Workers | None = None
    bus: str | None = None
    pending: int = 0

    @property
    def status(self) -> str:
        if self.draining:
            return "draining"
        if self.backend != "ok":
            return "unavailable"
        whole = self.workers is None or self.workers.serving >= self.workers.wanted
        return "ok" if self.store == "ok" and self.breaker == "closed" and whole else "degraded"

    @property
    def ready(self) -> bool:
        return self.status in ("ok", "degraded")


@attrs.frozen(slots=True)
class Insight:
    """What shows the workings: a look at statistics, the streams of events, what happened lately, and explanations of
    requests that an address might send."""

    look: Look
    streams: Streams
    happenings: Happenings
    why: Callable[[ExplainedRequest, bytes], Awaitable[dict[str, object]]]


@attrs.frozen(slots=True)
class AdminServices:
    """What the endpoints need, as functions.

    ``token`` is the admin token, None if none is set; ``open_`` lets everybody in without one. ``invalidate`` takes a
    glob on keys as it was given, and whether to make stale instead of removing, and fires with the number of distinct
    keys removed from any tier or marked; ``invalidate_tags`` the same of tags; ``tagged``
    fires with the keys that have something which carries one of some tags; ``keys`` takes a
    glob (None for all keys), the size of the page and where it begins; ``entries`` gives every variant of a key, none
    if it is absent. Those that ask the store may fail with :class:`StoreError`. ``workers`` tells of several processes,
    None where there is one; ``scrape`` takes an ``Accept`` field and fires with content type and body of all their
    metrics.
    """

    token: bytes | None = attrs.field(repr=False)
    open_: bool
    ready: Callable[[], Deferred[ReadyReport]]
    metrics: Metrics
    invalidate: Callable[[bytes, bool], Deferred[int]]
    invalidate_tags: Callable[[Sequence[bytes], bool], Deferred[int]]
    tagged: Callable[[Sequence[bytes]], Deferred[set[bytes]]]
    keys: Callable[[bytes | None, int | None, Cursor | None], Deferred[Page]]
    entries: Callable[[bytes], Deferred[list[CacheEntry]]]
    clock: IReactorTime
    insight: Insight
    workers: Callable[[], Workers | None] = lambda: None
    scrape: Callable[[str | None], Deferred[tuple[bytes, bytes]]] | None = None


class AdminResource(JsonResource):
    """Checks the method, then the guard, then answers."""

    methods: tuple[bytes, ...] = (b"GET", b"HEAD")
    guarded = False

    def __init__(self, services: AdminServices, guard: Guard) -> None:
        super().__init__()
        self.services = services
        self._guard = guard

    async def answer(self, request: AdminRequest) -> JsonAnswer:
        if request.head.method not in self.methods:
            raise RequestRefused(405, "this method is not allowed here", [(b"Allow", b", ".join(self.methods))])
        if self.guarded:
            self._guard.check(request.head, request.client_ip)
        return await self.act(request)

    async def act(self, request: AdminRequest) -> JsonAnswer:
        """The answer to a request that may be answered; raises :class:`RequestRefused`."""
        raise NotImplementedError
