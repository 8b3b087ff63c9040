"""What concerns a Cluster as a whole and no key: its pools together, and a connection for messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from zope.interface import implementer

from caching_proxy.rules.store_topology import Address, ClusterTopology
from caching_proxy.store.redis.commands import Call
from caching_proxy.store.redis.endpoint import Endpoints
from caching_proxy.store.redis.ledger import LEDGER
from caching_proxy.store.redis.routing import Router
from caching_proxy.store.redis.slots import SlotMap, slot_of

T = TypeVar("T")


class ClusterPools:
    """The pools of all nodes together, for metrics, and for calls that are not about entries."""

    def __init__(self, router: Router) -> None:
        self._router = router
        self._slot = slot_of(LEDGER)

    @property
    def size(self) -> int:
        """Usable connections."""
        return sum(node.pool.size for node in self._router.nodes.values())

    @property
    def in_use(self) -> int:
        """Connections with at least one call under way."""
        return sum(node.pool.in_use for node in self._router.nodes.values())

    @property
    def waiting(self) -> int:
        """Calls without a connection."""
        return sum(node.pool.waiting for node in self._router.nodes.values())

    def execute(self, call: Call[T]) -> Deferred[T]:
        """Send a call that may be sent more than once."""
        return self._router.execute(slot_of(call.place) if call.place else self._slot, call)


@implementer(IStreamClientEndpoint)
class ClusterEndpoint:
    """Connects to some node, as messages reach all of them; ``left`` are called when that one has left the Cluster."""

    def __init__(self, router: Router, topology: ClusterTopology, endpoints: Endpoints) -> None:
        self.left: list[Callable[[], object]] = []
        self._router = router
        self._topology = topology
        self._endpoints = endpoints
        self._at: Address | None = None
        self._turn = 0
        router.map.changed.append(self._changed)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Fires with the connected protocol; another node is tried each time."""
        slots = self._router.map.slots
        nodes = slots.masters or self._topology.seeds
        self._turn += 1
        self._at = nodes[self._turn % len(nodes)]
        return self._endpoints(self._topology.node(self._at)).connect(protocolFactory)

    def _changed(self, slots: SlotMap) -> None:
        if self._at is not None and self._at not in slots.nodes:
            for tell in self.left:
                tell()
