"""One client's share of the backend connections, whatever becomes of its requests."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_network

import pytest
from support.upstream_net import OK, Net

from caching_proxy.http.body import Body
from caching_proxy.interfaces import UpstreamUnreachable
from caching_proxy.web.peers import TrustedPeers

GREEDY, OTHER = b"192.0.2.1", b"192.0.2.2"


def test_a_greedy_client_leaves_half_to_the_others() -> None:
    net = Net(max_connections=4)
    greedy = [net.fetch(peer=GREEDY) for _ in range(10)]
    assert net.counts == (2, 0, 8)
    others = [net.fetch(peer=OTHER) for _ in range(2)]
    assert net.counts == (4, 0, 8)
    net.answer(2)
    assert net.counts == (4, 1, 8), "a free connection is not for who has its share"
    assert others[0].response is not None
    net.answer(0)
    assert net.counts == (4, 1, 7)
    for _ in range(8):
        net.answer(0)
    net.answer(1)
    net.answer(3)
    assert all(fetch.response is not None for fetch in greedy)
    net.settle()


def _answered(net: Net) -> None:
    net.answer(0)


def _broken_off(net: Net) -> None:
    net.peers[0].send(OK[:-1])
    net.pump()
    net.peers[0].close()
    net.pump()


def _refused(net: Net) -> None:
    net.peers[0].send(b"junk\r\n\r\n")
    net.pump()


def _closed(net: Net) -> None:
    net.peers[0].close()
    net.pump()


def _silent(net: Net) -> None:
    net.clock.advance(60)
    net.pump()


@pytest.mark.parametrize(
    "end", [_answered, _broken_off, _refused, _closed, _silent], ids=lambda end: end.__name__.strip("_")
)
def test_whatever_the_end_the_share_is_free_again(end: Callable[[Net], None]) -> None:
    net = Net(max_connections=2)
    net.fetch(peer=GREEDY)
    end(net)
    again = net.fetch(peer=GREEDY)
    net.answer(-1)
    assert again.response is not None
    assert net.upstream._line.held_by(GREEDY) == 0
    net.settle()


@pytest.mark.parametrize("asking", [True, False], ids=["connecting", "asked"])
def test_a_client_that_leaves_gives_back_its_share(asking: bool) -> None:
    net = Net(max_connections=2, asking=asking)
    gone = net.fetch(peer=GREEDY)
    gone.deferred.cancel()
    net.pump()
    assert net.upstream._line.held_by(GREEDY) == 0
    assert net.counts == (0, 0, 0)
    net.settle()


def test_a_connection_that_cannot_be_made_gives_back_the_share() -> None:
    net = Net(max_connections=2)
    net.refuse = UpstreamUnreachable("no")
    net.fetch(peer=GREEDY)
    assert net.upstream._line.held_by(GREEDY) == 0
    net.settle()


def test_an_answer_that_nobody_reads_holds_its_share() -> None:
    net = Net(max_connections=2)
    net.fetch(peer=GREEDY)
    net.peers[0].send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 500_000)
    net.pump()
    waits = net.fetch(peer=GREEDY)
    assert net.counts == (1, 0, 1)
    assert net.fetch(peer=OTHER).error is None
    assert net.counts == (2, 0, 1)
    waits.deferred.cancel()


def test_uploads_do_not_take_the_last_connections() -> None:
    net = Net(max_connections=4)
    for n in range(6):
        net.fetch(b"POST", Body(1000), b"192.0.2.%d" % n)
    assert net.counts == (3, 0, 3)
    plain = net.fetch(peer=b"192.0.2.9")
    assert net.counts == (4, 0, 3)
    net.answer(3)
    assert plain.response is not None


# -- whose share it is


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        (b"", b"10.0.0.1"),
        (b"192.0.2.7", b"192.0.2.7"),
        (b"198.51.100.1, 192.0.2.7", b"192.0.2.7"),
        (b"192.0.2.7, 10.0.0.9", b"192.0.2.7"),
        (b"10.0.0.8, 10.0.0.9", b"10.0.0.1"),
        (b"192.0.2.7,", b"10.0.0.1"),
        (b"x" * 100, b"10.0.0.1"),
        (b"1.2.3.4, " * 5000 + b"192.0.2.7", b"192.0.2.7"),
    ],
)
def test_the_client_behind_a_trusted_proxy(forwarded: bytes, client: bytes) -> None:
    peers = TrustedPeers([ip_network("10.0.0.0/8")])
    assert peers.client_behind(b"10.0.0.1", forwarded) == client
