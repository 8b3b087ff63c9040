"""Why the backend gave no usable response, as the log tells it."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError, DNSLookupError
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from caching_proxy.core.messages import RequestHead
from caching_proxy.failure_log import SILENT_SECONDS
from caching_proxy.gauges import MeteredUpstream
from caching_proxy.interfaces import (
    UpstreamError,
    UpstreamProtocolError,
    UpstreamResponse,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from caching_proxy.metrics import Metrics
from caching_proxy.testing import FakeUpstream, Reply

BEGINS = "the backend gave no usable response: "


class Rig:
    """A metered backend that fails as it is told."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.backend = FakeUpstream()
        self.upstream = MeteredUpstream(self.backend, Metrics(), self.clock)

    def fetch(self, outcome: Exception | None) -> object:
        def script(head: object, body: object) -> Reply:
            if outcome is not None:
                raise outcome
            return Reply()

        self.backend.script = script
        got: list[UpstreamResponse | Failure] = []
        self.upstream.fetch(RequestHead(b"GET", b"/x?token=s3cret")).addBoth(got.append)
        return got[0].value if isinstance(got[0], Failure) else got[0]


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
    assert isinstance(rig.fetch(None), UpstreamResponse)
    rig.fetch(UpstreamError("the client's body ended early"))
    rig.backend.hold()
    left: Deferred[object] = rig.upstream.fetch(RequestHead(b"GET", b"/"))  # type: ignore[assignment]
    left.addErrback(lambda failure: None)
    left.cancel()
    assert logged_lines == []
