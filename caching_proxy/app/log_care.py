"""What a log needs of the process that writes it: its signal, and time at the end."""

from __future__ import annotations

import atexit
import signal

from twisted.internet.interfaces import IReactorCore

from caching_proxy.telemetry.log_writer import LogWriter


def ignore_rotation() -> None:
    """Let SIGUSR1 do nothing until there is a log: a program that rotates logs may come during the start."""
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def attend(log: LogWriter, reactor: IReactorCore) -> None:
    """Have ``log`` reopened on SIGUSR1, whose default would end the program, and written out at the end."""
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, lambda *_: log.reopen())
    reactor.addSystemEventTrigger("after", "shutdown", log.finish)
    atexit.register(log.finish)
