"""A small document over HTTP through treq: bounded in size and redirects, nothing decoded beyond gzip."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast
from urllib.parse import urljoin, urlsplit

from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers

from caching_proxy.auth.address import check_url

if TYPE_CHECKING:
    from treq._types import _ITreqReactor


class FetchError(Exception):
    """The document could not be had: another status than 200, too large, or cut short."""


_REDIRECTS = frozenset((301, 302, 303, 307, 308))


async def fetch_document(client: HTTPClient, url: str, limit: int, clock: IReactorTime, redirects: int = 0) -> bytes:
    """GET ``url``: its whole body of at most ``limit`` bytes. Fails with :class:`FetchError` or as the agent does.

    ``redirects`` are followed at most, and only to the same host by a scheme as safe. Cancelling closes the
    connection. Bounding the time is the caller's part.
    """
    response = await client.get(
        check_url(url),
        headers=Headers({b"Accept": [b"application/json"]}),
        allow_redirects=False,
        unbuffered=True,
        reactor=cast("_ITreqReactor", clock),  # else treq reaches for the global one
    )
    reader = _Bounded(limit)
    if response.code == 200:
        response.deliverBody(reader)
        return await reader.done
    onward = _onward(url, response.headers.getRawHeaders("location") or []) if redirects else None
    reader.done.addErrback(lambda _: None)
    reader.abort(FetchError(f"status {response.code}"))
    response.deliverBody(reader)
    if response.code not in _REDIRECTS or onward is None:
        raise FetchError(f"status {response.code}")
    return await fetch_document(client, onward, limit, clock, redirects - 1)


def _onward(url: str, locations: Sequence[str]) -> str | None:
    """Where a redirect leads, if that is the same host and no less safe."""
    if len(locations) != 1:
        return None
    try:
        onward = urljoin(url, locations[0])
        before, after = urlsplit(check_url(url)), urlsplit(check_url(onward))
    except ValueError:
        return None
    same = after.hostname == before.hostname and after.username is None
    return onward if same and after.scheme in (before.scheme, "https") else None


class _Bounded(Protocol):
    """Collects a body and drops the connection at the first byte too many."""

    def __init__(self, limit: int) -> None:
        self.done: Deferred[bytes] = Deferred(lambda _: self._drop())
        self._limit = limit
        self._chunks: list[bytes] = []
        self._size = 0
        self._over = False

    def connectionMade(self) -> None:
        if self._over:
            self._drop()

    def dataReceived(self, data: bytes) -> None:
        self._size += len(data)
        if self._over:
            return
        if self._size > self._limit:
            self.abort(FetchError(f"more than {self._limit} bytes"))
            return
        self._chunks.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._over:
            return
        self._over = True
        if reason.check(ResponseDone, PotentialDataLoss):
            self.done.callback(b"".join(self._chunks))
        else:
            self.done.errback(reason)

    def abort(self, error: FetchError) -> None:
        """Fail with ``error`` and close the connection."""
        if not self._over:
            self._drop()
            self.done.errback(error)

    def _drop(self) -> None:
        self._over = True
        self._chunks.clear()
        transport = self.transport
        if transport is not None:
            transport.loseConnection()
