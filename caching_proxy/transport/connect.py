"""Outgoing connections made by the native event loop, with Twisted's errors and a Deferred in front."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from caching_proxy.transport.happy_eyeballs import race
from caching_proxy.transport.native import BytesProtocol
from caching_proxy.transport.native_protocol import NativeProtocol

P = TypeVar("P", bound=BytesProtocol)
Connecting = Callable[[Callable[[], NativeProtocol]], Coroutine[Any, Any, object]]


def connect_native(
    loop: asyncio.AbstractEventLoop,
    factory: Callable[[], P],
    host: str,
    port: int,
    *,
    timeout: float,
    clock: IReactorTime,
) -> Deferred[P]:
    """Connect to ``host``:``port`` over TCP and fire with the protocol, already attached to its transport.

    The name is resolved anew each time, without blocking; its addresses are tried as RFC 8305 says. Fails with
    Twisted's ``DNSLookupError``, ``ConnectionRefusedError``, ``TimeoutError`` (after ``timeout`` seconds in all) or
    another ``ConnectError``. Cancelling drops the attempt.
    """
    return _connect(loop, factory, lambda build: race(loop, build, host, port), timeout, clock)


def connect_native_unix(
    loop: asyncio.AbstractEventLoop, factory: Callable[[], P], path: str, *, timeout: float, clock: IReactorTime
) -> Deferred[P]:
    """Like :func:`connect_native`, to a Unix domain socket."""
    return _connect(loop, factory, lambda build: loop.create_unix_connection(build, path), timeout, clock)


def _connect(
    loop: asyncio.AbstractEventLoop,
    factory: Callable[[], P],
    connecting: Connecting,
    timeout: float,
    clock: IReactorTime,
) -> Deferred[P]:
    def cancel(_: Deferred[P]) -> None:
        task.cancel()

    done: Deferred[P] = Deferred(cancel)
    built: list[P] = []

    def build(_peer: IAddress) -> P | None:
        if done.called:  # cancelled or timed out while the handshake was ending
            return None
        built.append(factory())
        return built[0]

    def made() -> None:  # before any byte can arrive, as Twisted's endpoints do
        timer.cancel()
        if not done.called:
            done.callback(built[0])

    def timed_out() -> None:
        task.cancel()
        done.errback(Failure(error.TimeoutError(string=f"not connected after {timeout:g} s")))

    def ended(task: asyncio.Task[object]) -> None:
        failure = None if task.cancelled() else task.exception()
        if timer.active():
            timer.cancel()
        if failure is not None and not done.called:
            done.errback(Failure(_translated(failure)))

    timer: IDelayedCall = clock.callLater(timeout, timed_out)
    task = loop.create_task(connecting(lambda: NativeProtocol(loop, build, made)))
    task.add_done_callback(ended)
    return done


def _translated(exception: BaseException) -> BaseException:
    """Twisted's name for what went wrong while connecting."""
    if isinstance(exception, socket.gaierror):
        return error.DNSLookupError(str(exception))
    if isinstance(exception, ConnectionRefusedError) or "refused" in str(exception).lower():
        return error.ConnectionRefusedError(string=str(exception))
    if isinstance(exception, OSError):
        if exception.errno == errno.ETIMEDOUT:
            return error.TimeoutError(string=str(exception))
        return error.ConnectError(exception.errno, str(exception))
    return exception
