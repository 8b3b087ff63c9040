"""What a request costs in calls is what docs/performance.md says, or at most a tenth more.

``FRAMES_REPORT=1`` prints the table for the document.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.frames import Counts, counts_of
from support.scripted_redis import ProxyOnRedis, ScriptedRedis
from support.whole_proxy import START, Client, Message
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from caching_proxy.http.dates import format_date

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "performance.md"
ROW = re.compile(
    r"^\| (miss|hit in Redis|POST|past the cache|hot hit, full path|hot hit|hot hit, 304) \| (\d+) \| (\d+) \|$",
    re.MULTILINE,
)

NUMBER = 20
DATE = format_date(START)
BROWSER = (
    b"Host: shop.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Language: en-GB,en;q=0.7\r\n"
    b"Accept-Encoding: gzip, deflate, br\r\nReferer: https://shop.example/\r\nConnection: keep-alive\r\nDNT: 1\r\n"
)


def answer(message: Message) -> bytes:
    """What a backend sends that is asked for an object."""
    return (
        b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
        b'Connection: keep-alive\r\nCache-Control: max-age=60\r\nETag: "1"\r\n\r\n%b'
        % (DATE, len(message.target), message.target)
    )


class Asking:
    """A client whose every request is a new one: another target or, for hits, at least another identifier."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.count = 0

    def get(self, target: bytes, expected: str, line: bytes = b"") -> Callable[[], None]:
        self.count += 1
        head = b"GET %b HTTP/1.1\r\n%b%bX-Request-ID: %d\r\n\r\n" % (target, BROWSER, line, self.count)
        return lambda: self._ask(head, expected)

    def post(self, target: bytes) -> Callable[[], None]:
        self.count += 1
        head = b"POST %b HTTP/1.1\r\n%bX-Request-ID: %d\r\nContent-Length: 4\r\n\r\nbody" % (
            target,
            BROWSER,
            self.count,
        )
        return lambda: self._ask(head, "N/A")

    def _ask(self, data: bytes, expected: str) -> None:
        answer = self.client.send(data)
        if b"X-Cache-Status: %b\r\n" % expected.encode() not in answer:
            raise AssertionError(answer)


@pytest.fixture(scope="module")
def measured() -> Iterator[dict[str, Counts]]:
    failures: list[str] = []

    def observe(event: LogEvent) -> None:
        if "log_failure" in event:
            failures.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield from _measured()
    globalLogPublisher.removeObserver(observe)
    assert failures == [], "the scripted Redis answers as scripts do"


def _measured() -> Iterator[dict[str, Counts]]:
    redis = ScriptedRedis()
    first, second = ProxyOnRedis(redis, answer), ProxyOnRedis(redis, answer)
    redis.clock = first.clock
    filling = Asking(first.client())
    targets = [b"/items/%d" % number for number in range(3 * NUMBER)]
    counts = {}
    asked = [filling.get(target, "MISS") for target in targets]
    for one in asked[: 2 * NUMBER]:
        one()
    counts["miss"] = counts_of(asked[2 * NUMBER :])
    redis.clock = second.clock
    asking = Asking(second.client())
    reading = [asking.get(target, "HIT") for target in targets]
    for one in reading[: 2 * NUMBER]:
        one()
    counts["hit in Redis"] = counts_of(reading[2 * NUMBER :])
    posts = [asking.post(b"/orders/%d" % number) for number in range(2 * NUMBER)]
    for one in posts[:NUMBER]:
        one()
    counts["POST"] = counts_of(posts[NUMBER:])
    personal = [asking.get(b"/mine/%d" % number, "BYPASS", b"Cookie: sid=1\r\n") for number in range(2 * NUMBER)]
    for one in personal[:NUMBER]:
        one()
    counts["past the cache"] = counts_of(personal[NUMBER:])
    hot, second.proxy.site.hot = second.proxy.site.hot, None
    counts["hot hit, full path"] = counts_of([asking.get(target, "HOT_HIT") for target in targets[-NUMBER:]])
    second.proxy.site.hot = hot
    for target in targets[-NUMBER:] * 2:
        asking.get(target, "HOT_HIT")()
    counts["hot hit"] = counts_of([asking.get(target, "HOT_HIT") for target in targets[-NUMBER:]])
    unchanged = b"If-None-Match: *\r\n"
    for target in targets[-NUMBER:] * 2:
        asking.get(target, "HOT_HIT", unchanged)()
    counts["hot hit, 304"] = counts_of([asking.get(target, "HOT_HIT", unchanged) for target in targets[-NUMBER:]])
    yield counts
    for proxy in (first, second):
        redis.clock = proxy.clock
        proxy.proxy.store.stop()
        proxy.pump()
        proxy.stop()


def told() -> dict[str, Counts]:
    return {name: Counts(int(frames), int(c_calls)) for name, frames, c_calls in ROW.findall(DOCUMENT.read_text())}


@pytest.mark.slow
def test_all_kinds_are_in_the_document(measured: dict[str, Counts]) -> None:
    if os.environ.get("FRAMES_REPORT"):
        for name, counts in measured.items():
            print(f"| {name} | {counts.frames:.0f} | {counts.c_calls:.0f} |", file=sys.stderr)
    assert set(told()) == set(measured)


@pytest.mark.parametrize(
    "kind", ["miss", "hit in Redis", "POST", "past the cache", "hot hit, full path", "hot hit", "hot hit, 304"]
)
def test_a_request_costs_at_most_a_tenth_more_than_the_document_says(measured: dict[str, Counts], kind: str) -> None:
    now, then = measured[kind], told()[kind]
    assert now.frames <= 1.1 * then.frames
    assert now.c_calls <= 1.1 * then.c_calls
