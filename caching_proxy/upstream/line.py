"""Who waits for a backend connection, who may have one, and who is next.

The rules, all of them:

1. No peer holds more than ``share`` connections, however many requests it makes. A client without an address (a local
   socket, the proxy itself) is nobody's peer and has no share.
2. Requests whose body is still to come never hold all connections: a few are kept for the others, which are short.
3. Peers take turns, and each peer's requests go in order of arrival.
4. Requests without a body to stream go first, but every fourth place is one for the uploads if any wait.
"""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

UPLOADS_EVERY = 4


class WaitingRequest(Protocol):
    """A request, as the line sees it."""

    peer: bytes
    """Whose it is: an address in text, or empty."""
    streams: bool
    """Whether its body is still to come."""


W = TypeVar("W", bound=WaitingRequest)


class Line(Generic[W]):
    """The requests that wait, and how many connections each peer holds. ``size`` is the number of connections."""

    def __init__(self, size: int, share: int | None = None) -> None:
        self.share = share if share is not None else (size + 1) // 2
        self._for_uploads = size if size < UPLOADS_EVERY else size - size // UPLOADS_EVERY
        self._held: dict[bytes, int] = {}
        self._uploading = 0
        self._plain: dict[bytes, dict[W, None]] = {}
        self._uploads: dict[bytes, dict[W, None]] = {}
        self._since_upload = 0

    # -- connections -----------------------------------------------------------------------------

    def may_start(self, request: WaitingRequest) -> bool:
        """Whether ``request`` could have a connection if there was one (rules 1 and 2)."""
        if request.peer and self._held.get(request.peer, 0) >= self.share:
            return False
        return not request.streams or self._uploading < self._for_uploads

    def took(self, request: WaitingRequest) -> None:
        """``request`` has a connection now, or one is being made for it."""
        self._held[request.peer] = self._held.get(request.peer, 0) + 1
        if request.streams:
            self._uploading += 1

    def gave_back(self, request: WaitingRequest) -> None:
        """``request`` no longer has it."""
        left = self._held.pop(request.peer) - 1
        if left:
            self._held[request.peer] = left
        if request.streams:
            self._uploading -= 1

    def held_by(self, peer: bytes) -> int:
        """Connections that ``peer`` holds."""
        return self._held.get(peer, 0)

    # -- the line --------------------------------------------------------------------------------

    def add(self, request: W) -> None:
        """``request`` has to wait."""
        queues = self._uploads if request.streams else self._plain
        queues.setdefault(request.peer, {})[request] = None

    def remove(self, request: W) -> None:
        """``request`` waits no longer; nothing happens if it did not."""
        queues = self._uploads if request.streams else self._plain
        queue = queues.get(request.peer)
        if queue is not None:
            queue.pop(request, None)
            if not queue:
                del queues[request.peer]

    def next(self) -> W | None:
        """Take who is next out of the line (rules 1 to 4), if anybody in it may start."""
        lines = (self._plain, self._uploads)
        if self._uploads and self._since_upload >= UPLOADS_EVERY - 1:
            lines = (self._uploads, self._plain)
        for queues in lines:
            request = self._first(queues)
            if request is not None:
                self._since_upload = 0 if queues is self._uploads else self._since_upload + 1
                return request
        return None

    def _first(self, queues: dict[bytes, dict[W, None]]) -> W | None:
        if queues is self._uploads and self._uploading >= self._for_uploads:
            return None
        for peer, queue in queues.items():  # few are passed over: few can hold their whole share at once
            if not peer or self._held.get(peer, 0) < self.share:
                request = next(iter(queue))
                del queue[request], queues[peer]
                if queue:
                    queues[peer] = queue  # behind the other peers
                return request
        return None
