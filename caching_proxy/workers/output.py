"""What a worker prints where its lines do not go to a log of ours: ``twistd --syslog`` or ``--logger``."""

from __future__ import annotations

from twisted.logger import Logger


class Relay:
    """Takes what a worker prints and passes it on to the supervisor's log, whole lines only."""

    _log = Logger()

    def __init__(self) -> None:
        self._rest = b""

    def take(self, data: bytes) -> None:
        lines, end, rest = (self._rest + data).rpartition(b"\n")
        self._rest = rest
        if end:
            for line in lines.decode("utf-8", "replace").split("\n"):
                self._log.info("{line}", line=line)
