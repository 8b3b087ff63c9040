"""The hot path writes what the full path would have written: every kind of request is sent both ways."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from ipaddress import ip_network

import pytest
from support.hot_and_full import Served, request

from caching_proxy.cache.tiers.hot import CHOICES
from caching_proxy.rules.entry import CacheEntry
from caching_proxy.web.peers import TrustedPeers

KEY = b"cache:GET:anonymous:/x"


@pytest.fixture
def pair() -> Iterator[tuple[Served, Served]]:
    """The same proxy with and without the hot path."""
    both = Served(True), Served(False)
    yield both
    for served in both:
        served.close()


def prepare(served: Served, *lines: str, status: int = 200, body: bytes = b"abcdefghij") -> None:
    """Store what answers /x."""
    served.proxy.says(*(lines or FIELDS), status=status, body=body)
    for authorization in ((), ("Authorization: role admin",)):
        served.send(request("Foo: 1", *authorization))
    served.answered = 0


FIELDS = (
    "Cache-Control: max-age=900",
    'ETag: "a"',
    "Last-Modified: Wed, 01 Jan 2020 00:00:00 GMT",
    "Content-Type: application/json",
    "Age: 40",
    "Cache-Status: Inner; hit",
    "A: 1",
    "a: 2",
    "Vary: Foo",
)
PLAIN = "Foo: 1"
HOT = [
    ("plain", request(PLAIN)),
    ("head", request(PLAIN, method="HEAD")),
    ("not modified", request(PLAIN, 'If-None-Match: "a"')),
    ("head not modified", request(PLAIN, 'If-None-Match: "a"', method="HEAD")),
    ("modified", request(PLAIN, 'If-None-Match: "b"')),
    ("date", request(PLAIN, "If-Modified-Since: Wed, 01 Jan 2020 00:00:00 GMT")),
    ("role", request(PLAIN, "Authorization: role admin")),
    ("keep-alive", request(PLAIN, "Connection: keep-alive")),
    ("ignored pragma", request(PLAIN, "Pragma: zzz")),
    ("range", request(PLAIN, "Range: bytes=0-2")),
    ("unsatisfiable", request(PLAIN, "Range: bytes=99-")),
    ("if-range", request(PLAIN, "Range: bytes=0-2", 'If-Range: "b"')),
    ("request id", request(PLAIN, "X-Request-ID: mine")),
    ("browser", request(PLAIN, "Accept: */*", "User-Agent: x", "Accept-Encoding: gzip, br", "DNT: 1")),
]
FULL = [
    ("ranges", request(PLAIN, "Range: bytes=0-2,5-6")),
    ("max-age", request(PLAIN, "Cache-Control: max-age=100")),
    ("min-fresh", request(PLAIN, "Cache-Control: min-fresh=10")),
    ("only-if-cached", request(PLAIN, "Cache-Control: only-if-cached")),
    ("no-cache", request(PLAIN, "Cache-Control: no-cache")),
    ("no-store", request(PLAIN, "Cache-Control: no-store")),
    ("pragma", request(PLAIN, "Pragma: no-cache")),
    ("refresh", request(PLAIN, "Cache-Refresh: true")),
    ("cookie", request(PLAIN, "Cookie: session=1")),
    ("if-match", request(PLAIN, 'If-Match: "a"')),
    ("unmodified", request(PLAIN, "If-Unmodified-Since: Wed, 01 Jan 2020 00:00:00 GMT")),
    ("other variant", request("Foo: 2")),
    ("no variant", request()),
    ("variant hidden by connection", request(PLAIN, "Connection: foo")),
    ("other role", request(PLAIN, "Authorization: role user")),
    ("no role", request(PLAIN, "Authorization: none")),
    ("two credentials", request(PLAIN, "Authorization: role admin", "Authorization: role admin")),
    ("loop", request(PLAIN, "Via: 1.1 caching-proxy")),
    ("other path", request(PLAIN, target="/y")),
    ("query", request(PLAIN, target="/x?")),
    ("post", request(PLAIN, "Content-Length: 0", method="POST")),
    ("body", request(PLAIN, "Content-Length: 3") + "abc"),
    ("options", request(PLAIN, method="OPTIONS")),
    ("close", request(PLAIN, "Connection: close")),
    ("1.0", request(PLAIN).replace("HTTP/1.1", "HTTP/1.0")),
    ("expect", request(PLAIN, "Expect: 100-continue")),
    ("upgrade", request(PLAIN, "Upgrade: websocket", "Connection: upgrade")),
    ("opaque", request(PLAIN, "Authorization: Basic Zm9v")),
]


@pytest.mark.parametrize("after", [0, 3, 29], ids=lambda after: f"{after}s")
@pytest.mark.parametrize(("name", "sent"), [*HOT, *FULL], ids=[name for name, _ in [*HOT, *FULL]])
def test_same_bytes_both_ways(pair: tuple[Served, Served], name: str, sent: str, after: int) -> None:
    hot, full = pair
    for served in pair:
        prepare(served)
        served.proxy.advance(after)
    assert hot.send(sent) == full.send(sent)
    if (name, sent) in HOT:
        assert hot.answered == 1
    assert hot.send(request(PLAIN)) == full.send(request(PLAIN)), "and what follows is the same"


@pytest.mark.parametrize(("name", "sent"), HOT, ids=[name for name, _ in HOT])
def test_same_again_and_again(pair: tuple[Served, Served], name: str, sent: str) -> None:
    for served in pair:
        prepare(served)
    for _ in range(3):
        assert pair[0].send(sent * 2) == pair[1].send(sent * 2), "pipelined"
        for served in pair:
            served.proxy.advance(0.7)
    assert pair[0].answered == 6


@pytest.mark.parametrize(
    ("lines", "status", "body"),
    [
        (["Cache-Control: max-age=900"], 404, b"none"),
        (["Cache-Control: max-age=900"], 204, b""),
        (["Cache-Control: max-age=900", "Location: /y"], 301, b""),
        (["Cache-Control: max-age=900"], 200, b"x" * 100_000),
        (["Cache-Control: max-age=900"], 200, b""),
        (["Cache-Control: max-age=2, stale-while-revalidate=60", 'ETag: "a"'], 200, b"one"),
        (["Cache-Control: no-cache", 'ETag: "a"'], 200, b"one"),
        (["Cache-Control: max-age=900, immutable"], 200, b"one"),
        (["Cache-Control: private"], 200, b"one"),
        (["Cache-Control: max-age=900", "Content-Range: bytes 0-9/20"], 206, b"abcdefghij"),
        (["Expires: Fri, 01 Jan 2100 00:00:00 GMT"], 200, b"one"),
    ],
    ids=["404", "204", "301", "large", "empty", "swr", "no-cache", "immutable", "private", "part", "expires"],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_same_for_every_kind_of_entry(
    pair: tuple[Served, Served], lines: list[str], status: int, body: bytes, method: str
) -> None:
    for served in pair:
        prepare(served, *lines, status=status, body=body)
    for _ in range(4):
        assert pair[0].send(request(PLAIN, method=method)) == pair[1].send(request(PLAIN, method=method))
        for served in pair:
            served.proxy.advance(1)


def test_same_without_cache_status() -> None:
    both = Served(True, None), Served(False, None)
    for served in both:
        prepare(served)
    assert both[0].send(request(PLAIN)) == both[1].send(request(PLAIN))
    assert both[0].answered == 1
    for served in both:
        served.close()


def test_same_metrics_and_access_lines(pair: tuple[Served, Served]) -> None:
    for served in pair:
        prepare(served)
        for sent in (request(PLAIN), request(PLAIN, 'If-None-Match: "a"'), request(PLAIN, "Authorization: role admin")):
            served.send(sent)
        served.access.flush()
    assert pair[0].answered == 3
    assert pair[0].log.getvalue() == pair[1].log.getvalue()
    assert pair[0].proxy.hot.hits == pair[1].proxy.hot.hits == 3
    counted = [
        [line for line in served.metrics.render(None)[1].splitlines() if line.startswith(b"http_requests_total")]
        for served in pair
    ]
    assert counted[0] == counted[1] != []


def test_what_is_replaced_invalidated_or_over_is_not_sent(pair: tuple[Served, Served]) -> None:
    hot = pair[0]
    prepare(hot)
    assert hot.send(request(PLAIN)).endswith(b"abcdefghij")
    hot.proxy.says(*FIELDS, body=b"new")
    hot.send(request(PLAIN, "Cache-Control: no-cache"))
    assert hot.send(request(PLAIN)).endswith(b"\r\n\r\nnew")
    hot.proxy.invalidate("cache:*")
    hot.proxy.says("Cache-Control: max-age=2", body=b"newer")
    assert b"MISS" in hot.send(request(PLAIN))
    assert hot.answered == 2
    hot.proxy.advance(2)
    assert b"MISS" in hot.send(request(PLAIN))


@pytest.mark.slow
def test_nothing_outlives_the_record(pair: tuple[Served, Served]) -> None:
    """Plans are many and long-lived: none of them may keep an entry that the hot tier has let go."""
    hot = pair[0]
    prepare(hot)
    hot.send(request(PLAIN))
    record = hot.proxy.hot.get(KEY, hot.proxy.clock.seconds())
    assert record is not None
    held = [id(entry) for entry in record.entries]
    del record
    hot.proxy.hot.clear()
    gc.collect()
    assert not [entry for entry in gc.get_objects() if isinstance(entry, CacheEntry) and id(entry) in held]


def test_choices_are_bounded(pair: tuple[Served, Served]) -> None:
    hot = pair[0]
    prepare(hot)
    for n in range(2 * CHOICES + 10):
        hot.send(request(PLAIN, f"User-Agent: {n}"))
    record = hot.proxy.hot.get(KEY, hot.proxy.clock.seconds())
    assert record is not None
    assert 0 < record.renderings.held <= 2 * CHOICES
    assert hot.answered == 2 * CHOICES + 10


# -- variants


@pytest.mark.parametrize("hot", [True, False], ids=["hot path", "full path"])
def test_each_of_many_variants_is_answered_by_name(hot: bool) -> None:
    served = Served(hot)
    for number in range(20):
        served.proxy.says("Cache-Control: max-age=900", "Vary: Foo", body=b"body %d" % number)
        served.send(request(f"Foo: {number}"))
    for number in range(20):
        answer = served.send(request(f"Foo: {number}", f"X-Trace: {number}"))
        assert answer.endswith(b"body %d" % number)
        assert b"HOT_HIT" in answer
    assert served.answered == (20 if hot else 0)
    served.close()


def test_an_outline_is_for_the_full_path() -> None:
    served = Served(True)
    for foo in ("1", "2"):
        served.proxy.says("Cache-Control: max-age=900", "Vary: Foo", body=foo.encode())
        served.send(request(f"Foo: {foo}"))
    served.proxy.forget_memory()
    assert b"X-Cache-Status: HIT" in served.send(request("Foo: 1"))
    assert b"X-Cache-Status: HIT" in served.send(request("Foo: 2"))
    assert served.answered == 0
    assert served.send(request("Foo: 2")).endswith(b"2")
    assert served.answered == 1
    served.close()


@pytest.mark.parametrize("trusted", [True, False])
def test_B18_scheme_and_host_count_where_the_peer_is_trusted(trusted: bool) -> None:
    networks = [ip_network("192.168.1.0/24")] if trusted else [ip_network("10.0.0.0/8")]
    served = Served(True, peers=TrustedPeers(networks))
    lines = ["X-Forwarded-Proto: http", "X-Forwarded-Proto: https", "X-Forwarded-Host: a.test"]
    for line in lines * 3:
        served.proxy.says("Cache-Control: max-age=900", body=line.encode())
        expected = line if trusted else lines[0]
        assert served.send(request(line)).endswith(expected.encode())
    assert served.proxy.count == (3 if trusted else 1)
    assert served.answered == (6 if trusted else 8)
    served.close()


def test_B18_the_slash_counts() -> None:
    served = Served(True)
    for target in ("/x", "/x/") * 2:
        served.proxy.says("Cache-Control: max-age=900", body=target.encode())
        assert served.send(request(target=target)).endswith(b"\r\n" + target.encode())
    assert (served.proxy.count, served.answered) == (2, 2)
    served.close()


# -- rules per path

RULED = [
    ("everyone", ["Authorization: role user"], 1),
    ("everyone", [], 1),
    ("role", ["Authorization: role user"], 0),
    ("role", ["Authorization: role admin"], 1),
    ("token", ["Authorization: role admin"], 1),
    ("token", ["Authorization: role user"], 0),
    ("token", [], 1),
    ("none", ["Authorization: role admin"], 0),
]


@pytest.mark.parametrize(("share", "lines", "hits"), RULED)
def test_who_shares_is_decided_alike(pair: tuple[Served, Served], share: str, lines: list[str], hits: int) -> None:
    for served in pair:
        served.ruled({"match": "^/x", "share": share})
        prepare(served)
    assert pair[0].send(request(PLAIN, *lines)) == pair[1].send(request(PLAIN, *lines))
    assert pair[0].answered == hits


def test_new_rules_hold_for_lines_that_were_seen_before(pair: tuple[Served, Served]) -> None:
    hot, full = pair
    for served in pair:
        prepare(served)
        assert b"HOT_HIT" in served.send(request(PLAIN))
    assert hot.answered == 1
    for rules in ([{"match": "^/x", "share": "none"}], [], [{"match": "^/x", "share": "everyone"}]):
        for served in pair:
            served.ruled(*rules)
        for lines in ((), ("Authorization: role user",)):
            assert hot.send(request(PLAIN, *lines)) == full.send(request(PLAIN, *lines))


def test_parameters_that_a_rule_ignores_are_hot(pair: tuple[Served, Served]) -> None:
    for served in pair:
        served.ruled({"match": "^/x", "ignore_params": ["ref"]})
        prepare(served)
    for target in ("/x?ref=1", "/x?ref=2", "/x?ref=1"):
        assert pair[0].send(request(PLAIN, target=target)) == pair[1].send(request(PLAIN, target=target))
    assert pair[0].answered == 3
