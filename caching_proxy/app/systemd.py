"""What a service manager is told (``sd_notify``): that we serve, read our files anew, end, and are not stuck.

The protocol is a datagram of ``NAME=value`` lines for each word, sent to the socket that ``NOTIFY_SOCKET`` names.
Without that variable nothing is said. Nothing waits for the manager: what it does not take at once is said again later.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from typing import Any

from twisted.logger import Logger

AGAIN_SECONDS = 0.1
"""When to say again what found the manager's queue full."""

_log = Logger()


class Notifier:
    """Speaks to the manager that ``environ`` names, if any.

    Args:
        reactor: Runs the watchdog's timer, so that a loop that is stuck is not reported as alive.
        environ: ``NOTIFY_SOCKET`` is a path, or an abstract name after ``@``; ``WATCHDOG_USEC`` asks for a sign of life
            within so many microseconds, from the process ``WATCHDOG_PID`` where that is set.
    """

    def __init__(self, reactor: Any, environ: Mapping[str, str]) -> None:
        self._reactor = reactor
        self._environ = environ
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._watched = False

    def ready(self) -> None:
        """All is read and the sockets accept; the first time, as soon as the reactor runs."""
        if self._address:
            self._reactor.callWhenRunning(self._ready)

    def reloading(self) -> None:
        """Files are read anew; :meth:`ready` has to follow, whatever comes of it."""
        self._say(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The end has begun. Signs of life go on, since requests under way may take their time."""
        self._say("STOPPING=1")

    def _ready(self) -> None:
        self._say("READY=1")
        interval = _interval(self._environ)
        if interval and not self._watched:
            self._watched = True
            self._alive(interval)

    def _alive(self, interval: float) -> None:
        self._say("WATCHDOG=1")
        self._reactor.callLater(interval, self._alive, interval)

    def _say(self, words: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto(words.encode("ascii"), self._address)
        except BlockingIOError:
            if words != "WATCHDOG=1":  # the next one comes by itself
                self._reactor.callLater(AGAIN_SECONDS, self._say, words)
        except OSError as problem:
            self._address = b""
            _log.warn("the service manager is told nothing any more: NOTIFY_SOCKET: {problem}", problem=str(problem))


def _address(name: str) -> bytes:
    """What to send to; nothing for what is no Unix socket."""
    if name.startswith("@"):
        return b"\0" + os.fsencode(name[1:])
    return os.fsencode(name) if name.startswith("/") else b""


def _interval(environ: Mapping[str, str]) -> float:
    """Seconds between two signs of life, half of what the manager waits; 0 for none."""
    text = environ.get("WATCHDOG_USEC", "")
    mine = environ.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
    return int(text) / 2e6 if mine and text.isascii() and text.isdigit() else 0.0


SILENT = Notifier(None, {})
"""Says nothing."""
