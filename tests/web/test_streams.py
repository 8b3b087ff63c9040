"""The stream of events: what comes, when it ends, and what a watcher costs that does not read."""

from __future__ import annotations

import json

import attrs
import pytest
from support.admin_site import BEARER, Cache, Request, Site
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from caching_proxy.telemetry.happenings import Happening, Happenings
from caching_proxy.web.admin.services import Insight
from caching_proxy.web.admin.streams import MOST_STREAMS, Seen, Streams


class Watcher(Request):
    """A client that takes events until it stops reading."""

    def registerProducer(self, producer, streaming):
        assert streaming
        self.producer = producer


class Watched:
    def __init__(self):
        self.clock = Clock()
        self.made = 0
        self.happenings = Happenings(self.clock.seconds)
        self.elsewhere, self.held, self.since = [], None, []
        self.lines, self.left_out, self.wanted = [], 0, []
        self.streams = Streams(self.clock, self.look, self.happenings)
        self.site = Site(insight=Insight(self.look, self.streams, self.happenings, Cache.why))

    def look(self, since, lines):
        self.made += 1
        self.wanted.append(lines)
        self.since.append(since)
        seen = Seen({"n": self.made}, [each for each in self.elsewhere if each.time > since])
        if lines:
            seen = attrs.evolve(seen, lines=self.lines, left_out=self.left_out)
        if self.held is None:
            return succeed(seen)
        self.held.append((Deferred(), seen))
        return self.held[-1][0]

    def watch(self, method=b"GET", fields=(BEARER,), query=b""):
        return self.site.begin(Watcher(method, b"/_cache/events" + query, fields))


@pytest.fixture
def watched():
    return Watched()


def events(request):
    """Names and data."""
    found = []
    for block in request.written.decode().split("\n\n")[:-1]:
        if not block.startswith(":"):
            name, data = block.split("\n")
            found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def test_statistics_once_a_second_and_what_happens_at_once(watched):
    watched.happenings.invalidation("before", "x", 1)
    one = watched.watch()
    assert (one.status, one.fields[b"content-type"]) == (200, b"text/event-stream")
    assert one.fields[b"cache-control"] == b"no-store"
    watched.happenings.invalidation("after", "y", 2)
    watched.clock.advance(1)
    other = watched.watch()
    assert [name for name, _ in events(one)] == ["invalidation", "stats", "invalidation", "stats"]
    assert [data.get("what") for _, data in events(other)] == ["before", "after", None]
    watched.clock.advance(1)
    assert watched.made == 4  # two at the beginnings, one a second for both together
    one.leave()
    other.leave()
    assert not watched.clock.getDelayedCalls()
    assert len(watched.streams) == 0


def test_who_does_not_read_loses_events_and_is_told_how_many(watched):
    one = watched.watch()
    one.producer.pauseProducing()
    before = len(one.written)
    for _ in range(100):
        watched.clock.advance(1)
    assert len(one.written) == before
    one.producer.resumeProducing()
    assert one.written[before:] == b": 100 events were dropped\n\n"
    watched.clock.advance(1)
    assert events(one)[-1] == ("stats", {"n": watched.made})
    one.leave()


def test_watchers_are_bounded(watched):
    watching = [watched.watch() for _ in range(MOST_STREAMS)]
    refused = watched.watch()
    assert (refused.status, refused.fields[b"retry-after"], refused.finished) == (503, b"5", 1)
    watching.pop().leave()
    assert watched.watch().status == 200
    watched.streams.close()


def test_the_end_of_the_proxy_ends_them(watched):
    one, other = watched.watch(), watched.watch()
    watched.streams.close()
    watched.streams.close()
    assert (one.finished, other.finished, one.producer) == (1, 1, None)
    assert not watched.clock.getDelayedCalls()
    assert watched.watch().status == 503


def test_only_for_who_may(watched):
    assert watched.watch(fields=()).status == 401
    head = watched.watch(b"HEAD")
    assert (head.status, head.written, head.finished) == (200, b"", 1)
    assert len(watched.streams) == 0


def test_what_happened_elsewhere_comes_with_the_next_look_and_once(watched):
    def elsewhere(time, what):
        watched.elsewhere.append(Happening("invalidation", time, {"what": what}))

    watched.clock.advance(10)
    elsewhere(5.0, "old")
    one = watched.watch()
    elsewhere(10.5, "new")
    watched.clock.advance(1)
    other = watched.watch()
    elsewhere(11.5, "newer")
    watched.clock.advance(1)
    watched.clock.advance(1)
    for watcher in (one, other):
        told = [data["what"] for name, data in events(watcher) if name == "invalidation"]
        assert told == ["old", "new", "newer"]
    watched.streams.close()


def test_requests_that_others_answered_come_to_who_wants_them(watched):
    watched.lines, watched.left_out = ['{"path":"/x"}\n'], 7
    one = watched.watch()
    watched.clock.advance(1)
    other = watched.watch(query=b"?requests=on")
    watched.clock.advance(1)
    assert watched.wanted == [False, False, True, True]
    assert "request" not in [name for name, _ in events(one)]
    assert [data for name, data in events(other) if name == "request"] == [{"path": "/x"}] * 2
    assert other.written.count(b": 7 requests were left out\n\n") == 2
    other.leave()
    watched.clock.advance(1)
    assert watched.wanted[-1] is False
    one.leave()


def test_a_look_that_takes_long_is_not_begun_again(watched):
    one = watched.watch()
    watched.held = []
    for _ in range(5):
        watched.clock.advance(1)
    [(asking, seen)] = watched.held
    asking.callback(seen)
    assert events(one)[-1] == ("stats", {"n": 2})
    watched.clock.advance(1)
    assert len(watched.held) == 2
    one.leave()
    watched.held[1][0].callback(seen)
