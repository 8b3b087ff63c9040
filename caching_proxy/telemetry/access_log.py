"""A line for each request, cheap enough for tens of thousands a second.

Lines wait in memory until a timer that exists only while some wait hands them over together, at most
``FLUSH_SECONDS`` later; :meth:`AccessLog.stop` hands over the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from json.encoder import encode_basestring_ascii as quoted
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from caching_proxy.telemetry.log_lines import SEVERITY, coloured, timestamp
from caching_proxy.telemetry.log_writer import LineSink
from caching_proxy.telemetry.redaction import target_without_secrets

if TYPE_CHECKING:
    from caching_proxy.settings.model import Settings

FLUSH_SECONDS = 0.2
MOST_WAITING = 1000
MOST_CHARACTERS = 1 << 20
"""Lines do not wait for more where so many, as long as the last one, would be longer than this."""

_SAME = (
    '","level":"info","msg":"request","logger":"access","method":%s,"path":%s,"status":%d,"cacheStatus":%s,"role":%s,'
    '"durationMs":'
)
_JSON = '{"time":"%s' + _SAME + '%.3f,"requestId":%s}\n'


class AccessLog:
    """Access lines for ``sink``; with ``enabled`` False nothing is written. ``clock`` tells POSIX seconds."""

    def __init__(self, sink: LineSink, enabled: bool, clock: IReactorTime, development: bool = False) -> None:
        self.enabled = enabled
        self._watchers: tuple[Callable[[list[str]], object], ...] = ()
        self._sink = sink
        self._clock = clock
        self._format = self._development if development else self._json
        self._lines: list[str] = []
        self._timer: IDelayedCall | None = None
        self._second = -1
        self._prefix = ""
        self._moment = -1  # in thousandths of a second
        self._shown = ""

    def log(
        self,
        method: bytes,
        target: bytes,
        status: int,
        cache_status: str,
        role: str,
        duration: float,
        request_id: str,
        client: str = "",
    ) -> None:
        """One request: ``target`` as the client sent it, ``duration`` in seconds, ``role`` without token digest.

        ``client`` is the peer's address, for requests that were refused.
        """
        if not self.enabled:
            return
        if b"?" in target:
            target = target_without_secrets(target)
        line = self._format(
            method.decode("latin-1"), target.decode("latin-1"), status, cache_status, role, duration, request_id
        )
        if client and line[0] == "{":
            line = f'{line[:-2]},"client":{quoted(client)}}}\n'
        elif client:
            line = f"{line[:-1]} {client}\n"
        lines, most = self._lines, min(MOST_WAITING, MOST_CHARACTERS // len(line))
        lines.append(line)
        if self._timer is None or len(lines) >= most:
            self._waiting(most)

    def prepared(
        self, method: bytes, target: bytes, status: int, cache_status: str, role: str
    ) -> Callable[[float, float, bytes], None]:
        """:meth:`log` for requests that differ in duration and identifier alone: the rest of the line is made once.

        The function takes the time now, the duration, both in seconds, and an identifier of printable ASCII.
        """
        if self._format != self._json:
            one = partial(self.log, method, target, status, cache_status, role)
            return lambda now, duration, request_id: one(duration, request_id.decode("ascii"))
        shown = (target_without_secrets(target) if b"?" in target else target).decode("latin-1")
        same = _SAME % (quoted(method.decode("latin-1")), quoted(shown), status, quoted(cache_status), quoted(role))
        most = min(MOST_WAITING, MOST_CHARACTERS // len(same))

        def log(now: float, duration: float, request_id: bytes) -> None:
            moment = int(now * 1000)
            time = self._shown if moment == self._moment else self._show(moment)
            lines = self._lines
            lines.append(
                f'{{"time":"{time}{same}{duration * 1000:.3f},"requestId":{quoted(request_id.decode("ascii"))}}}\n'
            )
            if self._timer is None or len(lines) >= most:
                self._waiting(most)

        return log

    def _waiting(self, most: int) -> None:
        """Lines wait: for the timer, or no longer where there are ``most``."""
        if self._timer is None:
            self._timer = self._clock.callLater(FLUSH_SECONDS, self._on_timer)
        if len(self._lines) >= most:
            self.flush()

    def _json(
        self, method: str, path: str, status: int, cache_status: str, role: str, duration: float, request_id: str
    ) -> str:
        moment = int(self._clock.seconds() * 1000)
        return _JSON % (
            self._shown if moment == self._moment else self._show(moment),
            quoted(method),
            quoted(path),
            status,
            quoted(cache_status),
            quoted(role),
            duration * 1000,
            quoted(request_id),
        )

    def _development(
        self, method: str, path: str, status: int, cache_status: str, role: str, duration: float, request_id: str
    ) -> str:
        start = coloured(self._clock.seconds(), "info")
        shown = quoted(f"{method} {path}")[1:-1]  # control characters must not reach a terminal
        return f"{start} access: {shown} {status} {cache_status} {role} {duration * 1000:.1f}ms {request_id}\n"

    def _show(self, moment: int) -> str:
        """``moment`` in thousandths of a second as text, remembered."""
        second, thousandths = divmod(moment, 1000)
        if second != self._second:
            self._second = second
            self._prefix = timestamp(second)[:-4]
        self._moment = moment
        self._shown = f"{self._prefix}{thousandths:03d}Z"
        return self._shown

    def _on_timer(self) -> None:
        self._timer = None
        self.flush()

    def flush(self) -> None:
        """Hand over what waits."""
        lines, self._lines = self._lines, []
        if lines:
            self._sink.write("".join(lines))
            for watcher in self._watchers:
                watcher(lines)

    def watch(self, watcher: Callable[[list[str]], object]) -> Callable[[], None]:
        """Let ``watcher`` see the lines too, together, as they are handed over; call what comes back to end that."""
        self._watchers = (*self._watchers, watcher)

        def unwatch() -> None:
            self._watchers = tuple(each for each in self._watchers if each is not watcher)

        return unwatch

    def stop(self) -> None:
        """Hand over what waits and leave no timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.flush()


def make_access_log(settings: Settings, sink: LineSink, clock: IReactorTime) -> AccessLog:
    """The access log that ``ACCESS_LOG``, ``LOG_LEVEL`` and ``APP_ENV`` ask for; its lines are of level ``info``."""
    enabled = settings.access_log and SEVERITY[settings.log_level] <= SEVERITY["info"]
    return AccessLog(sink, enabled, clock, settings.development)
