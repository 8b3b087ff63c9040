"""The whole proxy in memory behind one client connection, with the hot path or without."""

from __future__ import annotations

from io import StringIO
from typing import Any

from support.memory_proxy import MemoryProxy
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from caching_proxy.server.batch import HotAnswer, LargeAnswer
from caching_proxy.server.channel import HTTPChannel
from caching_proxy.server.limits import Limits
from caching_proxy.server.request_head import ParsedHead
from caching_proxy.server.seams import LookUp
from caching_proxy.server.site import ProxySite
from caching_proxy.telemetry.access_log import AccessLog
from caching_proxy.telemetry.metrics import Metrics
from caching_proxy.telemetry.metrics.path_labels import PathLabels
from caching_proxy.web.hosts import HostPolicy
from caching_proxy.web.hot_path import HotPath
from caching_proxy.web.peers import TrustedPeers
from caching_proxy.web.proxy import ProxyResource
from caching_proxy.web.recorder import Recorder


class Served:
    """A proxy in memory behind one client connection, with the hot path or without."""

    def __init__(
        self,
        hot: bool,
        name: bytes | None = b"caching-proxy",
        hosts: HostPolicy = HostPolicy(),  # noqa: B008 immutable
        peers: TrustedPeers | None = None,
        **policy: Any,
    ) -> None:
        self.proxy = MemoryProxy(name=name, **policy)
        clock = self.proxy.clock
        self.metrics, self.log = Metrics("", ""), StringIO()
        self.access = AccessLog(self.log, True, clock)
        recorder = Recorder(self.metrics, self.access, PathLabels(), clock, lambda: b"id-1")
        peers = peers or TrustedPeers(())
        resource = ProxyResource(self.proxy.pipeline, peers, hosts, recorder, lambda: b"id-1")
        verifier, policy_used, keys = self.proxy.verifier, self.proxy.policy, self.proxy.keys
        terms, now = self.proxy.terms, clock.seconds
        self.path = HotPath(
            *(self.proxy.hot, verifier, policy_used, keys, hosts, name, recorder, now, peers),
            terms=terms,
            reader=self.proxy.cache.reader,
            varying=self.proxy.varying,
        )
        self.answered = 0
        self.site = ProxySite(resource, clock, limits=Limits(), hot=self.counted if hot else None)
        self.transport = StringTransport()
        channel = self.site.buildProtocol(None)
        assert channel is not None
        self.channel = channel
        self.channel.makeConnection(self.transport)

    def counted(self, parsed: ParsedHead, channel: HTTPChannel) -> HotAnswer | LookUp | None:
        answer = self.path(parsed, channel)
        self.answered += isinstance(answer, bytes | LargeAnswer)
        return answer

    def send(self, request: str) -> bytes:
        self.channel.dataReceived(request.encode("latin-1"))
        data: bytes = self.transport.value()
        self.transport.clear()
        return data

    def ruled(self, *rules: dict[str, Any]) -> None:
        """Let cache rules hold, as a reload does."""
        self.proxy.ruled(*rules)
        self.site.heads.forget()

    def close(self) -> None:
        self.channel.connectionLost(Failure(ConnectionDone()))
        self.access.stop()


def request(*lines: str, method: str = "GET", target: str = "/x") -> str:
    return "\r\n".join((f"{method} {target} HTTP/1.1", "Host: proxy.test", *lines, "", ""))
