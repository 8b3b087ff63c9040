"""Ties the declared series to the parts they speak of: read at scrape time, or counted as it happens."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from caching_proxy.cache.key_state import KeyState
from caching_proxy.cache.pass_through import Observer
from caching_proxy.cache.progress import Progress
from caching_proxy.cache.requests import CacheRequest, ClientRequest
from caching_proxy.cache.steps import Step, Tell
from caching_proxy.cache.tiers.burst import BurstTier
from caching_proxy.cache.tiers.hot import HotTier
from caching_proxy.cache.tiers.writer import Writer
from caching_proxy.interfaces import IInvalidationBus, IStore, UpstreamError
from caching_proxy.rules.bus_message import Invalidation
from caching_proxy.rules.key import key_text
from caching_proxy.rules.outcome import Refusal
from caching_proxy.rules.reasons import REFUSALS
from caching_proxy.store.breaker import Phase
from caching_proxy.store.circuit_breaker import CircuitBreakerStore
from caching_proxy.telemetry.failure_log import FailureLog
from caching_proxy.telemetry.happenings import Happenings
from caching_proxy.telemetry.log_writer import LogWriter
from caching_proxy.telemetry.metrics import Metrics
from caching_proxy.telemetry.metrics.path_labels import normalise_method
from caching_proxy.telemetry.redaction import target_without_secrets


def watch_tiers(metrics: Metrics, hot: HotTier, burst: BurstTier, key_state: KeyState) -> None:
    """Hot and burst tiers, and collapsed requests."""
    for name, tier in (("hot_cache", hot), ("burst_cache", burst)):
        for what in ("entries", "bytes"):
            metrics.watch(f"{name}_{what}", _attribute(tier, what))
        for what in ("hits", "misses", "evictions"):
            metrics.watch(f"{name}_{what}_total", _attribute(tier, what))
    # a hot hit saves its lookup; so do an answer from the burst tier and a read shared with another
    metrics.watch("hot_cache_saved_redis_operations_total", lambda: hot.hits)
    metrics.watch("burst_cache_saved_redis_operations_total", lambda: burst.hits + burst.shared_reads)
    metrics.watch("collapsed_requests_total", lambda: key_state.collapsed)


def watch_store(metrics: Metrics, store: IStore) -> None:
    """Pool and breaker; the embedded store has neither and reads as an empty pool and a closed breaker."""
    if not isinstance(store, CircuitBreakerStore):
        for name in ("redis_pool_size", "redis_pool_in_use", "redis_pool_waiting", "circuit_breaker_state"):
            metrics.watch(name, lambda: 0)
        return
    metrics.watch("circuit_breaker_state", lambda: store.phase.value)
    pool = getattr(store.store, "pool", None)
    for what in ("size", "in_use", "waiting"):
        metrics.watch(f"redis_pool_{what}", _attribute(pool, what))


def watch_bus(metrics: Metrics, bus: IInvalidationBus | None) -> None:
    """What is told to and heard from other proxies; without a bus all is 0."""
    metrics.watch("bus_subscribed", _attribute(bus, "subscribed") if bus else lambda: 0)
    for what in ("sent", "received", "gaps", "flushes"):
        metrics.watch(f"bus_{what}_total", _attribute(bus, what) if bus else lambda: 0)


def watch_writer(metrics: Metrics, writer: Writer) -> None:
    """Writes that the store did not take."""
    metrics.watch("cache_store_write_failures_total", _attribute(writer, "failed"))
    metrics.watch("cache_store_writes_overtaken_total", _attribute(writer, "overtaken"))


def watch_walks(metrics: Metrics, progress: Progress) -> None:
    """Walks over the store's keys that invalidations need."""
    metrics.watch("invalidation_walks_running", lambda: len(progress.running))
    metrics.watch("invalidation_walk_seconds", lambda: progress.seconds)
    metrics.watch("invalidation_walk_keys_looked_at", lambda: progress.looked_at_now)
    metrics.watch("invalidation_walk_keys_changed", lambda: progress.changed_now)
    metrics.watch("invalidation_walks_total", _attribute(progress, "walks"))
    metrics.watch("invalidation_keys_looked_at_total", _attribute(progress, "looked_at"))


