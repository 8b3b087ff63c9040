"""Micro-benchmarks of what runs for every request, so that a regression shows as a number.

``make test`` runs each once, as a test; ``make bench-micro`` measures.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import StringIO
from types import SimpleNamespace

import pytest
from pytest_benchmark.fixture import BenchmarkFixture
from support.memory_proxy import MemoryProxy
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from caching_proxy.http.cache_control import CacheControl
from caching_proxy.http.messages import Fields, RequestHead, ResponseHead
from caching_proxy.rules.codec import decode, encode
from caching_proxy.rules.entry import CacheEntry
from caching_proxy.rules.forwarding import request_to_backend
from caching_proxy.rules.freshness import assess
from caching_proxy.rules.glob import compile_glob
from caching_proxy.rules.key import KeyPolicy, build_key, target_of
from caching_proxy.rules.policy import CachePolicy
from caching_proxy.rules.role import role_of
from caching_proxy.server.request_head import HeadParser, parse_request_head
from caching_proxy.server.site import ProxySite
from caching_proxy.telemetry.access_log import AccessLog
from caching_proxy.telemetry.metrics import Metrics
from caching_proxy.telemetry.metrics.path_labels import PathLabels
from caching_proxy.upstream.response_head import parse_response_head
from caching_proxy.web.hosts import HostPolicy
from caching_proxy.web.hot_path import HotPath
from caching_proxy.web.peers import TrustedPeers
from caching_proxy.web.proxy import ProxyResource
from caching_proxy.web.recorder import Recorder

NOW = 1_700_000_000.0
BROWSER = Fields(
    [
        (b"Host", b"shop.example"),
        (b"User-Agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
        (b"Accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        (b"Accept-Language", b"en-GB,en;q=0.7,de;q=0.3"),
        (b"Accept-Encoding", b"gzip, deflate, br"),
        (b"Referer", b"https://shop.example/catalogue?page=3"),
        (b"Connection", b"keep-alive"),
        (b"DNT", b"1"),
        (b"Sec-Fetch-Dest", b"empty"),
        (b"Sec-Fetch-Mode", b"cors"),
        (b"Sec-Fetch-Site", b"same-origin"),
        (b"X-Requested-With", b"XMLHttpRequest"),
    ]
)
HEAD = b"GET /items/1 HTTP/1.1\r\n" + BROWSER.encoded() + b"\r\n"
RESPONSE = (
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Tue, 14 Nov 2023 22:13:20 GMT\r\nContent-Type: application/json\r\n"
    b"Content-Length: 1024\r\nConnection: keep-alive\r\nCache-Control: max-age=3600\r\n\r\n"
)
KEY = b"cache:GET:anonymous:/items/1"
ENTRY = CacheEntry(KEY, 200, b"OK", b"Content-Type: application/json\r\n", b"x" * 1024, NOW, 0, 3600, keep=4200)


@pytest.fixture
def wired() -> Iterator[SimpleNamespace]:
    """A proxy in memory, its whole web and wire part, and one client connection."""
    proxy = MemoryProxy()
    hosts = HostPolicy()
    recorder = Recorder(
        Metrics("", ""), AccessLog(StringIO(), False, proxy.clock), PathLabels(), proxy.clock, lambda: b"id"
    )
    resource = ProxyResource(proxy.pipeline, TrustedPeers(()), hosts, recorder, lambda: b"id-1")
    peers, keys, now = TrustedPeers(()), proxy.keys, proxy.clock.seconds
    path = HotPath(proxy.hot, proxy.verifier, proxy.policy, keys, hosts, b"p", recorder, now, peers)
    site = ProxySite(resource, proxy.clock)
    transport = StringTransport()
    channel = site.buildProtocol(None)
    channel.makeConnection(transport)
    proxy.says("Cache-Control: max-age=3600", "Content-Type: application/json", body=b"x" * 1024)

    def send(data: bytes) -> bytes:
        transport.clear()
        channel.dataReceived(data)
        return transport.value()

    yield SimpleNamespace(proxy=proxy, site=site, path=path, send=send)
    channel.connectionLost(Failure(ConnectionDone()))


def test_hot_path(benchmark: BenchmarkFixture, wired: SimpleNamespace) -> None:
    """Bytes in, bytes out: what a hot hit costs without sockets."""
    wired.site.hot = wired.path
    for _ in range(4):
        wired.send(HEAD)
    answer = benchmark(wired.send, HEAD)
    assert b"X-Cache-Status: HOT_HIT" in answer
    assert wired.proxy.count == 1


def test_full_path_hot_hit(benchmark: BenchmarkFixture, wired: SimpleNamespace) -> None:
    """The same answer by way of a request, a resource and the pipeline."""
    wired.send(HEAD)
    assert b"X-Cache-Status: HOT_HIT" in benchmark(wired.send, HEAD)


def test_miss(benchmark: BenchmarkFixture, wired: SimpleNamespace) -> None:
    """Fetched from a backend in memory, stored in memory."""
    number = iter(range(10**9))

    def ask() -> bytes:
        return wired.send(HEAD.replace(b"/items/1", b"/items/%d" % next(number), 1))

    assert b"X-Cache-Status: MISS" in benchmark(ask)


def test_request_head(benchmark: BenchmarkFixture) -> None:
    assert benchmark(parse_request_head, HEAD).fields == BROWSER


def test_request_head_with_known_fields(benchmark: BenchmarkFixture) -> None:
    parser, number = HeadParser(), iter(range(10**9))

    def parse() -> bytes:
        return parser.parse(HEAD.replace(b"/items/1", b"/items/%d" % next(number), 1)).head.target

    assert benchmark(parse).startswith(b"/items/")


def test_response_head(benchmark: BenchmarkFixture) -> None:
    assert benchmark(parse_response_head, RESPONSE).status == 200


def test_request_to_backend(benchmark: BenchmarkFixture) -> None:
    sent = benchmark(
        request_to_backend,
        RequestHead(b"GET", b"/items/1", BROWSER),
        host=b"backend",
        client_ip=b"192.0.2.1",
        scheme=b"http",
        request_id=b"id",
        proxy_name=b"p",
        trusted_peer=False,
        base_path=b"",
    )
    assert sent.count == 15


@pytest.mark.parametrize(
    "policy",
    [KeyPolicy(), KeyPolicy(ignore_params=(b"utm_*",), sort_query=True)],
    ids=["plain", "edited"],
)
def test_key(benchmark: BenchmarkFixture, policy: KeyPolicy) -> None:
    def key() -> bytes:
        return build_key(b"reader", target_of(b"/items/1?b=2&a=1", policy, b"shop.example"))

    assert benchmark(key).startswith(b"cache:GET:reader:/items/1?")


def test_freshness(benchmark: BenchmarkFixture) -> None:
    fields = Fields([(b"Date", b"Tue, 14 Nov 2023 22:13:20 GMT"), (b"Cache-Control", b"max-age=3600"), (b"Age", b"5")])
    response, policy = ResponseHead(200, b"OK", fields), CachePolicy()

    def lifetime() -> tuple[int, int]:
        found = assess(response, CacheControl.parse(fields.all(b"cache-control")), True, policy, NOW, NOW)
        return found.lifetime, found.initial_age

    assert benchmark(lifetime) == (3600, 5)


def test_encode(benchmark: BenchmarkFixture) -> None:
    assert decode(benchmark(encode, ENTRY), KEY).body == ENTRY.body


def test_decode(benchmark: BenchmarkFixture) -> None:
    assert benchmark(decode, encode(ENTRY), KEY).head == ENTRY.head


@pytest.mark.parametrize("pattern", [b"cache:GET:*:/items*", b"cache:GET:*:/items/[0-9]/*x*"], ids=["plain", "class"])
def test_glob(benchmark: BenchmarkFixture, pattern: bytes) -> None:
    """One pattern over a thousand keys."""
    matches = compile_glob(pattern)
    keys = [b"cache:GET:anonymous:/items/%d/x" % number for number in range(1000)]
    expected = 1000 if pattern.endswith(b"items*") else 10
    assert benchmark(lambda: sum(map(matches, keys))) == expected


@pytest.mark.parametrize("roles", [["administrator"], ["reader", "editor", "über"]], ids=["admin", "several"])
def test_role(benchmark: BenchmarkFixture, roles: list[str]) -> None:
    assert benchmark(role_of, {"sub": "user-1", "roles": roles}).identifier in (
        b"admin",
        b"%C3%BCber-editor-reader",
        b"editor-reader-%C3%BCber",
    )
