"""Which field lines of a request some rule reads, by their name.

Everything that decides about an answer before anything stored is looked at reads these lines and no others; what a
stored response's ``Vary`` names comes on top, and is looked for where a response names something.
"""

from __future__ import annotations

from caching_proxy.rules.request_traits import NOTABLE, PARTICULAR
from caching_proxy.rules.scope import believed

ABOUT_MESSAGE = frozenset(
    (
        *(b"connection", b"content-length", b"content_length", b"expect", b"host"),
        *(b"transfer-encoding", b"transfer_encoding", b"upgrade"),
    )
)
"""What delimits the message and settles what becomes of its connection."""

OWN = PARTICULAR | {b"authorization", b"cookie", b"forwarded", b"x-request-id"}
"""Names whose values tend to differ from request to request: that the line is there is one thing, what it says
another."""

_SHARED = (ABOUT_MESSAGE | NOTABLE | {b"x-forwarded-proto"}) - OWN

READ = _SHARED | OWN
"""All that is read under a name of its own."""


def is_read(name: bytes) -> bool:
    """Whether a line called ``name`` (lower case) can matter, other than to a ``Vary``."""
    return name in _SHARED or name in OWN or believed(name)
