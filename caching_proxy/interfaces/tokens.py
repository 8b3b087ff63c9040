"""The seam of tokens: whose request it is, and so whose answers may be shared with it."""

from __future__ import annotations

import attrs
from twisted.internet.defer import Deferred
from zope.interface import Interface

from caching_proxy.http.messages import RequestHead


@attrs.frozen(slots=True)
class Identity:
    """Whose request it is: what partitions the cache.

    ``role`` is the escaped identifier that stands in keys, None when the cache must be passed by. ``label`` is the
    role without any token digest, for logs and metrics. ``established`` is False only where credentials were
    presented that no role could be taken from: then RFC 9111 §3.5 decides what may be stored or reused.
    """

    role: bytes | None
    label: str
    established: bool = True


class ITokenVerifier(Interface):
    """Turns the ``Authorization`` of a request into an :class:`Identity`."""

    def identify(request: RequestHead) -> Identity | Deferred[Identity]:
        """Find out whose request it is. Never fails: any doubt is an identity without a role.

        Args:
            request: Its ``Authorization`` is looked at.

        Returns:
            The identity; a Deferred only where keys must be fetched first.
        """

    def remembered(authorization: bytes) -> Identity | None:
        """What :meth:`identify` found before, for those who cannot wait.

        Args:
            authorization: The exact value of the field.

        Returns:
            The identity if it is already known and still valid, or plain to see; else None.
        """
