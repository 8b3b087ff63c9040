"""Which requests are sent again after a reused connection died, and which never."""

from __future__ import annotations

import pytest
from support.upstream_net import Net

from caching_proxy.http.body import Body
from caching_proxy.interfaces import UpstreamProtocolError

WITH_BODY = (b"PUT", b"PROPFIND", b"QUERY")


@pytest.mark.parametrize(
    "method",
    [*(b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"), *(b"PROPFIND", b"REPORT", b"SEARCH", b"QUERY")],
)
def test_M7_an_idempotent_request_is_sent_again_on_a_fresh_connection(method: bytes) -> None:
    net = Net()
    net.fetch()
    net.fetch()
    net.answer(0)
    net.answer(1)  # two idle ones, both dead as it turns out
    fetch = net.fetch(method, Body.of(b"x") if method in WITH_BODY else None)
    sent = bytes(net.peers[1].data).rpartition(method + b" ")[2]
    net.peers[1].close()
    net.pump()
    assert len(net.peers) == 3
    assert bytes(net.peers[2].data) == method + b" " + sent
    net.answer(2, b"HTTP/1.1 204 No Content\r\n\r\n")
    assert not fetch.reused
    net.settle()


def test_M7_only_once() -> None:
    net = Net()
    net.fetch()
    net.answer()
    fetch = net.fetch()
    for peer in (0, 1):
        net.peers[peer].close()
        net.pump()
    assert isinstance(fetch.error, UpstreamProtocolError)
    assert len(net.peers) == 2
    net.settle()


@pytest.mark.parametrize("method", [b"POST", b"PATCH", b"X-FROB"])
def test_M7_other_requests_are_never_sent_again(method: bytes) -> None:
    net = Net()
    net.fetch()
    net.answer()
    fetch = net.fetch(method)
    net.peers[0].close()
    net.pump()
    assert isinstance(fetch.error, UpstreamProtocolError)
    assert len(net.peers) == 1
    assert net.observer.events == ["connected", "reused", "protocol"]
    net.settle()


def test_M7_not_after_a_byte_of_the_response() -> None:
    net = Net()
    net.fetch()
    net.answer()
    fetch = net.fetch()
    net.answer(0, b"H")
    net.peers[0].close()
    net.pump()
    assert isinstance(fetch.error, UpstreamProtocolError)
    assert len(net.peers) == 1
    net.settle()


def test_M7_not_on_a_fresh_connection() -> None:
    net = Net()
    fetch = net.fetch()
    net.peers[0].close()
    net.pump()
    assert isinstance(fetch.error, UpstreamProtocolError)
    assert len(net.peers) == 1
    net.settle()


def test_M7_not_when_the_body_was_streamed() -> None:
    net = Net()
    net.fetch()
    net.answer()
    body = Body(10)
    body.feed(b"12345")
    fetch = net.fetch(b"PUT", body)
    net.peers[0].close()
    net.pump()
    assert isinstance(fetch.error, UpstreamProtocolError)
    assert len(net.peers) == 1
    net.settle()