def watch_log(metrics: Metrics, log: LogWriter) -> None:
    """Lines that could not be written."""
    metrics.watch("log_lines_lost_total", _attribute(log, "lost"))


def on_phase(metrics: Metrics) -> Callable[[Phase], None]:
    """Counts how often the breaker opens."""
    trips = metrics.counter("circuit_breaker_trips_total")
    return lambda phase: trips.inc() if phase is Phase.OPEN else None


def count_invalidation(metrics: Metrics) -> Callable[[int], None]:
    """Counts an invalidation carried out and the keys that it removed."""
    invalidations = metrics.counter("cache_invalidations_total")
    keys = metrics.counter("cache_invalidated_keys_total")

    def count(removed: int) -> None:
        invalidations.inc()
        keys.inc(removed)

    return count


def tells_invalidation(happenings: Happenings) -> Observer:
    """Tells of invalidations that requests bring about, and by which request."""

    def tell(what: bytes, client_request: ClientRequest, count: int | None) -> None:
        head = client_request.head
        target = target_without_secrets(head.target)
        who = b"%b %b from %b" % (head.method, target, client_request.client_ip or b"a Unix socket")
        happenings.invalidation(key_text(what), who.decode("latin-1"), count)

    return tell


def tells_given_up(happenings: Happenings) -> Callable[[CacheRequest, int, Refusal], None]:
    """Tells of answers that turned out, while they were relayed, not to be for storing."""

    def tell(cache_request: CacheRequest, status: int, refusal: Refusal) -> None:
        if happenings.room("uncached"):
            head, label = cache_request.head, cache_request.identity.label
            target = target_without_secrets(head.target).decode("latin-1")
            shown = cache_request.fetch_status.text
            happenings.uncached(normalise_method(head.method), target, status, shown, label, REFUSALS[refusal])

    return tell


def tells_of_others(
    happenings: Happenings, carry_out: Callable[[Invalidation], object]
) -> Callable[[Invalidation], object]:
    """Tells of what another proxy on the same store invalidated, and has it carried out here; of a target alone it does
    not tell, since every request that changes something makes one."""

    def heard(invalidation: Invalidation) -> None:
        carry_out(invalidation)
        for what in (*invalidation.keys, *invalidation.patterns, *(b"tag " + tag for tag in invalidation.tags)):
            happenings.invalidation(key_text(what), "another proxy", None)

    return heard


class BackendMeter:
    """Counts the backend's answers by status class, times their heads, counts failures by kind and logs why there is
    no answer; an ``UpstreamObserver``."""

    def __init__(self, metrics: Metrics, clock: IReactorTime) -> None:
        self._metrics = metrics
        self._seconds = metrics.histogram("backend_request_duration_seconds")
        self._classes = [metrics.counter("backend_requests_total", f"{n}xx") for n in range(10)]
        self._failures = FailureLog(clock)

    def connected(self) -> None: ...

    def reused(self) -> None: ...

    def answered(self, status: int, seconds: float) -> None:
        self._seconds.observe(seconds)
        self._classes[status // 100].value += 1

    def unanswered(self, error: UpstreamError) -> None:
        self._failures.failed(error)

    def failed(self, kind: str) -> None:
        self._metrics.counter("backend_errors_total", kind).inc()


def _attribute(owner: object, name: str) -> Callable[[], float]:
    return lambda: float(getattr(owner, name))


def tells_steps(level: str) -> Tell | None:
    """What logs each step of each request, for log level ``trace``."""
    if level != "trace":
        return None
    log = Logger(namespace="caching_proxy.cache.steps")

    def tell(step: Step, request: ClientRequest) -> None:
        fields = {"step": step.value, "request_id": request.request_id.decode("latin-1")}
        log.debug("step {step}", step=step.value, fields=fields, trace=True)

    return tell
