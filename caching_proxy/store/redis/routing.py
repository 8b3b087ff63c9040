"""Which node of a Cluster does what, and what is done when it does not or cannot.

What a node answers decides: after ``MOVED`` the slot is another's from now on, after ``ASK`` one call goes elsewhere,
and after a failure the map of slots is asked for anew; the call is then sent once more only if another node has the
slot. All of that ends with the command timeout. Each node has a breaker of its own, so keys of the others are served as
ever; the failure of one is a :class:`PartFailed` as long as another is well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar, cast

from twisted.internet.defer import Deferred, DeferredList, TimeoutError, fail
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from txredisapi import ResponseError

from caching_proxy.interfaces import AnswerLost, Overtaken, StoreError, StoreUnavailable, Unreadable
from caching_proxy.rules.store_topology import Address
from caching_proxy.store.redis.cluster_map import ClusterMap
from caching_proxy.store.redis.cluster_node import ClusterNode
from caching_proxy.store.redis.commands import Ask, Call
from caching_proxy.store.redis.connection import RedisReply, pack
from caching_proxy.store.redis.errors import CommandRefused, PartFailed, Redirected, TimedOut, TryAgain, from_reply
from caching_proxy.store.redis.slots import SLOTS, SlotMap, slot_of
from caching_proxy.store.redis.store import RedisStore

T = TypeVar("T")

HOPS = 8
"""Attempts at most."""

AGAIN_SECONDS = 0.05
"""How long to wait for a slot whose keys are on two nodes."""

KEPT_SECONDS = 30.0
"""A node without slots is kept for as long after it was last asked for something."""

SINGLY = 50
"""Keys that are looked for one by one at a time."""


class Router:
    """The nodes of the Cluster that ``slot_map`` knows; ``make_node`` makes one for an address."""

    def __init__(
        self,
        clock: IReactorTime,
        slot_map: ClusterMap,
        make_node: Callable[[Address], ClusterNode],
        command_timeout: float,
    ) -> None:
        self.map = slot_map
        self.nodes: dict[Address, ClusterNode] = {}
        self._clock = clock
        self._make_node = make_node
        self._command_timeout = command_timeout
        self._owners: list[ClusterNode | None] = [None] * SLOTS
        self._leaving: set[Deferred[None]] = set()
        self._running = False
        slot_map.changed.append(self._arrange)

    def start(self) -> None:
        """Ask for the map and begin connecting."""
        self._running = True
        self.map.start()
        self.look()

    def stop(self) -> Deferred[None]:
        """Let what is under way finish, then close everything."""
        self._running = False
        self.map.stop()
        for node in self.nodes.values():
            self._leave(node)
        self.nodes.clear()
        return DeferredList(list(self._leaving)).addCallback(lambda _: None)

    def node(self, address: Address) -> ClusterNode:
        """The node there, which is connected to from now on."""
        node = self.nodes.get(address)
        if node is None:
            node = self.nodes[address] = self._make_node(address)
            if self._running:
                node.start()
        return node

    def owner(self, slot: int) -> ClusterNode | None:
        """The node that has ``slot``, as far as is known."""
        return self._owners[slot]

    def look(self) -> None:
        """Ask for the map in the background."""
        self.map.refresh().addErrback(lambda failure: failure.trap(StoreError))

    # -- one slot ------------------------------------------------------------------------------------

    def run(self, slot: int, what: Callable[[RedisStore], Deferred[T]]) -> Deferred[T]:
        """``what`` at the node that has ``slot``; it is called once more for each attempt, of which few need more than
        one."""
        node, began = self._owners[slot], self._clock.seconds()
        if node is None:
            problem = StoreUnavailable("no node of the Cluster serves this slot")
            return Deferred.fromCoroutine(self._again(slot, what, None, problem, began))
        return node.do(what).addErrback(self._not_done, slot, what, node, began)

    def call(self, slot: int, make: Callable[[], Call[T]]) -> Deferred[T]:
        """Send a call, another one that is made alike for each attempt."""
        return self.run(slot, lambda store: store.pool.execute(make()))

    def execute(self, slot: int, call: Call[T]) -> Deferred[T]:
        """Send a call that may be sent more than once."""
        return self.run(slot, lambda store: store.pool.execute(call))

    def _not_done(
        self, failure: Failure, slot: int, what: Callable[[RedisStore], Deferred[T]], node: ClusterNode, began: float
    ) -> Deferred[T]:
        problem = failure.value
        if not isinstance(problem, StoreError) or not _worth_another(problem):
            return fail(failure)
        return Deferred.fromCoroutine(self._again(slot, what, node, problem, began))

    async def _again(
        self,
        slot: int,
        what: Callable[[RedisStore], Deferred[T]],
        node: ClusterNode | None,
        problem: StoreError,
        began: float,
    ) -> T:
        for _ in range(HOPS):
            left = began + self._command_timeout - self._clock.seconds()
            if left <= 0:
                break
            there = await self._whither(slot, node, problem)
            if there is None:
                raise self._verdict(problem, node)
            node, asking = there
            try:
                attempt = node.do_asking(what) if asking else node.do(what)
                return await attempt.addTimeout(max(0.0, left), self._clock)
            except TimeoutError:
                problem = TimedOut(f"no answer within {self._command_timeout:g} s")
            except StoreError as error:
                problem = error
                if not _worth_another(error):
                    raise
        self.look()
        raise self._verdict(problem, node)

    async def _whither(
        self, slot: int, node: ClusterNode | None, problem: StoreError
    ) -> tuple[ClusterNode, bool] | None:
        """The node to try next, and whether it must be told ASKING; None if there is no other."""
        if isinstance(problem, Redirected) and node is not None:
            host, port = problem.address
            there = self.node((host or node.address[0], port))
            if not problem.asking:
                self._owners[problem.slot] = there
                self.look()
            there.asked_at = self._clock.seconds()
            return there, problem.asking
        if isinstance(problem, TryAgain):
            await deferLater(self._clock, AGAIN_SECONDS)
            owner = self._owners[slot]
            return None if owner is None else (owner, False)
        try:
            await self.map.refresh()
        except StoreError:
            if node is None:
                raise
            return None
        owner = self._owners[slot]
        return None if owner is None or owner is node else (owner, False)

    def _verdict(self, problem: StoreError, node: ClusterNode | None) -> StoreError:
        if isinstance(problem, StoreUnavailable):
            return problem
        others = any(other.well for other in self.nodes.values() if other is not node)
        return PartFailed(str(problem)) if others else problem

    # -- many names ----------------------------------------------------------------------------------

    async def each(
        self, names: Sequence[bytes], command: bytes, singly: Callable[[RedisStore, list[bytes]], Deferred[set[bytes]]]
    ) -> set[bytes]:
        """Those of some names for which ``command`` was answered with 1: a group at a node together, and those that
        another node has to be asked for ``singly``."""
        groups: dict[ClusterNode | None, list[bytes]] = {}
        for name in names:
            groups.setdefault(self._owners[slot_of(name)], []).append(name)
        left = groups.pop(None, [])
        found: set[bytes] = set()
        asked = [cast("ClusterNode", node).do(partial(_replies, command, some)) for node, some in groups.items()]
        for (well, answer), some in zip(await DeferredList(asked, consumeErrors=True), groups.values(), strict=True):
            if well:
                found |= _positive(some, answer, left)
            elif _worth_another(cast("Failure", answer).value):
                left += some
            else:
                cast("Failure", answer).raiseException()
        for start in range(0, len(left), SINGLY):
            found |= await self._singly(left[start : start + SINGLY], singly)
        return found

    async def _singly(
        self, names: list[bytes], singly: Callable[[RedisStore, list[bytes]], Deferred[set[bytes]]]
    ) -> set[bytes]:
        asked = [self.run(slot_of(name), partial(_one, singly, name)) for name in names]
        found: set[bytes] = set()
        for well, answer in await DeferredList(asked, consumeErrors=True):
            if not well:
                cast("Failure", answer).raiseException()
            found |= answer
        return found

    # -- nodes ---------------------------------------------------------------------------------------

    def _arrange(self, slots: SlotMap) -> None:
        """Have a node for each master, and those alone."""
        nodes = {address: self.node(address) for address in slots.masters}
        self._owners = [None if owner is None else nodes[owner] for owner in slots.owners]
        used = self._clock.seconds() - KEPT_SECONDS
        for address, node in list(self.nodes.items()):
            if address not in nodes and node.asked_at < used:
                del self.nodes[address]
                self._leave(node)
        for node in nodes.values():
            node.guarded.look_again()

    def _leave(self, node: ClusterNode) -> None:
        left = node.stop()
        self._leaving.add(left)
        left.addBoth(lambda _: self._leaving.discard(left))


def _worth_another(problem: BaseException | None) -> bool:
    """Whether another node may do better."""
    if not isinstance(problem, StoreError) or isinstance(problem, Unreadable | AnswerLost | Overtaken):
        return False
    return not isinstance(problem, CommandRefused) or isinstance(problem, Redirected | TryAgain)


def _replies(command: bytes, names: list[bytes], store: RedisStore) -> Deferred[list[RedisReply]]:
    """The replies to ``command`` for each name, errors among them."""
    payload = b"".join([pack(command, name) for name in names])
    return store.pool.execute(Ask(payload, len(names), list))


def _positive(names: list[bytes], replies: list[RedisReply], left: list[bytes]) -> set[bytes]:
    """Names that were answered with 1; those for which another node must be asked go to ``left``."""
    found = set()
    for name, reply in zip(names, replies, strict=True):
        if isinstance(reply, ResponseError):
            problem = from_reply(reply)
            if not _worth_another(problem):
                raise problem
            left.append(name)
        elif reply == 1:
            found.add(name)
    return found


def _one(
    singly: Callable[[RedisStore, list[bytes]], Deferred[set[bytes]]], name: bytes, store: RedisStore
) -> Deferred[set[bytes]]:
    return singly(store, [name])
