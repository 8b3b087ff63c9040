"""The way from a client's request to the backend's: the head written anew, then the exchange."""

from __future__ import annotations

import attrs
from twisted.internet.defer import Deferred

from caching_proxy.cache.requests import ClientRequest
from caching_proxy.http.body import Body
from caching_proxy.http.messages import RequestHead, ResponseHead
from caching_proxy.interfaces import IUpstream, UpstreamResponse
from caching_proxy.rules.forwarding import request_to_backend, upgrade_to_backend
from caching_proxy.rules.locations import BackendUrl as LocatedBackend


@attrs.frozen(slots=True)
class BackendRoute:
    """Where requests go. ``host`` is what the backend sees in ``Host``, or empty to pass on the client's; ``origin``
    is the backend's scheme and authority as :func:`caching_proxy.rules.references.origin_of` writes them."""

    upstream: IUpstream
    host: bytes
    origin: bytes
    base_path: bytes
    proxy_name: bytes
    rewrite: bool = True
    """Whether answers that name the backend in Location get the mark of :mod:`caching_proxy.rules.locations`."""
    _backend: LocatedBackend = attrs.field(
        init=False, default=attrs.Factory(lambda self: LocatedBackend(self.origin, self.base_path), takes_self=True)
    )

    def fetch(
        self, client_request: ClientRequest, head: RequestHead, body: Body | None = None
    ) -> Deferred[UpstreamResponse]:
        """Send ``head``, which came with ``client_request``, and perhaps a body."""
        sent = request_to_backend(
            head,
            host=self.host or (head.fields.first(b"host") or b"") + client_request.port,
            client_ip=client_request.client_ip,
            scheme=client_request.scheme,
            request_id=client_request.request_id,
            proxy_name=self.proxy_name,
            trusted_peer=client_request.trusted,
            base_path=self.base_path,
        )
        asked = self.upstream.fetch(sent, body, client_request.on_interim, client_request.peer)
        return asked.addCallback(self.located) if self.rewrite else asked

    def upgrade(self, client_request: ClientRequest) -> Deferred[UpstreamResponse]:
        """Ask the backend to leave HTTP; the answer is final, or a 101 with a tunnel."""
        head = client_request.head
        sent = upgrade_to_backend(
            head,
            host=self.host or (head.fields.first(b"host") or b"") + client_request.port,
            client_ip=client_request.client_ip,
            scheme=client_request.scheme,
            request_id=client_request.request_id,
            proxy_name=self.proxy_name,
            trusted_peer=client_request.trusted,
            base_path=self.base_path,
        )
        return self.upstream.fetch(sent, None, client_request.on_interim, client_request.peer)

    def located(self, response: UpstreamResponse) -> UpstreamResponse:
        """``response``, with a mark where it names the backend, if such are rewritten."""
        head = response.head
        if head.ordinary is not None or not self.rewrite:  # it names nothing
            return response
        fields = self._backend.marked(head.fields)
        if fields is head.fields:
            return response
        return attrs.evolve(response, head=ResponseHead(head.status, head.reason, fields, head.minor))
