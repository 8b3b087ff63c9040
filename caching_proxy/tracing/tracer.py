"""Spans by OpenTelemetry's SDK: made here, sent by a thread of its own, at most so many waiting.

The trace context is that of the W3C (``traceparent``, ``tracestate``): a request that brings one continues it, any
other begins a trace. Which traces are recorded is up to the sampler (``OTEL_TRACES_SAMPLER``); attributes follow the
semantic conventions for HTTP and databases. Whatever happens to the collector, no request waits for it.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from caching_proxy.http.messages import Fields
from caching_proxy.tracing.answers import BoundedSession

QUEUE = 2048
"""Spans that wait to be sent; more are dropped."""

BATCH = 512
SEND_SECONDS = 5
"""What one batch may take, tries included."""

_NOWHERE = Context()
_W3C = TraceContextTextMapPropagator()
_SERVER_ERROR = 500

Attributes = Mapping[str, str | int]


class Exporter(Protocol):
    """The part of an exporter that is wrapped."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult: ...

    def shutdown(self) -> None: ...


class ReportingExporter(SpanExporter):
    """An exporter that says once when the collector stops taking spans, and once when it does again."""

    _log = Logger(namespace="caching_proxy.tracing")

    def __init__(self, inner: Exporter, reactor: Any, patience: float = 2 * SEND_SECONDS) -> None:
        """``patience``: seconds after which a batch that is still on its way counts as not taken."""
        self._inner = inner
        self._reactor = reactor
        self._patience = patience
        self._failing = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        late = threading.Timer(self._patience, self._heard, (True,))
        late.daemon = True
        late.start()
        try:
            result = self._inner.export(spans)
        except Exception:  # noqa: BLE001 whatever is wrong with the collector's answer: spans are lost, nothing else
            result = SpanExportResult.FAILURE
        late.cancel()
        self._heard(result is not SpanExportResult.SUCCESS)
        return result

    def _heard(self, failing: bool) -> None:
        self._reactor.callFromThread(self._tell, failing)

    def _tell(self, failing: bool) -> None:
        if failing is self._failing:
            return
        self._failing = failing
        if failing:
            self._log.warn("the trace collector takes no spans; they are dropped")
        else:
            self._log.info("the trace collector takes spans again")

    def shutdown(self) -> None:
        self._inner.shutdown()


class Trace:
    """One request's part of a trace: its span, and those below it. Ended once; what comes later is ignored."""

    __slots__ = ("_context", "_lookup", "_span", "_tracer")

    def __init__(self, tracer: Any, span: Span) -> None:
        self._tracer = tracer
        self._span = span
        self._context = set_span_in_context(span, _NOWHERE)
        self._lookup: Span | None = None

    @property
    def id(self) -> str | None:
        """The trace's identifier as 32 hexadecimal digits, if it is recorded."""
        context = self._span.get_span_context()
        return f"{context.trace_id:032x}" if context.trace_flags.sampled else None

    def child(self, name: str, kind: SpanKind, attributes: Attributes) -> Span:
        """A span below this one; the caller ends it."""
        made: Span = self._tracer.start_span(name, self._context, kind, attributes)
        return made

    def look_up(self) -> None:
        """The cache is looked into, until :meth:`looked_up`."""
        if self._lookup is None:
            self._lookup = self.child("lookup", SpanKind.INTERNAL, {})

    def looked_up(self) -> None:
        if self._lookup is not None:
            self._lookup.end()
            self._lookup = None

    def end(self, status: int | None, attributes: Attributes) -> None:
        """``status`` None: the client left before there was one."""
        self.looked_up()
        span = self._span
        if not span.is_recording():
            return
        span.set_attributes(attributes)
        if status is not None:
            span.set_attribute("http.response.status_code", status)
        if status is None or status >= _SERVER_ERROR:
            span.set_status(Status(StatusCode.ERROR, "the client left" if status is None else None))
        span.end()


class Tracing:
    """``current`` is the trace of the request that is being worked on, None where nobody knows of one."""

    def __init__(self, reactor: Any, endpoint: str, name: str, exporter: SpanExporter | None = None) -> None:
        """``endpoint`` is the base URL of the collector (OTLP over HTTP), ``name`` that of this service, unless
        ``OTEL_SERVICE_NAME`` has another."""
        logger = logging.getLogger("opentelemetry")
        logger.addHandler(logging.NullHandler())
        logger.propagate = False  # it would write to stderr; what matters is told once by the exporter
        self._reactor = reactor
        self._endpoint = endpoint.rstrip("/") + "/v1/traces"
        self._provider = TracerProvider(resource=_resource(name), shutdown_on_exit=False)
        self._exporter = exporter
        self._tracer = self._provider.get_tracer("caching_proxy")
        self.current: Trace | None = None

    def start(self) -> None:
        """Begin to send. Not before the daemon has its final process: threads do not outlive a fork."""
        inner = self._exporter or OTLPSpanExporter(self._endpoint, timeout=SEND_SECONDS, session=_session())
        self._provider.add_span_processor(
            BatchSpanProcessor(
                ReportingExporter(inner, self._reactor), max_queue_size=QUEUE, max_export_batch_size=BATCH
            )
        )

    def stop(self) -> Deferred[None]:
        """Send what waits, within what a batch may take."""
        ended: Deferred[None] = Deferred()

        def shut_down() -> None:
            self._provider.shutdown()
            self._reactor.callFromThread(lambda: None if ended.called else ended.callback(None))

        threading.Thread(target=shut_down, daemon=True).start()
        return ended

    def begin(self, method: bytes, fields: Fields, attributes: Attributes, start_ns: int | None = None) -> Trace:
        """The trace of a request that a client sent; ``start_ns`` as of ``time.time_ns``."""
        parent = _W3C.extract(_carried(fields), _NOWHERE)
        span = self._tracer.start_span(method.decode("latin-1"), parent, SpanKind.SERVER, attributes, (), start_ns)
        return Trace(self._tracer, span)

    @property
    def tracer(self) -> Any:
        return self._tracer


def context_lines(span: Span) -> bytes:
    """The field lines that tell the backend of ``span``, each ended by CRLF."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, set_span_in_context(span, _NOWHERE))
    return b"".join([f"{name}: {value}\r\n".encode("latin-1") for name, value in carrier.items()])


def _carried(fields: Fields) -> dict[str, str]:
    """The trace context of a request as it should be: one ``traceparent``, and all of ``tracestate``."""
    parents = fields.all(b"traceparent")
    if len(parents) != 1:
        return {}
    carried = {"traceparent": parents[0].decode("latin-1")}
    state = fields.joined(b"tracestate")
    if state is not None and len(state) <= _STATE_BYTES:
        carried["tracestate"] = state.decode("latin-1")
    return carried


_CREDENTIALS = (
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER",
    "OTEL_PYTHON_EXPORTER_OTLP_HTTP_CREDENTIAL_PROVIDER",
)

_STATE_BYTES = 512
"""Longer ones may be dropped (W3C Trace Context §3.3.1.5)."""


def _session() -> BoundedSession | None:
    """None where the operator names somebody who makes sessions with credentials."""
    return None if any(name in os.environ for name in _CREDENTIALS) else BoundedSession(SEND_SECONDS)


def _resource(name: str) -> Resource:
    """What the environment says of this service; it may have no name there."""
    found = Resource.create()
    if str(found.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        return found.merge(Resource({SERVICE_NAME: name}))
    return found
