"""Where a request's trace ends: the recorder, and the hot path, whose answers are spans as they are given."""

from __future__ import annotations

from time import time_ns
from typing import Any

from caching_proxy.cache.requests import CacheResponse, ClientRequest
from caching_proxy.rules.outcome import CacheStatus
from caching_proxy.server.batch import HotAnswer, LargeAnswer
from caching_proxy.server.request import ProxyRequest
from caching_proxy.server.seams import LookUp
from caching_proxy.tracing.seams import request_attributes
from caching_proxy.tracing.tracer import Trace, Tracing
from caching_proxy.web.hot_path import HotPath
from caching_proxy.web.recorder import Recorder

_STATUS = "cachingproxy.cache_status"
_ROLE = "cachingproxy.role"
_NANO = 1e-9


class TracedRecorder(Recorder):
    """Ends the trace of each request that it records, and keeps the last trace of each bucket of durations."""

    def record(self, request: ProxyRequest, incoming: ClientRequest, reply: CacheResponse) -> None:
        super().record(request, incoming, reply)
        trace = incoming.trace
        if isinstance(trace, Trace):
            trace.end(reply.head.status, {_STATUS: reply.status.text, _ROLE: reply.role})
            duration = self._clock.seconds() - request.received_at
            self.exemplify(incoming.head, reply.head.status, duration, trace.id, time_ns() * _NANO)


class TracedHotPath:
    """The hot path, with a span for each answer. Requests that it declines get theirs from the pipeline."""

    def __init__(self, inner: HotPath, tracing: Tracing, recorder: Recorder) -> None:
        self._inner = inner
        self._tracing = tracing
        self._recorder = recorder

    def __call__(self, parsed: Any, channel: Any) -> HotAnswer | LookUp | None:
        start = time_ns()
        answer = self._inner(parsed, channel)
        if answer is None or not isinstance(answer, bytes | LargeAnswer):
            return answer
        head = parsed.head
        trace = self._tracing.begin(head.method, head.fields, {}, start)
        if trace.id is None:
            return answer
        status = int((answer if isinstance(answer, bytes) else answer.head)[9:12])
        attributes = request_attributes(head.method, head.target, channel.scheme, channel.peer_host)
        trace.end(status, {**attributes, _STATUS: CacheStatus.HOT_HIT.text})
        ended = time_ns()
        self._recorder.exemplify(head, status, (ended - start) * _NANO, trace.id, ended * _NANO)
        return answer
