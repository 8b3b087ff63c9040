"""When a connection of HTTP/1.1 reads no further: while whoever takes a request's body is full, and while the client
has sent ahead more than may wait."""

from __future__ import annotations

from caching_proxy.server.answering import AnsweringHalf
from caching_proxy.server.seams import Site

WAITING_BYTES = 32 * 1024
"""Bytes sent ahead of a request under way at which reading stops."""


class HoldingHalf(AnsweringHalf):
    """Reading goes on when nothing holds it; what the system then keeps makes the client wait (TCP)."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.ahead_held = False
        """Whether too much was sent ahead of the request under way."""
        self._body_held = False

    def hold_body(self, held: bool) -> None:
        """Whoever takes the body is full, or has room again."""
        self._body_held = held
        self._hold()

    def hold_ahead(self, held: bool) -> None:
        """Too much was sent ahead, or it is the turn of that now."""
        self.ahead_held = held
        self._hold()

    def read_on(self) -> None:
        """Nothing holds it any more."""
        self._body_held = self.ahead_held = False
        self._hold()

    def _hold(self) -> None:
        if self._body_held or self.ahead_held:
            self.transport.pauseProducing()  # type: ignore[attr-defined]
        elif self.connected:
            self.transport.resumeProducing()  # type: ignore[attr-defined]
