"""A line whose constant part was made beforehand is the line that is made at once."""

from __future__ import annotations

from io import StringIO
from json import loads

import pytest
from twisted.internet.task import Clock

from caching_proxy.telemetry.access_log import AccessLog

TARGETS = [b"/x", b"/%7e%s%d{0}{x}", b'/"\\', b"/x?token=secret&a=1", b"/\xc3\xa9"]


@pytest.mark.parametrize("development", [False, True], ids=["json", "development"])
@pytest.mark.parametrize("target", TARGETS)
def test_prepared_lines_are_the_same(target: bytes, development: bool) -> None:
    written = []
    for prepared in (False, True):
        stream, clock = StringIO(), Clock()
        clock.advance(1_900_000_000.25)
        log = AccessLog(stream, True, clock, development)
        same = log.prepared(b"GET", target, 200, "HOT_HIT", 'a"b')
        for duration, request_id in ((0.0000123, "id-1"), (2.5, '"{}\\%s')):
            if prepared:
                same(clock.seconds(), duration, request_id.encode())
            else:
                log.log(b"GET", target, 200, "HOT_HIT", 'a"b', duration, request_id)
            clock.advance(0.0123)
        log.stop()
        written.append(stream.getvalue())
    assert written[0] == written[1]
    assert "secret" not in written[0]
    if not development:
        assert [loads(line)["requestId"] for line in written[0].splitlines()] == ["id-1", '"{}\\%s']
