"""Why the backend gave no usable response, as the log tells it."""

from __future__ import annotations

import pytest
from support.upstream_net import Net
from twisted.internet.error import ConnectionRefusedError, DNSLookupError

from caching_proxy.app.instruments import BackendMeter
from caching_proxy.interfaces import (
    UpstreamError,
    UpstreamProtocolError,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from caching_proxy.telemetry.failure_log import SILENT_SECONDS
from caching_proxy.telemetry.metrics import Metrics

BEGINS = "the backend gave no usable response: "


class Rig:
    """A way to the backend that fails as it is told."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.net = Net()
        self.clock = self.net.clock
        self.net.upstream.observer = BackendMeter(self.metrics, self.clock)

    def fetch(self, outcome: Exception | None) -> object:
        self.net.refuse = outcome
        fetched = self.net.fetch()
        if outcome is None:
            self.net.answer()
        return fetched.error or fetched.response


def unreachable(cause: Exception) -> UpstreamUnreachable:
    error = UpstreamUnreachable(f"no connection to backend.test:80: {cause}")
    error.__cause__ = cause
    return error


Lines = list[tuple[str, str]]


@pytest.mark.parametrize(
    "error",
    [
        unreachable(ConnectionRefusedError("refused")),
        unreachable(DNSLookupError("no such name")),
        UpstreamTimeout("no answer within 60 s"),
        UpstreamProtocolError("the connection ended within the response head"),
    ],
    ids=["refused", "dns", "timeout", "protocol"],
)
def test_the_first_of_a_kind_is_told_with_its_reason(error: UpstreamError, logged_lines: Lines) -> None:
    rig = Rig()
    assert rig.fetch(error) is error, "and the caller learns of it"
    assert logged_lines == [("warn", BEGINS + str(error))]


def test_the_same_again_is_counted_and_told_later(logged_lines: Lines) -> None:
    rig, refused = Rig(), unreachable(ConnectionRefusedError("refused"))
    for _ in range(4):
        rig.fetch(refused)
    rig.clock.advance(SILENT_SECONDS - 0.1)
    rig.fetch(refused)
    assert len(logged_lines) == 1
    rig.clock.advance(0.1)
    rig.fetch(refused)
    assert logged_lines[1:] == [("warn", f"{BEGINS}{refused} (4 more like this since the last such line)")]
    rig.clock.advance(SILENT_SECONDS)
    rig.fetch(refused)
    assert logged_lines[2:] == [("warn", f"{BEGINS}{refused}")], "none was left out since"


def test_kinds_do_not_silence_one_another(logged_lines: Lines) -> None:
    rig = Rig()
    for cause in (ConnectionRefusedError("refused"), DNSLookupError("no such name")):
        rig.fetch(unreachable(cause))
    rig.fetch(UpstreamTimeout("no answer"))
    assert len(logged_lines) == 3


def test_answers_and_clients_that_leave_are_not_told(logged_lines: Lines) -> None:
    rig = Rig()
    assert rig.fetch(None) is not None
    rig.fetch(UpstreamError("the client's body ended early"))
    left = rig.net.fetch()
    left.deferred.cancel()
    assert logged_lines == []
