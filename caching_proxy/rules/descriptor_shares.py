"""How the descriptors that a process may have are shared out: clients must never take those that answer them."""

from __future__ import annotations

import attrs

OWN = 32
"""Descriptors for everything but connections: listeners, logs, the event loop, look-ups, files read in passing."""


@attrs.frozen(slots=True)
class Shares:
    """Connections at most."""

    clients: int
    backend: int


def share_out(limit: int | None, clients: int, backend: int, others: int) -> Shares:
    """How many of the ``clients`` and ``backend`` connections wanted fit beside ``others``.

    ``limit`` is the number of descriptors, None for any number. Clients get at most what the rest leaves; where there
    is little, half of it, since a client whose request needs the backend needs two descriptors.
    """
    if limit is None or clients + backend + others + OWN <= limit:
        return Shares(clients, backend)
    room = max(4, limit - OWN)
    rest = min(backend + others, room // 2)
    return Shares(min(clients, room - rest), max(1, min(backend, rest - min(others, rest // 2))))
