"""What is remembered of each finished request: metrics and the access line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.interfaces import IReactorTime

from caching_proxy.cache.requests import CacheResponse, ClientRequest
from caching_proxy.http.messages import RequestHead
from caching_proxy.rules.outcome import CacheStatus
from caching_proxy.rules.reasons import Reason
from caching_proxy.server.request import ProxyRequest
from caching_proxy.server.request_line import RequestLine
from caching_proxy.telemetry.access_log import AccessLog
from caching_proxy.telemetry.happenings import Happenings
from caching_proxy.telemetry.metrics import Metrics, RequestMeter
from caching_proxy.telemetry.metrics.exemplars import Exemplar
from caching_proxy.telemetry.metrics.path_labels import METHODS, OTHER_METHOD, OTHER_PATH, PathLabels, normalise_method
from caching_proxy.telemetry.redaction import target_without_secrets

_HIT = CacheStatus.HIT.text


class RecordedLine(Protocol):
    """A request line, as a recorder looks at it."""

    @property
    def method(self) -> bytes: ...

    @property
    def target(self) -> bytes: ...


class RefusedRequest(Protocol):
    """A request that was read, as a recorder looks at it; ``received_at`` is on the recorder's clock."""

    received_at: float

    @property
    def head(self) -> RequestHead: ...

    @property
    def client_ip(self) -> bytes: ...


class HotMeter:
    """Counts and logs the hot hits of one request line and role: labels are looked up once."""

    __slots__ = ("_log", "_meter", "_new_request_id", "role", "status")

    def __init__(
        self,
        status: int,
        role: str,
        meter: RequestMeter,
        log: Callable[[float, float, bytes], None] | None,
        new_request_id: Callable[[], bytes],
    ) -> None:
        self.status = status
        self.role = role
        self._meter = meter
        self._log = log
        self._new_request_id = new_request_id

    def record(self, now: float, duration: float, request_id: bytes | None) -> None:
        """One answer; times in seconds, ``request_id`` None where no trusted proxy gave one."""
        self._meter.observe(duration)
        if self._log is not None:
            self._log(now, duration, request_id or self._new_request_id())


class Recorder:
    """Counts and logs proxied requests."""

    def __init__(
        self,
        metrics: Metrics,
        access: AccessLog,
        paths: PathLabels,
        clock: IReactorTime,
        new_request_id: Callable[[], bytes],
        happenings: Happenings | None = None,
    ) -> None:
        self._metrics = metrics
        self._happenings = happenings
        self._access = access
        self._paths = paths
        self._clock = clock
        self._new_request_id = new_request_id
        self._hot_meters: dict[RequestMeter, HotMeter] = {}  # as many as there are meters, which are bounded

    def record(self, request: ProxyRequest, incoming: ClientRequest, reply: CacheResponse) -> None:
        """A request that the pipeline answered, once its last byte was handed to the connection."""
        head, code, status = incoming.head, reply.head.status, reply.status.text
        self._answered(head, code, status, reply.role, request.received_at, incoming.request_id)
        if reply.reason is not None:
            self._uncached(head, code, status, reply.role, reply.reason)

    def from_store(
        self, line: RequestLine[Any], code: int, role: str, received_at: float, request_id: bytes | None
    ) -> None:
        """A hit that the pipeline was not needed for; ``request_id`` None where no trusted proxy gave one."""
        duration = self._clock.seconds() - received_at
        method = METHODS.get(line.method, OTHER_METHOD)  # ``_answered``, at two frames less
        self._metrics.request_children(method, self._paths.label(line.target), code, _HIT, role).observe(duration)
        if self._access.enabled:
            shown = (request_id or self._new_request_id()).decode("ascii")
            self._access.log(line.method, line.target, code, _HIT, role, duration, shown)

    def passed(
        self,
        line: RequestLine[Any],
        code: int,
        status: str,
        role: str,
        received_at: float,
        request_id: bytes,
        reason: Reason | None,
    ) -> None:
        """A request that the backend answered and that the pipeline was not needed for; ``status`` and ``reason`` as in
        the :class:`CacheResponse` that was not made."""
        self._answered(line, code, status, role, received_at, request_id)
        if reason is not None:
            self._uncached(line, code, status, role, reason)

    def _uncached(self, asked: RecordedLine, code: int, status: str, role: str, reason: Reason) -> None:
        if self._happenings is not None and self._happenings.room("uncached"):
            target = target_without_secrets(asked.target).decode("latin-1")
            self._happenings.uncached(normalise_method(asked.method), target, code, status, role, reason)

    def missed(self, line: RequestLine[Any], code: int, role: str, received_at: float, request_id: bytes) -> None:
        """A miss that the pipeline was not needed for."""
        self._answered(line, code, CacheStatus.MISS.text, role, received_at, request_id)

    def _answered(
        self, asked: RecordedLine, code: int, status: str, role: str, received_at: float, request_id: bytes
    ) -> None:
        duration = self._clock.seconds() - received_at
        method, path = normalise_method(asked.method), self._paths.label(asked.target)
        self._metrics.request_children(method, path, code, status, role).observe(duration)
        if self._access.enabled:
            shown = request_id.decode("ascii")
            self._access.log(asked.method, asked.target, code, status, role, duration, shown)

    def exemplify(self, asked: RecordedLine, code: int, duration: float, trace_id: str | None, moment: float) -> None:
        """A request that took ``duration`` seconds and ended at ``moment`` (POSIX seconds) is an example of its kind,
        if it was traced."""
        if trace_id is not None:
            labels = normalise_method(asked.method), self._paths.label(asked.target), str(code)
            self._metrics.exemplars.keep(labels, Exemplar(trace_id, duration, moment))

    def refused(self, status: int, request: RefusedRequest | None = None, peer: bytes = b"") -> None:
        """A request that never reached the pipeline or was given up by its client (499, as nginx counts those).

        ``request`` None: not even its head could be read; then ``peer`` says whose it was. The access line names the
        peer, since nothing further in tells where such a request came from.
        """
        head = request.head if request is not None else None
        method, path = OTHER_METHOD, OTHER_PATH
        duration = 0.0
        if request is not None and head is not None:
            method, path = normalise_method(head.method), self._paths.label(head.target)
            duration = self._clock.seconds() - request.received_at
        cache_status = CacheStatus.NOT_APPLICABLE.text
        self._metrics.request_children(method, path, status, cache_status, "unknown").observe(duration)
        client = (peer if request is None else request.client_ip).decode("latin-1")
        sent, target = (head.method, head.target) if head is not None else (b"-", b"-")
        self._access.log(sent, target, status, cache_status, "unknown", duration, "-", client)

    def refused_early(self, status: int, peer: bytes) -> None:
        """A request whose head could not be read, from ``peer``."""
        self.refused(status, None, peer)

    def hot_meter(self, line: RequestLine[Any], status: int, role: str) -> HotMeter:
        """What records the hot hits of requests with this ``line``; ``role`` is the label."""
        path, hit = self._paths.label(line.target), CacheStatus.HOT_HIT.text
        meter = self._metrics.request_children(normalise_method(line.method), path, status, hit, role)
        if self._access.enabled:
            log = self._access.prepared(line.method, line.target, status, hit, role)
            return HotMeter(status, role, meter, log, self._new_request_id)
        shared = self._hot_meters.get(meter)  # one for all lines that count alike
        if shared is None or shared.role != role or shared.status != status:
            shared = self._hot_meters[meter] = HotMeter(status, role, meter, None, self._new_request_id)
        return shared
