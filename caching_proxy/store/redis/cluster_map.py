"""The map of slots of a Cluster, as its nodes tell it: asked for when something failed or moved, never too often."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import cast

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from caching_proxy.interfaces import StoreError, StoreUnavailable
from caching_proxy.rules.store_topology import Address, ClusterTopology, shown
from caching_proxy.store.redis.endpoint import Endpoints
from caching_proxy.store.redis.one_shot import ask_once
from caching_proxy.store.redis.slots import SLOTS, STEP, SlotMap, slots_in_steps

PAUSE_SECONDS = 0.25
"""The map is not asked for again sooner than that after an answer."""

MOST_SECONDS = 1.0
"""How long one node may take to answer."""

NO_MAP = SlotMap((None,) * SLOTS, (), ())


class ClusterMap:
    """``slots`` is the map known now; ``changed`` are called with each other one that is learnt."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, topology: ClusterTopology, endpoints: Endpoints, seconds: float) -> None:
        self.slots = NO_MAP
        self.changed: list[Callable[[SlotMap], object]] = []
        self._clock = clock
        self._topology = topology
        self._endpoints = endpoints
        self._each_seconds = min(MOST_SECONDS, seconds)
        self._turn = 0
        self._asking: Deferred[None] | None = None
        self._waiting: dict[Deferred[None], None] = {}
        self._answered_at = -inf
        self._problem: StoreError | None = None
        self._silent = False
        self._stopped = False

    def refresh(self, first: Address | None = None) -> Deferred[None]:
        """Ask for the map, of ``first`` before others, unless that was just done; StoreError if nobody tells."""
        if self._stopped:
            return fail(StoreUnavailable("the store is stopping"))
        if self._asking is None and self._clock.seconds() - self._answered_at < PAUSE_SECONDS:
            return fail(self._problem) if self._problem is not None else succeed(None)
        done: Deferred[None] = Deferred(lambda cancelled: self._waiting.pop(cancelled, None))
        self._waiting[done] = None
        if self._asking is None:
            self._asking = Deferred.fromCoroutine(self._ask(first))
            self._asking.addErrback(self._failed).addCallback(self._told)
        return done

    async def read_anew(self) -> None:
        """Ask for the map, however short a time ago that was done."""
        if self._asking is not None:  # what it brings may be of before
            await self.refresh()
        self._answered_at = -inf
        await self.refresh()

    def start(self) -> None:
        """Ask again, after a stop."""
        self._stopped = False

    def stop(self) -> None:
        """Ask no more; who waits for an answer is told so."""
        self._stopped = True
        if self._asking is not None:
            self._asking.cancel()

    async def _ask(self, first: Address | None) -> None:
        problems = []
        for address in self._candidates(first):
            server = self._topology.node(address)
            try:
                reply = await ask_once(self._clock, self._endpoints, server, self._each_seconds, b"CLUSTER", b"SLOTS")
                slots = await self._read(reply, address)
                if not slots.masters:
                    raise ValueError("serves no slots")
            except ValueError as problem:
                problems.append(f"{shown(address)}: {problem}")
            except StoreError as problem:
                problems.append(str(problem))
            else:
                self._learn(slots)
                return
        raise StoreError(f"cannot read the slots of {self._topology.describe()}: " + "; ".join(problems))

    async def _read(self, reply: object, asked: Address) -> SlotMap:
        """The map in ``reply``; others have their turn in between where it is a long one."""
        steps = slots_in_steps(reply, asked)
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return cast("SlotMap", end.value)
            if isinstance(reply, list) and len(reply) >= STEP:
                await deferLater(self._clock, 0)

    def _candidates(self, first: Address | None) -> list[Address]:
        """Whom to ask, in order: another of the masters each time, then replicas, then those that we were given."""
        self._turn += 1
        masters = self.slots.masters
        start = self._turn % len(masters) if masters else 0
        known = [*masters[start:], *masters[:start], *self.slots.replicas, *self._topology.seeds]
        return list(dict.fromkeys([*([first] if first is not None else []), *known]))

    def _learn(self, slots: SlotMap) -> None:
        self._problem = None
        if self._silent:
            self._silent = False
            self._log.info("the slots of {store} are known again", store=self._topology.describe())
        if (slots.owners, slots.nodes) != (self.slots.owners, self.slots.nodes):
            self.slots = slots
            for tell in self.changed:
                tell(slots)

    def _failed(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            self._problem = StoreError("the store is stopping")
            return
        if not failure.check(StoreError):
            self._log.failure("reading the map of slots failed", failure)
        self._problem = problem = StoreError(failure.getErrorMessage())
        if not self._silent:
            self._silent = True
            self._log.warn("{error}", error=str(problem))

    def _told(self, _: None) -> None:
        self._asking = None
        self._answered_at = self._clock.seconds()
        waiting, self._waiting = self._waiting, {}
        for done in waiting:
            if self._problem is None:
                done.callback(None)
            else:
                done.errback(self._problem)
