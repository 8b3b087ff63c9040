"""Starting a worker's process and hearing of its end.

A worker is a Python of its own, not a fork: nothing of the supervisor's loop, threads or open files gets there but what
it is given by number. The numbers are those below; from :data:`FIRST_SOCKET` on, the listening sockets follow.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.error import ProcessDone, ProcessExitedAlready
from twisted.internet.process import reapAllProcesses
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from caching_proxy.workers.channel import ControlChannel, attach
from caching_proxy.workers.frames import WorkerFrame

CONTROL, LIFELINE, FIRST_SOCKET = 3, 4, 5
"""What the descriptors of a worker are; the lifeline ends with the supervisor, however that ends."""

REAP_SECONDS = 0.01
CLOSED_SECONDS = 1.0
"""A worker that has closed the channel and is still there after so long is killed."""

_CODE = (
    "import os, sys; sys.path[:] = os.environ.pop('{variable}').split(os.pathsep); "
    "from {module} import main; raise SystemExit(main())"
)
_PATH_VARIABLE = "CACHING_PROXY_PYTHON_PATH"
_SYSTEMD = frozenset(("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"))

OnEnded = Callable[[str], object]


class Process:
    """A running worker. ``on_ended`` hears how it ended; every frame before its end was given to ``on_frame``."""

    def __init__(self, reactor: Any, on_frame: Callable[[WorkerFrame], object], on_ended: OnEnded) -> None:
        self._reactor = reactor
        self._on_frame = on_frame
        self._on_ended = on_ended
        self._transport: Any = None
        self._channel = ControlChannel(lambda frame: self._on_frame(frame), self._channel_lost)
        self._ended: str | None = None
        self._open = True
        self._patience = 0.0
        self.pid = 0

    def start(
        self, module: str, lifeline: int, sockets: Sequence[socket.socket], output: Callable[[bytes], object] | None
    ) -> None:
        """Run ``main()`` of ``module``; what it prints goes to ``output``, else where our own output goes."""
        ours, theirs = socket.socketpair()
        files: dict[int, int | str] = {CONTROL: theirs.fileno(), LIFELINE: lifeline}
        files.update({FIRST_SOCKET + n: one.fileno() for n, one in enumerate(sockets)})
        files.update({number: number for number in (0, 1, 2) if _is_open(number)})
        if output is not None:
            files[1] = files[2] = "r"
        code = _CODE.format(variable=_PATH_VARIABLE, module=module)
        watcher = _Watcher(output, self._process_ended)
        with theirs:
            self._transport = self._reactor.spawnProcess(
                watcher, sys.executable, [sys.executable, "-c", code, module], _environment(os.environ), childFDs=files
            )
        self.pid = self._transport.pid
        attach(self._reactor, ours, self._channel)

    def hand_over(self, on_frame: Callable[[WorkerFrame], object], on_ended: OnEnded) -> None:
        """From now on others hear of it."""
        self._on_frame, self._on_ended = on_frame, on_ended

    def send(self, words: dict[str, Any], blob: bytes = b"") -> None:
        self._channel.send(WorkerFrame(words, blob))

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessExitedAlready):
            self._transport.signalProcess(number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)

    def _channel_lost(self) -> None:
        self._open = False
        self._patience = self._reactor.seconds() + CLOSED_SECONDS
        self._reap()

    def _reap(self) -> None:
        """uvloop keeps SIGCHLD to itself, so it is we who look for the end."""
        if self._ended is not None:
            self._on_ended(self._ended)
            return
        reapAllProcesses()
        if self._reactor.seconds() > self._patience:
            self.kill()
        self._reactor.callLater(REAP_SECONDS, self._reap)

    def _process_ended(self, how: str) -> None:
        """The channel may still hold frames: its end is the end."""
        self._ended = how


class _Watcher(ProcessProtocol):
    """Passes on output and end."""

    def __init__(self, output: Callable[[bytes], object] | None, on_ended: OnEnded) -> None:
        self._output = output
        self._on_ended = on_ended

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        if self._output is not None:
            self._output(data)

    def processEnded(self, reason: Failure) -> None:
        self._on_ended(_how(reason.value))


def _how(ended: Any) -> str:
    """How a process ended, in words."""
    if isinstance(ended, ProcessDone):
        return "exit status 0"
    if ended.signal is not None:
        return f"killed by {signal.Signals(ended.signal).name}"
    return f"exit status {ended.exitCode}"


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Ours, without what speaks of descriptors that the worker does not have."""
    kept = {name: value for name, value in environ.items() if name not in _SYSTEMD}
    return {**kept, _PATH_VARIABLE: os.pathsep.join(sys.path)}


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
