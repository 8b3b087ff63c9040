"""Which resource owns a path: an admin endpoint by its exact name, the proxy everything else."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.web.resource import Resource

from caching_proxy.rules.own_prefix import under_own_prefix
from caching_proxy.server.request import ProxyRequest
from caching_proxy.web.admin.json_answers import not_found


class Root(Resource):
    """The resource at the top of a port. A leaf, so that no path is ever decoded or cut up on its way to the backend.

    ``admin`` maps paths without the leading slash; ``proxy`` is None on the admin port. What is below the proxy's own
    prefix and has no resource is a 404, whichever port it is. A request with a plan is none of those: none
    is made for what is reserved.
    """

    isLeaf = True

    def __init__(self, admin: Mapping[bytes, Resource], proxy: Resource | None) -> None:
        Resource.__init__(self)
        self.own = {b"/" + name: resource for name, resource in admin.items()}
        self._proxy = proxy

    def render(self, request: ProxyRequest) -> bytes | int:
        resource = self.own.get(request.path)
        if resource is None and (request.plan is not None or not under_own_prefix(request.head.target)):
            resource = self._proxy
        if resource is None:
            return not_found(request)
        answer: bytes | int = resource.render(request)
        return answer
