"""The seams: what one room of the house may know of another.

Everything asynchronous returns a Deferred that its caller may cancel; cancelling frees what the call held.

Belongs here: interfaces, the values that pass through them, and their errors.
Does not belong here: anything that does something.
May import: http, rules.
"""

from __future__ import annotations

from caching_proxy.interfaces.others import (
    Claim,
    IClaims,
    IInvalidationBus,
    IJournal,
    ISiblings,
)
from caching_proxy.interfaces.stores import (
    NO_OUTLINES,
    NOT_STALE,
    SCAN_ENDS,
    AnswerLost,
    DirectStore,
    Fate,
    IStore,
    IValues,
    Overtaken,
    Postponed,
    Scanned,
    Seeker,
    Stored,
    StoreError,
    StoreForbidden,
    StoreUnavailable,
    Unreadable,
)
from caching_proxy.interfaces.tokens import (
    Identity,
    ITokenVerifier,
)
from caching_proxy.interfaces.upstream import (
    DirectUpstream,
    IncompleteBody,
    IUpstream,
    Receiver,
    Switched,
    UnderWay,
    UpstreamError,
    UpstreamProtocolError,
    UpstreamResponse,
    UpstreamTimeout,
    UpstreamUnreachable,
)

__all__ = [
    "AnswerLost",
    "Claim",
    "DirectStore",
    "DirectUpstream",
    "Fate",
    "IClaims",
    "IInvalidationBus",
    "IJournal",
    "ISiblings",
    "IStore",
    "ITokenVerifier",
    "IUpstream",
    "IValues",
    "Identity",
    "IncompleteBody",
    "NOT_STALE",
    "NO_OUTLINES",
    "Overtaken",
    "Postponed",
    "Receiver",
    "SCAN_ENDS",
    "Scanned",
    "Seeker",
    "StoreError",
    "StoreForbidden",
    "StoreUnavailable",
    "Stored",
    "Switched",
    "UnderWay",
    "Unreadable",
    "UpstreamError",
    "UpstreamProtocolError",
    "UpstreamResponse",
    "UpstreamTimeout",
    "UpstreamUnreachable",
]
