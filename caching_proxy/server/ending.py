"""How a connection of HTTP/1.1 ends before its client ends it: refused, overdue, cut short, or idle while we drain."""

from __future__ import annotations

from math import inf

from twisted.python.failure import Failure

from caching_proxy.http.framing import BadMessage
from caching_proxy.server.holding import HoldingHalf
from caching_proxy.server.refusal import refusal
from caching_proxy.server.request_body import Inbound
from caching_proxy.server.seams import Site
from caching_proxy.server.state import State

_HEAD, _BUSY, _CLOSING, *_ = State  # finding a member costs several times what a name of the module does


class EndingHalf(HoldingHalf):
    """``inbound`` is the body that still arrives. The other half serves heads; here it is said when no more are."""

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self.inbound: Inbound | None = None
        self._state = _HEAD
        self._buffer = b""
        self._serving = False

    def refuse(self, problem: BadMessage, *, lingers: bool = True) -> None:
        """Answer an error of the channel's own, and close."""
        self.write(refusal(problem, self.site.date()))
        if self.site.on_refused is not None:
            self.site.on_refused(problem.status, self.peer_host)
        self._finish(lingers=lingers)

    def _finish(self, *, lingers: bool) -> None:
        if self._state in (_HEAD, _BUSY):
            self._state = _CLOSING
            self._buffer = b""
            if self.inbound is not None:
                self.inbound.broken = True
            self.end(lingers=lingers)

    def overdue(self, now: float) -> None:
        self.due = inf
        if self._state is _HEAD:
            if self.full:
                return  # the answer is still being read; drained() sets the next deadline
            if self._buffer:
                self.refuse(BadMessage(408, "request head took too long"))
            else:
                self._finish(lingers=False)
        elif self._state is _BUSY and self.inbound is not None:
            late = self.inbound.overdue(now)
            if late < 0:
                self.due = now - late
            else:
                self._body_failed(BadMessage(408, "request body took too long"))

    @property
    def idle(self) -> bool:
        return self._state is _HEAD and not self.full and not self._serving

    def close_idle(self) -> None:
        if self._buffer:  # a part of a head: the client may send the request again, elsewhere
            self.refuse(BadMessage(503, "shutting down"), lingers=False)
        else:
            self._finish(lingers=False)

    def loseConnection(self) -> None:
        """Close after what has been written."""
        self._finish(lingers=False)

    def cut(self) -> None:
        """Close after what has been written, though the response is not complete: the client did not ask for it, may
        still be sending, and has to be able to read the answers before this one."""
        self._finish(lingers=True)

    # -- bodies that go no further ---------------------------------------------------------------

    def _body_failed(self, problem: BadMessage) -> None:
        """The body broke its framing or a bound: nothing after it can be understood."""
        request, inbound = self.request, self.inbound
        self._buffer = b""
        self.due = inf
        self.persists = False
        if request is None:
            self._finish(lingers=True)
        elif not request.startedWriting:  # before the body fails, or whoever reads it would answer in its own way
            self.request = None
            self.refuse(problem)
            request.connectionLost(Failure(problem))
        if inbound is not None:
            inbound.fail(Failure(problem))

    def body_unwanted(self) -> None:
        """The rest of the body is too long to be read over: stop reading, close after the answer."""
        self.persists = False
        self.due = inf
        if self.request is None:
            self._finish(lingers=True)
        else:
            self.hold_body(True)
