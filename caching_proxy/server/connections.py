"""The open client connections: how many there may be, their deadlines, and how they end when the process does."""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

TICK = 1.0
"""Seconds between two looks at the deadlines: one timer for all connections costs less than one each."""


ENOUGH_ROOM = 0.9
"""The part of the connections below which a state of too many is over."""


class Connection(Protocol):
    """What the set asks of a channel."""

    @property
    def peer_host(self) -> bytes:
        """The peer's IP address; empty where it has none."""

    @property
    def idle(self) -> bool:
        """Whether no complete request has been read that is not answered."""

    def check(self, now: float) -> None:
        """Act upon deadlines that passed."""

    def close_idle(self) -> None:
        """Close in good order; called on idle connections only."""

    def wind_down(self) -> None:
        """Tell the client, where the protocol can, that nothing more is begun; called on busy connections only."""

    def abort(self) -> None:
        """Drop the connection."""


class ConnectionSet:
    """Open connections, bounded in all and per peer address (None = unbounded)."""

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, max_connections: int | None = None, max_per_peer: int | None = None
    ) -> None:
        self.draining = False
        self._clock = clock
        self._max_connections = max_connections
        self._max_per_peer = max_per_peer
        self._open: set[Connection] = set()
        self._peers: Counter[bytes] = Counter()
        self._timer: IDelayedCall | None = None
        self._emptied: list[Deferred[None]] = []
        self._refused = 0  # since there was no room; said once at the beginning and once at the end

    def __len__(self) -> int:
        return len(self._open)

    def allows(self, peer_host: bytes) -> bool:
        """Whether one more connection from this address is within the bounds."""
        if self.draining:
            return False
        if self._max_connections is not None and len(self._open) >= self._max_connections:
            self._no_room(self._max_connections)
            return False
        return self._max_per_peer is None or not peer_host or self._peers[peer_host] < self._max_per_peer

    def add(self, connection: Connection) -> None:
        self._open.add(connection)
        if self._max_per_peer is not None:
            self._peers[connection.peer_host] += 1
        if self._timer is None:
            self._timer = self._clock.callLater(TICK, self._tick)

    def discard(self, connection: Connection) -> None:
        if connection not in self._open:
            return
        self._open.discard(connection)
        if self._refused and self._max_connections is not None:
            self._room_again(self._max_connections)
        if self._max_per_peer is not None:
            self._peers[connection.peer_host] -= 1
            if self._peers[connection.peer_host] <= 0:
                del self._peers[connection.peer_host]
        if not self._open:
            self._emptied_now()

    def _no_room(self, most: int) -> None:
        self._refused += 1
        if self._refused == 1:
            self._log.warn("all {n} client connections are taken: further ones are refused", n=most)

    def _room_again(self, most: int) -> None:
        """Not at the first place that becomes free, or a full house would be said at each coming and going."""
        if len(self._open) < most * ENOUGH_ROOM:
            self._log.info("client connections are taken again, after {n} were refused", n=self._refused)
            self._refused = 0

    def drain(
        self, grace_seconds: float, clock: IReactorTime | None = None, linger_seconds: float = 0.0
    ) -> Deferred[None]:
        """Close idle connections, busy ones after their answer, all after ``grace_seconds``.

        Fires when none is left; new connections are refused from now on. For ``linger_seconds`` idle ones may still
        bring a request, which is then their last: none is lost that was sent before its client heard of the end.
        """
        self.draining = True
        if linger_seconds <= 0:
            self._close_idle()
        if not self._open:
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._emptied.append(done)
        timing = clock or self._clock
        timers = [timing.callLater(grace_seconds, self.abort_all)]
        if 0 < linger_seconds < grace_seconds:
            timers.append(timing.callLater(linger_seconds, self._close_idle))

        def ended(result: None) -> None:
            for timer in timers:
                if timer.active():
                    timer.cancel()

        return done.addCallback(ended)

    def _close_idle(self) -> None:
        for connection in list(self._open):
            if connection.idle:
                connection.close_idle()
            else:
                connection.wind_down()

    def abort_all(self) -> None:
        """Drop every connection."""
        for connection in list(self._open):
            connection.abort()

    def _tick(self) -> None:
        self._timer = self._clock.callLater(TICK, self._tick)
        now = self._clock.seconds()
        for connection in list(self._open):
            connection.check(now)

    def _emptied_now(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()
        waiting, self._emptied = self._emptied, []
        for done in waiting:
            done.callback(None)
