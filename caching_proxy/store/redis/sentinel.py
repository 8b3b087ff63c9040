"""The master that Sentinels watch: where it is now, connections to it, and word of a change.

Each question goes to the next of the Sentinels, one after the other. One of them may be behind: an address that
differs from the one known counts when two of them give it, or when no other answers. While none answers the known
address stays. Whoever connects to it asks the server for its role (``RedisTopology.master_of``): Sentinels name the old
master for a moment longer than it is one. Once a second one of them is asked even if nobody connects, as an old
master that is cut off from the others but not from us would go on taking our writes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IProtocol, IProtocolFactory, IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from caching_proxy.interfaces import StoreError
from caching_proxy.rules.store_topology import Address, SentinelTopology, shown
from caching_proxy.store.redis.connection import RedisReply
from caching_proxy.store.redis.endpoint import Endpoints
from caching_proxy.store.redis.ledger import Words
from caching_proxy.store.redis.one_shot import ask_once
from caching_proxy.store.redis.pool import RedisPool
from caching_proxy.store.redis.store import RedisStore

WATCH_SECONDS = 1.0
MOST_SECONDS = 1.0
"""How long one Sentinel may take to answer."""


@implementer(IStreamClientEndpoint)
class SentinelEndpoint:
    """Connects to the master of ``topology``; ``changed`` are called when it has become another.

    ``endpoints`` reaches single servers; ``seconds`` is what connecting may take, all in all.
    """

    _log = Logger()

    def __init__(self, clock: IReactorTime, topology: SentinelTopology, endpoints: Endpoints, seconds: float) -> None:
        self.changed: list[Callable[[], object]] = []
        self.master: Address | None = None
        self._clock = clock
        self._topology = topology
        self._endpoints = endpoints
        self._each_seconds = min(MOST_SECONDS, seconds / (len(topology.sentinels) + 1))
        self._next = 0
        self._timer: IDelayedCall | None = None
        self._asking: Deferred[None] | None = None

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Fires with the connected protocol."""
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        address = await self.find()
        return await self._endpoints(self._topology.master(address)).connect(factory)

    async def find(self) -> Address:
        """The master's address; StoreError with what each Sentinel said if nobody ever knew one."""
        votes: Counter[Address] = Counter()
        problems: list[str] = []
        for sentinel in self._in_turn():
            try:
                address = await self._ask(sentinel)
            except StoreError as problem:
                problems.append(str(problem))
                continue
            votes[address] += 1
            if address == self.master or votes[address] == 2:
                return self._learn(address)
        if votes:
            return self._learn(votes.most_common(1)[0][0])
        if self.master is None:
            raise StoreError("no Sentinel names the master: " + "; ".join(problems))
        return self.master

    def _in_turn(self) -> list[Address]:
        sentinels, first = self._topology.sentinels, self._next
        self._next = (first + 1) % len(sentinels)
        return [*sentinels[first:], *sentinels[:first]]

    async def _ask(self, sentinel: Address) -> Address:
        server = self._topology.sentinel(sentinel)
        command = b"SENTINEL", b"get-master-addr-by-name", self._topology.name.encode()
        reply = await ask_once(self._clock, self._endpoints, server, self._each_seconds, *command)
        address = _address(reply)
        if address is None:
            raise StoreError(f"{shown(sentinel)}: knows no master called {self._topology.name!r}")
        return address

    def _learn(self, address: Address) -> Address:
        known, self.master = self.master, address
        if known not in (None, address):
            self._log.warn("the master of {store} is {now} now", store=self._topology.describe(), now=shown(address))
            for tell in self.changed:
                tell()
        return address

    # -- watching ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin watching for a change."""
        if self._timer is None and self._asking is None:
            self._timer = self._clock.callLater(WATCH_SECONDS, self._look)

    def stop(self) -> Deferred[None]:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._asking is not None:
            asking, self._asking = self._asking, None
            asking.cancel()
        return succeed(None)

    def _look(self) -> None:
        self._timer = None
        self._asking = Deferred.fromCoroutine(self._watch())
        self._asking.addErrback(self._unknown).addCallback(self._looked)

    async def _watch(self) -> None:
        await self.find()

    def _unknown(self, failure: Failure) -> None:
        """Whoever connects says in the log what is wrong."""
        failure.trap(StoreError, CancelledError)

    def _looked(self, _: None) -> None:
        if self._asking is not None:  # else stopped
            self._asking = None
            self._timer = self._clock.callLater(WATCH_SECONDS, self._look)


class SentinelStore(RedisStore):
    """A :class:`RedisStore` on the master that ``master`` leads to; its connections follow."""

    def __init__(
        self,
        master: SentinelEndpoint,
        pool: RedisPool,
        bulk: RedisPool,
        max_variants: int,
        max_variant_bytes: int,
        words: Words | None,
    ) -> None:
        super().__init__(pool, bulk, max_variants, max_variant_bytes, words)
        self.master = master
        master.changed += [pool.moved, bulk.moved]

    def start(self) -> Deferred[None]:
        self.master.start()
        return super().start()

    def stop(self) -> Deferred[None]:
        self.master.stop()
        return super().stop()


def _address(reply: RedisReply) -> Address | None:
    """The reply to SENTINEL get-master-addr-by-name; None for an unknown name."""
    if not isinstance(reply, list) or len(reply) != 2 or not reply[1].isdigit():
        return None
    return reply[0].decode("latin-1"), int(reply[1])
