"""Hits in the store from the channel: what happens while the store is asked, and to whom it answers nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.hot_and_full import Served, request
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from caching_proxy.interfaces import StoreError

FRESH = ("Cache-Control: max-age=900", 'ETag: "a"')


@pytest.fixture
def served() -> Iterator[Served]:
    """A proxy whose store alone has /x."""
    served = Served(True)
    served.proxy.says(*FRESH)
    served.send(request())
    served.proxy.cache.forget()
    served.proxy.store.lookups.clear()
    yield served
    served.proxy.store.release()
    served.close()


def statuses(data: bytes) -> list[bytes]:
    """``X-Cache-Status`` of each answer in ``data``."""
    return [line.partition(b": ")[2] for line in data.split(b"\r\n") if line.startswith(b"X-Cache-Status: ")]


def told(served: Served) -> bytes:
    data: bytes = served.transport.value()
    served.transport.clear()
    return data


def test_no_request_is_built_for_a_hit(served):
    served.site.requestFactory = None  # type: ignore[assignment]
    served.proxy.store.hold("lookup")
    assert served.send(request()) == b""
    served.proxy.store.release("lookup")
    assert statuses(told(served)) == [b"HIT"]
    assert statuses(served.send(request())) == [b"HOT_HIT"]
    assert len(served.proxy.lookups) == 1


def test_who_waits_for_the_same_read_is_answered_from_it(served):
    """What waited for the store is no hot hit, and takes the short way as the first one did."""
    served.site.requestFactory = None  # type: ignore[assignment]
    others = [(served.site.buildProtocol(None), StringTransport()) for _ in range(3)]
    served.proxy.store.hold("lookup")
    served.send(request())
    for channel, transport in others:
        channel.makeConnection(transport)
        channel.dataReceived(request().encode())
    served.proxy.store.release("lookup")
    assert [statuses(told(served)), *(statuses(transport.value()) for _, transport in others)] == [[b"HIT"]] * 4
    assert len(served.proxy.lookups) == 1
    assert served.proxy.hot.entries == 1
    for channel, _ in others:
        channel.connectionLost(Failure(ConnectionDone()))


def test_what_was_sent_ahead_waits_for_it(served):
    served.proxy.store.hold("lookup")
    assert served.send(request() + request(method="HEAD") + request(target="/y")) == b""
    served.proxy.store.release()
    assert statuses(told(served)) == [b"HIT", b"HOT_HIT", b"MISS"]


@pytest.mark.parametrize("later", [False, True])
def test_a_miss_asks_the_store_once(served, later):
    if later:
        served.proxy.store.hold("lookup")
    data = served.send(request(target="/y"))
    served.proxy.store.release()
    assert statuses(data + told(served)) == [b"MISS"]
    assert len(served.proxy.lookups) == 1
    assert served.proxy.cache.reader.asked == 2, "of /x before, and of /y"


@pytest.mark.parametrize("later", [False, True])
def test_a_store_that_fails_is_asked_once(served, later):
    if later:
        served.proxy.store.hold("lookup")
    served.proxy.store.failing = StoreError("away")
    data = served.send(request())
    served.proxy.store.release()
    assert statuses(data + told(served)) == [b"ERROR"]
    assert len(served.proxy.lookups) == 1


def test_an_invalidation_meanwhile_wins(served):
    served.proxy.store.delay("lookup")
    served.send(request())
    served.proxy.invalidate("cache:GET:*:/x")
    served.proxy.says(*FRESH, body=b"two")
    served.proxy.store.release()
    data = told(served)
    assert statuses(data) == [b"MISS"]
    assert data.endswith(b"two")


def test_a_write_meanwhile_is_not_put_back(served):
    """What was read before a newer answer was stored is no longer true of the key."""
    served.proxy.store.delay("lookup")
    served.proxy.start("GET", "/x", "Cache-Control: no-cache", "Range: bytes=0-1")  # a lookup of its own
    served.send(request())
    served.proxy.says(*FRESH, body=b"two")
    served.proxy.store.release_one("lookup")
    served.proxy.store.release()
    data = told(served)
    assert statuses(data) == [b"HOT_HIT"]
    assert data.endswith(b"two")


def test_a_client_that_leaves_is_counted_and_fills_the_burst_tier_all_the_same(served):
    served.proxy.store.hold("lookup")
    served.send(request())
    served.channel.connectionLost(Failure(ConnectionDone()))
    served.proxy.store.release()
    assert told(served) == b""
    served.access.flush()
    assert '"status":499' in served.log.getvalue().splitlines()[-1]
    assert served.proxy.burst.entries == 1
    assert served.proxy.hot.entries == 0


def test_while_the_proxy_drains_the_client_hears_that_the_connection_ends(served):
    served.proxy.store.hold("lookup")
    served.send(request())
    served.site.connections.draining = True
    served.proxy.store.release()
    data = told(served)
    assert statuses(data) == [b"HIT"]
    assert b"Connection: close\r\n" in data


def test_a_bug_ends_its_own_connection_alone(served, logged_errors):
    served.proxy.store.hold("lookup")
    other, transport = served.site.buildProtocol(None), StringTransport()
    other.makeConnection(transport)
    served.send(request() + request(target="/y"))
    other.dataReceived(request().encode())

    def broken(parsed, channel):
        raise RuntimeError("a bug")

    served.site.hot = broken
    served.proxy.store.release()
    assert statuses(told(served)) == [b"HIT"]
    assert served.transport.disconnected
    assert statuses(transport.value()) == [b"HIT"]
    assert served.proxy.quiet
    assert ["a bug" in error for error in logged_errors.flush()] == [True]
    other.connectionLost(Failure(ConnectionDone()))


def test_a_head_takes_no_body_with_it(served):
    data = served.send(request(method="HEAD"))
    assert statuses(data) == [b"HIT"]
    assert data.endswith(b"\r\n\r\n")
    assert b"Content-Length: 3\r\n" in data


def test_what_the_store_took_is_part_of_the_duration_of_a_miss(served):
    served.proxy.store.hold("lookup")
    served.send(request(target="/y"))
    served.proxy.clock.advance(0.25)
    served.proxy.store.release()
    assert statuses(told(served)) == [b"MISS"]
    served.access.flush()
    assert '"durationMs":250.000' in served.log.getvalue().splitlines()[-1]
