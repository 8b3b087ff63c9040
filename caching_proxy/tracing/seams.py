"""The seams through which a request is followed: each wrapper does what it wraps does, and tells its trace."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from caching_proxy.cache.pipeline import Pipeline
from caching_proxy.cache.requests import CacheResponse, ClientRequest
from caching_proxy.cache.steps import Step, Tell
from caching_proxy.http.body import Body
from caching_proxy.http.messages import ResponseHead
from caching_proxy.http.outgoing_request import OutgoingRequest
from caching_proxy.interfaces import IStore, IUpstream, Seeker, Stored, UpstreamResponse
from caching_proxy.telemetry.metrics.path_labels import OTHER_METHOD, normalise_method
from caching_proxy.telemetry.redaction import target_without_secrets
from caching_proxy.tracing.tracer import Attributes, Trace, Tracing, context_lines

T = TypeVar("T")

MAX_KEYS = 4096
"""Keys whose last request is remembered, so that what is stored belongs to the request that asked for it."""

_CONTEXT = (b"traceparent:", b"tracestate:")
_ENDS_LOOKUP = frozenset((Step.PASS, Step.REVALIDATE, Step.FILL, Step.JOIN, Step.FETCH, Step.STAND_IN, Step.ANSWER))


def method_name(method: bytes) -> str:
    """``method`` as an attribute: one of those that are known, or ``_OTHER``."""
    name = normalise_method(method)
    return "_OTHER" if name == OTHER_METHOD else name


def request_attributes(method: bytes, target: bytes, scheme: bytes, client: bytes) -> Attributes:
    """What a server's span says of a request; secrets in the query are blotted out as in the access log."""
    path, _, query = target_without_secrets(target).decode("latin-1").partition("?")
    known = {"http.request.method": method_name(method), "url.path": path, "url.scheme": scheme.decode("latin-1")}
    if query:
        known["url.query"] = query
    if client:
        known["client.address"] = client.decode("latin-1")
    return known


class FollowedPipeline:
    """Begins a request's trace before the pipeline sees it. It ends when the request is recorded (``recorder``), or
    here where the client left before there was an answer."""

    def __init__(self, inner: Pipeline, tracing: Tracing) -> None:
        self._inner = inner
        self._tracing = tracing

    def handle(self, client_request: ClientRequest) -> CacheResponse | Deferred[CacheResponse]:
        head = client_request.head
        attributes = request_attributes(head.method, head.target, client_request.scheme, client_request.client_ip)
        trace = self._tracing.begin(head.method, head.fields, attributes)
        object.__setattr__(client_request, "trace", trace)
        self._tracing.current = trace
        try:
            reply = self._inner.handle(client_request)
        finally:
            self._tracing.current = None
        return reply.addErrback(_left, trace) if isinstance(reply, Deferred) else reply


def _left(failure: Failure, trace: Trace) -> Failure:
    trace.end(None if failure.check(CancelledError) else 500, {})
    return failure


def tells_spans(tracing: Tracing, also: Tell | None) -> Tell:
    """Hears of a request's steps: looks in the cache become a span, and whose work is done is known."""

    def tell(step: Step, client_request: ClientRequest) -> None:
        trace = client_request.trace if isinstance(client_request.trace, Trace) else None
        tracing.current = None if step is Step.ANSWER else trace
        if trace is not None:
            if step is Step.LOOK_UP:
                trace.look_up()
            elif step in _ENDS_LOOKUP:
                trace.looked_up()
        if also is not None:
            also(step, client_request)

    return tell


class TracedStore:
    """Lookups and writes of a store as spans of whoever they are for; ``system`` is the database's name."""

    def __init__(self, inner: IStore, tracing: Tracing, system: str) -> None:
        self._inner = inner
        self._tracing = tracing
        self._system = system
        self._asked: dict[bytes, Trace] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def lookup(self, key: bytes, fields: Sequence[bytes] | None = None) -> Deferred[Stored | None]:
        trace = self._tracing.current
        if trace is None:
            return self._inner.lookup(key, fields)
        self._remember(key, trace)
        span = trace.child(f"{self._system} lookup", SpanKind.CLIENT, self._attributes("lookup"))
        return watched(self._tracing, self._inner.lookup(key, fields), trace, span)

    def seek(self, key: bytes, fields: Sequence[bytes] | None, seeker: Seeker) -> None:
        """:meth:`lookup` for who wants no Deferred (``DirectStore``)."""
        self.lookup(key, fields).addCallbacks(seeker.found, seeker.failed)

    def put(self, key: bytes, *rest: Any) -> Deferred[None]:
        trace = self._asked.get(key)
        if trace is None:
            return self._inner.put(key, *rest)
        span = trace.child("store", SpanKind.CLIENT, self._attributes("put"))
        return watched(self._tracing, self._inner.put(key, *rest), trace, span)

    def _remember(self, key: bytes, trace: Trace) -> None:
        self._asked.pop(key, None)
        self._asked[key] = trace
        if len(self._asked) > MAX_KEYS:
            del self._asked[next(iter(self._asked))]

    def _attributes(self, operation: str) -> Attributes:
        return {"db.system.name": self._system, "db.operation.name": operation}


class TracedUpstream:
    """Requests to the backend as spans, which the backend is told of in ``traceparent``."""

    def __init__(self, inner: IUpstream, tracing: Tracing, host: str, port: int) -> None:
        self._inner = inner
        self._tracing = tracing
        self._server: dict[str, str | int] = {"server.address": host, "server.port": port}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def fetch(
        self,
        request: OutgoingRequest,
        body: Body | None = None,
        on_interim: Callable[[ResponseHead], None] | None = None,
        peer: bytes = b"",
    ) -> Deferred[UpstreamResponse]:
        trace = self._tracing.current
        if trace is None:
            return self._inner.fetch(request, body, on_interim, peer)
        method = method_name(request.method)
        span = trace.child(method, SpanKind.CLIENT, {"http.request.method": method, **self._server})
        asked = self._inner.fetch(with_context(request, span), body, on_interim, peer)
        return watched(self._tracing, asked, trace, span, _answered)


def _answered(response: UpstreamResponse, span: Span) -> None:
    span.set_attribute("http.response.status_code", response.head.status)
    if response.head.status >= 400:
        span.set_status(Status(StatusCode.ERROR))


def with_context(request: OutgoingRequest, span: Span) -> OutgoingRequest:
    """``request`` with the trace context of ``span`` in place of the client's."""
    lines = request.lines.split(b"\r\n")[:-1]
    kept = [line for line in lines if not line.lower().startswith(_CONTEXT)]
    added = context_lines(span)
    text = b"".join([line + b"\r\n" for line in kept]) + added
    count = request.count - len(lines) + len(kept) + added.count(b"\r\n")
    return OutgoingRequest(request.method, request.target, text, count)


def watched(
    tracing: Tracing,
    asked: Deferred[T],
    trace: Trace,
    span: Span,
    answered: Callable[[T, Span], None] = lambda result, span: None,
) -> Deferred[T]:
    """``asked``, whose end is that of ``span``; what is done with the result is done for ``trace``."""
    told: Deferred[T] = Deferred(lambda _: asked.cancel())

    def ended(result: T | Failure) -> None:
        if isinstance(result, Failure):
            span.set_status(Status(StatusCode.ERROR, result.type.__name__ if result.type else None))
        else:
            answered(result, span)
        span.end()
        before, tracing.current = tracing.current, trace
        try:
            told.callback(result)  # a Failure goes the way of failures
        finally:
            tracing.current = before

    asked.addBoth(ended)
    return told
