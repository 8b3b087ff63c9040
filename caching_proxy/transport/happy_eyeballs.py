"""Several addresses of one name, tried so that one that does not answer costs little (RFC 8305, "Happy Eyeballs")."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from itertools import chain, zip_longest

from caching_proxy.transport.native_protocol import NativeProtocol

ATTEMPT_DELAY = 0.25
"""Seconds after which the next address is tried beside those that have not answered (RFC 8305 §5)."""

Address = tuple[socket.AddressFamily, str, int]


def interleaved(found: Iterable[Address]) -> list[Address]:
    """The addresses, families taking turns, that of the first one first (RFC 8305 §4)."""
    families: dict[socket.AddressFamily, list[Address]] = {}
    for address in dict.fromkeys(found):
        families.setdefault(address[0], []).append(address)
    return [address for address in chain.from_iterable(zip_longest(*families.values())) if address is not None]


async def race(
    loop: asyncio.AbstractEventLoop, build: Callable[[], NativeProtocol], host: str, port: int
) -> NativeProtocol:
    """The protocol of the first connection that is made. Fails as the first attempt did if none is; can be cancelled.

    ``build`` is called for each connection that is made: more than one can be in the same turn of the loop.
    """
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = interleaved((family, str(where[0]), port) for family, _, _, _, where in found)
    attempts: list[asyncio.Task[NativeProtocol]] = []
    try:
        for address in addresses:
            attempts.append(loop.create_task(_attempt(loop, build, address)))
            made = await _first(attempts, ATTEMPT_DELAY)
            if made is not None:
                return made
        while (made := await _first(attempts, None)) is None:
            if all(attempt.done() for attempt in attempts):
                break
        return made if made is not None else attempts[0].result()
    finally:
        for attempt in attempts:
            attempt.cancel()
            if attempt.done() and not attempt.cancelled():
                attempt.exception()  # looked at, so that nobody complains


async def _attempt(
    loop: asyncio.AbstractEventLoop, build: Callable[[], NativeProtocol], address: Address
) -> NativeProtocol:
    family, host, port = address
    _, protocol = await loop.create_connection(build, host, port, family=family, flags=socket.AI_NUMERICHOST)
    return protocol


async def _first(attempts: list[asyncio.Task[NativeProtocol]], seconds: float | None) -> NativeProtocol | None:
    """The protocol of an attempt that succeeded; None when one has failed, or after ``seconds``."""
    waiting = [attempt for attempt in attempts if not attempt.done()]
    if waiting:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for attempt in attempts:
        if attempt.done() and not attempt.cancelled() and attempt.exception() is None:
            return attempt.result()
    return None
