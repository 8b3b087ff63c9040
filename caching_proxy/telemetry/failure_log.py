"""Why the backend gave no usable response, for the log: the first failure of each kind at once, then seldom.

A backend that is away fails every request; one line for each would bury the reason. What is written is the text of
our own error: addresses and times, never fields or targets of a request.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from caching_proxy.interfaces import UpstreamError, UpstreamProtocolError, UpstreamTimeout, UpstreamUnreachable

SILENT_SECONDS = 10.0

Kind = tuple[str, str]


class FailureLog:
    """At most one warning for each kind of failure in ``SILENT_SECONDS``. A kind is the error's class with that of its
    cause, so a refused connection and a name that is not known are two."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._told_at: dict[Kind, float] = {}
        self._suppressed: dict[Kind, int] = {}

    def failed(self, error: UpstreamError) -> None:
        """A request failed with ``error``; what the client's side is to blame for is passed over."""
        if not isinstance(error, (UpstreamUnreachable, UpstreamTimeout, UpstreamProtocolError)):
            return
        kind, now = (type(error).__name__, type(error.__cause__).__name__), self._clock.seconds()
        told_at = self._told_at.get(kind)
        if told_at is not None and now - told_at < SILENT_SECONDS:
            self._suppressed[kind] = self._suppressed.get(kind, 0) + 1
            return
        self._told_at[kind] = now
        suppressed = self._suppressed.pop(kind, 0)
        more = f" ({suppressed} more like this since the last such line)" if suppressed else ""
        self._log.warn(
            "the backend gave no usable response: {reason}{more}", reason=str(error), more=more, suppressed=suppressed
        )
