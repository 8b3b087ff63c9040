"""What a Redis server's error replies mean for us.

Three kinds: a foreign value under a key (:class:`Unreadable`), a server that cannot serve now (:class:`Sick`, which
opens the breaker as a lost connection or a timeout does), and any other refusal (:class:`CommandRefused`), which says
nothing about the server's health.
"""

from __future__ import annotations

import re

from twisted.python.failure import Failure

from caching_proxy.interfaces import Overtaken, StoreError, StoreForbidden, StoreUnavailable, Unreadable
from caching_proxy.rules.store_topology import Address
from caching_proxy.store.redis.slots import parse_redirection

# Redis 6.2 puts an error raised within a script at the end of a text of its own, after a dash.
_SICK = re.compile(r"(?:^|\s-)(?:LOADING|READONLY|OOM|MASTERDOWN|MISCONF|NOREPLICAS|BUSY|CLUSTERDOWN)\b")
_READ_ONLY = re.compile(r"(?:^|\s-)READONLY\b")
_FORBIDDEN = re.compile(r"(?:^|\s-)NOPERM\b|^ERR ACL failure\b")
_FOREIGN = re.compile(r"(?:^|\s-)WRONGTYPE\b")


class Sick(StoreError):
    """The server answered that it cannot serve now: loading, read-only, out of memory, cut off from its master."""


class ReadOnly(Sick):
    """The server takes no writes: it is a replica, perhaps since a moment ago."""


class CommandRefused(StoreError):
    """The server answered with an error that is about the command or our rights, not about its health."""


class Redirected(CommandRefused):
    """Another node of the Cluster serves this slot: from now on, or ``asking`` for this command only.

    The host in ``address`` is empty where the server that said so does not know its own.
    """

    def __init__(self, text: str, asking: bool, slot: int, address: Address) -> None:
        super().__init__(text)
        self.asking = asking
        self.slot = slot
        self.address = address


class PartFailed(StoreError):
    """A node of a Cluster does not serve its slots; others do."""


class TryAgain(CommandRefused):
    """The keys of a script are on two nodes at the moment, as their slot is being moved."""


class Forbidden(CommandRefused, StoreForbidden):
    """Our user lacks a right (ACL)."""


class ConnectionGone(StoreError):
    """The connection was lost before the answer came; whether the command ran is unknown."""


class CutShort(ConnectionGone):
    """The connection was lost while this very answer was due."""


class TimedOut(StoreError):
    """No answer, or no connection, within the time allowed."""


def from_reply(error: object) -> StoreError:
    """The :class:`StoreError` for an error reply, with the server's text."""
    text = str(error)
    if _READ_ONLY.search(text):
        return ReadOnly(text)
    if _SICK.search(text):
        return Sick(text)
    if _FOREIGN.search(text):
        return Unreadable(text)
    redirection = parse_redirection(text)
    if redirection is not None:
        return Redirected(text, *redirection)
    if text.startswith("TRYAGAIN "):
        return TryAgain(text)
    return Forbidden(text) if _FORBIDDEN.search(text) else CommandRefused(text)


def tells_of_health(failure: Failure) -> bool:
    """Whether a failed call is a reason to think that the store is ill (what the breaker counts)."""
    return isinstance(failure.value, StoreError) and not failure.check(
        CommandRefused, Unreadable, StoreUnavailable, Overtaken, PartFailed
    )
