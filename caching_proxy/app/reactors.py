"""Which event loop the daemon runs on: uvloop's under Twisted's asyncio reactor, unless another was chosen.

``twistd`` without ``-n`` forks after the reactor exists, and libuv forbids going on with a loop that crossed a fork
(``uv_loop_fork``, which uvloop does not offer). So the reactor takes a fresh loop in the child, through the hooks
that ``twistd`` calls for this purpose. Ask the reactor for its loop when a service *starts*, never before: a loop kept
from earlier is closed by then.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import Callable
from types import FrameType

from twisted.internet.asyncioreactor import AsyncioSelectorReactor
from twisted.internet.base import ReactorBase
from twisted.internet.interfaces import IReactorCore, IReactorDaemonize
from twisted.internet.main import installReactor
from zope.interface import implementer

NewLoop = Callable[[], asyncio.AbstractEventLoop]


@implementer(IReactorDaemonize)
class DaemonReactor(AsyncioSelectorReactor):
    """An asyncio reactor that survives daemonising; timers and watched descriptors move to the new loop."""

    def __init__(self, new_loop: NewLoop) -> None:
        self._new_loop = new_loop
        super().__init__(new_loop())

    def beforeDaemonize(self) -> None:
        """Nothing to do before the fork."""

    def afterDaemonize(self) -> None:
        """Go on with a new loop."""
        _adopt(self, self._new_loop())

    def sigInt(self, number: int, frame: FrameType | None = None) -> None:
        """Stop, once: a second signal while requests drain is no error."""
        if not self._stopped:
            super().sigInt(number, frame)

    def sigTerm(self, number: int, frame: FrameType | None = None) -> None:
        """Stop, once."""
        if not self._stopped:
            super().sigTerm(number, frame)


def _adopt(reactor: AsyncioSelectorReactor, loop: asyncio.AbstractEventLoop) -> None:
    old = reactor._asyncioEventloop
    readers, writers = list(reactor._readers), list(reactor._writers)
    for reader in readers:
        reactor.removeReader(reader)
    for writer in writers:
        reactor.removeWriter(writer)
    reactor._asyncioEventloop = loop
    for reader in readers:
        reactor.addReader(reader)
    for writer in writers:
        reactor.addWriter(writer)
    reactor._scheduledAt = reactor._timerHandle = None
    reactor._reschedule()
    old.close()


def reactor_chosen() -> bool:
    """Whether some reactor is installed already, by ``--reactor`` or by whoever imported us."""
    return "twisted.internet.reactor" in sys.modules


def install_reactor() -> bool:
    """Install the uvloop reactor if none was chosen and uvloop is there; whether it was installed."""
    if reactor_chosen() or importlib.util.find_spec("uvloop") is None:
        return False
    import uvloop

    installReactor(DaemonReactor(uvloop.new_event_loop))
    return True


def exit_cleanly(reactor: IReactorCore) -> None:
    """Let a drained SIGTERM or SIGINT end with exit status 0: ``twistd`` would repeat the signal on itself."""
    reactor.addSystemEventTrigger("after", "shutdown", _forget_signal, reactor)


def _forget_signal(reactor: IReactorCore) -> None:
    if isinstance(reactor, ReactorBase):
        reactor._exitSignal = None
