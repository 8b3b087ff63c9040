"""A small document over HTTP through treq: bounded in size, no redirects, nothing decoded beyond gzip."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers

if TYPE_CHECKING:
    from treq._types import _ITreqReactor


class FetchError(Exception):
    """The document could not be had: another status than 200, too large, or cut short."""


def check_url(url: str) -> str:
    """``url`` if it is absolute http(s); raises ValueError otherwise."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("an http:// or https:// address is needed")
    return url


async def fetch_document(client: HTTPClient, url: str, limit: int, clock: IReactorTime) -> bytes:
    """GET ``url``: its whole body of at most ``limit`` bytes. Fails with :class:`FetchError` or as the agent does.

    Cancelling closes the connection. Bounding the time is the caller's part.
    """
    response = await client.get(
        check_url(url),
        headers=Headers({b"Accept": [b"application/json"]}),
        allow_redirects=False,
        unbuffered=True,
        reactor=cast("_ITreqReactor", clock),  # else treq reaches for the global one
    )
    reader = _Bounded(limit)
    if response.code != 200:
        reader.abort(FetchError(f"status {response.code}"))
    response.deliverBody(reader)
    return await reader.done


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
