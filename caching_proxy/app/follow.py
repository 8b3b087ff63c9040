"""Puts spans around the parts of the proxy where requests are traced; elsewhere hands them on as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed

from caching_proxy.cache.pipeline import Pipeline
from caching_proxy.cache.steps import Tell
from caching_proxy.interfaces import IStore, IUpstream
from caching_proxy.server.seams import Hot, Pass
from caching_proxy.settings.model import Settings
from caching_proxy.upstream.backend import Backend
from caching_proxy.web.hot_path import HotPath
from caching_proxy.web.proxy import Handler
from caching_proxy.web.recorder import Recorder

if TYPE_CHECKING:
    from caching_proxy.tracing.tracer import Tracing


class Followed:
    """What each part becomes; this one follows nothing."""

    recorder: type[Recorder] = Recorder

    def store(self, store: IStore, settings: Settings) -> IStore:
        return store

    def upstream(self, upstream: IUpstream, backend: Backend) -> IUpstream:
        return upstream

    def tell(self, tell: Tell | None) -> Tell | None:
        return tell

    def pipeline(self, pipeline: Pipeline) -> Handler:
        return pipeline

    def hot(self, hot: HotPath, recorder: Recorder) -> Hot:
        return hot

    def passing(self, passing: Pass) -> Pass | None:
        """The short way past the pipeline, where nobody looks at each step."""
        return passing

    def start(self) -> None:
        """In the process that serves."""

    def stop(self) -> Deferred[None]:
        """Fires when nothing waits to be sent."""
        return succeed(None)


def follow(reactor: Any, settings: Settings) -> Followed:
    """As ``OTEL_EXPORTER_OTLP_ENDPOINT`` asks for."""
    url = settings.otel_exporter_otlp_endpoint
    if url is None:
        return Followed()
    from caching_proxy.tracing.tracer import Tracing  # not above: most have no use for the SDK

    return _Traced(Tracing(reactor, url, settings.proxy_name.decode("latin-1")))


class _Traced(Followed):
    def __init__(self, tracing: Tracing) -> None:
        from caching_proxy.tracing import fronts, seams

        self._tracing = tracing
        self._seams = seams
        self._fronts = fronts
        self.recorder = fronts.TracedRecorder

    def store(self, store: IStore, settings: Settings) -> IStore:
        system = settings.topology.system
        followed: Any = self._seams.TracedStore(store, self._tracing, system)
        return followed  # type: ignore[no-any-return]

    def upstream(self, upstream: IUpstream, backend: Backend) -> IUpstream:
        followed: Any = self._seams.TracedUpstream(upstream, self._tracing, backend.host, backend.port)
        return followed  # type: ignore[no-any-return]

    def tell(self, tell: Tell | None) -> Tell | None:
        return self._seams.tells_spans(self._tracing, tell)

    def pipeline(self, pipeline: Pipeline) -> Handler:
        return self._seams.FollowedPipeline(pipeline, self._tracing)

    def hot(self, hot: HotPath, recorder: Recorder) -> Hot:
        return self._fronts.TracedHotPath(hot, self._tracing, recorder)

    def passing(self, passing: Pass) -> Pass | None:
        return None

    def start(self) -> None:
        self._tracing.start()

    def stop(self) -> Deferred[None]:
        return self._tracing.stop()
