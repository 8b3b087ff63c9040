"""The admin endpoints of one of several workers: their answers are for all of them."""

from __future__ import annotations

import attrs
from twisted.internet.defer import Deferred

from caching_proxy.interfaces import ISiblings, StoreError
from caching_proxy.web.admin.services import AdminServices
from caching_proxy.workers.siblings import Siblings


class Team:
    """The other workers: ``channel`` asks them, ``siblings`` has them invalidate."""

    def __init__(self, channel: Siblings, siblings: ISiblings) -> None:
        self.siblings = siblings
        self._channel = channel

    def share(self, services: AdminServices) -> AdminServices:
        """``services`` that speak for all workers."""

        async def invalidate(pattern: bytes) -> int:
            try:
                return await services.invalidate(pattern)
            except StoreError:  # what the answer says of memory is to be true of every worker
                await self.siblings.reached()
                raise

        return attrs.evolve(services, invalidate=lambda pattern: Deferred.fromCoroutine(invalidate(pattern)))
