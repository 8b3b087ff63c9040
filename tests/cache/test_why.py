"""What is said of a request is what then happens to it, and saying so changes nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.memory_proxy import START, MemoryProxy
from twisted.internet.defer import Deferred

from caching_proxy.cache.requests import ClientRequest
from caching_proxy.cache.why import Explainer, Explanation
from caching_proxy.http.body import Body
from caching_proxy.http.messages import Fields, RequestHead
from caching_proxy.interfaces import StoreError, StoreUnavailable
from caching_proxy.rules.cache_rules import parse_cache_rules
from caching_proxy.testing import Reply

FIELDS = (
    *("Cache-Control: no-cache", "Cache-Control: max-age=0", "Cache-Control: max-age=5", "Cache-Control: no-store"),
    *("Cache-Control: max-stale", "Cache-Control: max-stale=3", "Cache-Control: min-fresh=8", "Pragma: no-cache"),
    *("Cache-Control: only-if-cached", "Cache-Control: only-if-cached, max-stale", "Cache-Refresh: true"),
    *("Cache-Control: stale-if-error=60", "X-Cache-Refresh: true", "Cookie: sid=1", "Cookie: _ga=1", "Upgrade: foo"),
    *("Accept-Language: de", "Accept-Language: en", "Accept-Encoding: gzip", "Foo: 1"),
    *('If-None-Match: "a"', 'If-None-Match: "x"', "If-Modified-Since: Wed, 01 Jan 2020 00:00:00 GMT", 'If-Match: "a"'),
    *("Range: bytes=0-1", "Range: bytes=1-", "Range: bytes=90-", "Range: lines=1"),
    *("Authorization: role admin", "Authorization: role user", "Authorization: none", "Authorization: Basic eDp5"),
    *("Via: 1.1 other", "Via: 1.1 caching-proxy", "Connection: accept-language, close", "TE: trailers"),
)
ANSWERS = (
    ("Cache-Control: max-age=10", 'ETag: "a"'),
    ("Cache-Control: max-age=10",),
    ("Cache-Control: public, max-age=4, stale-while-revalidate=4", 'ETag: "a"'),
    ("Cache-Control: max-age=4, stale-if-error=20", "Last-Modified: Wed, 01 Jan 2020 00:00:00 GMT"),
    ("Cache-Control: max-age=4, must-revalidate", 'ETag: "a"'),
    ("Cache-Control: s-maxage=4", 'ETag: W/"a"'),
    ("Cache-Control: no-cache", 'ETag: "a"'),
    ("Cache-Control: no-cache",),
    ("Cache-Control: max-age=10, immutable", 'ETag: "a"'),
    ("Cache-Control: max-age=10", "Vary: Accept-Language, Foo"),
    ("Cache-Control: max-age=10", "Vary: *"),
    ("Cache-Control: private, max-age=10",),
    ("Cache-Control: no-store",),
    ("Cache-Control: public, max-age=10", "Set-Cookie: a=b"),
    (),
)
RULES = parse_cache_rules(
    """[{"match": "^/all", "share": "everyone", "ttl": 6, "mode": "override"}, {"match": "^/own", "share": "token"},
    {"match": "^/none", "share": "none"}, {"match": "^/x", "vary": ["Foo"], "stale_while_revalidate": 3}]"""
)
requests = st.tuples(
    st.sampled_from(("GET", "GET", "GET", "GET", "HEAD", "POST", "OPTIONS")),
    st.sampled_from(("/x", "/x", "/x", "/x/", "/y?z", "/_cache/x", "/all", "/own", "/none", "/a/../none")),
    st.lists(st.sampled_from(FIELDS), max_size=3),
    st.sampled_from((0, 0, 0, 1, 3, 6, 12)),
    st.sampled_from(("", "", "", "memory", "hot", "soft", "hard")),
)


def backend(proxy: MemoryProxy, answer: tuple[str, ...]):
    """One that confirms what it has sent: nothing is ever new."""

    def script(head: RequestHead, body: bytes) -> Reply:
        tag, since = head.fields.first(b"if-none-match"), head.fields.first(b"if-modified-since")
        lines = dict(line.split(": ", 1) for line in answer)
        ours = lines.get("ETag")
        if head.method in (b"GET", b"HEAD"):
            if tag is not None and ours is not None and ours.removeprefix("W/") in tag.decode():
                return proxy.reply(*answer, status=304, body=b"")
            if tag is None and since is not None and since.decode() == lines.get("Last-Modified"):
                return proxy.reply(*answer, status=304, body=b"")
        return proxy.reply(*answer, body=b"" if head.method == b"HEAD" else b"one")

    return script


def asked(method: str, target: str, *lines: str) -> ClientRequest:
    pairs = [line.partition(": ") for line in lines]
    fields = Fields([(b"Host", b"proxy.test"), *((name.encode(), value.encode()) for name, _, value in pairs)])
    return ClientRequest(RequestHead(method.encode(), target.encode(), fields), Body.of(b""), b"192.0.2.1", b"id")


def explain(proxy: MemoryProxy, *request: str) -> Explanation:
    told: list[Explanation] = []
    explainer = Explainer(proxy.pipeline.parts, proxy.burst)
    Deferred.fromCoroutine(explainer.explain(asked(*request))).addCallback(told.append)
    return told[0]


def state(proxy: MemoryProxy) -> object:
    """Everything that looking must not change."""
    tiers = [
        (list(records), tier.hits, tier.misses, tier.evictions, tier.bytes)
        for tier, records in ((proxy.hot, proxy.hot.records), (proxy.burst, proxy.burst.answers))
    ]
    held = {key: proxy.store.fields_of(key) for key in proxy.hot.all_keys()}
    reader = proxy.pipeline.parts.reader
    learnt = (dict(proxy.varying._by_key), proxy.varying._recent, len(proxy.key_state.hit_for_miss))
    calls = [call for call in proxy.store.calls if call != "lookup"]
    return (
        tiers,
        held,
        (reader.asked, reader.found),
        learnt,
        calls,
        proxy.count,
        len(proxy.key_state),
        proxy.key_state.collapsed,
    )


@settings(max_examples=400, deadline=None, derandomize=True)
@given(
    st.lists(requests, min_size=1, max_size=10),
    st.sampled_from(ANSWERS),
    st.sampled_from(({}, {"default_ttl": 5}, {"cookie_bypass": False}, {"client_refresh": False})),
    st.booleans(),
    st.booleans(),
)
@pytest.mark.slow
def test_the_verdict_is_the_status_that_the_request_then_gets(sent, answer, policy, filling, ruled) -> None:
    proxy = MemoryProxy(fill_on_conditional=filling, **policy)
    if ruled:
        proxy.terms.use(RULES)
    proxy.backend.script = backend(proxy, answer)
    for method, target, lines, seconds, forgotten in sent:
        proxy.advance(seconds)
        if forgotten in ("hot", "memory"):
            proxy.hot.clear()
        if forgotten == "memory":
            proxy.burst.clear()
        if forgotten in ("soft", "hard"):
            proxy.invalidate("cache:*", soft=forgotten == "soft")
        before = state(proxy)
        told = explain(proxy, method, target, *lines)
        assert state(proxy) == before
        assert told.reasons
        assert told.status.text == proxy.ask(method, target, *lines).cache, (method, target, lines, told)


@pytest.mark.parametrize(
    ("failure", "status"), [(StoreError("down"), "ERROR"), (StoreUnavailable("open"), "CIRCUIT_OPEN")]
)
def test_a_store_in_trouble_is_told(failure: Exception, status: str) -> None:
    proxy = MemoryProxy()
    proxy.says("Cache-Control: max-age=10")
    proxy.get()
    proxy.forget_memory()
    proxy.store.failing = failure
    told = explain(proxy, "GET", "/x")
    assert (told.status.text, proxy.get().cache) == (status, status)
    assert told.reasons[0].text.startswith(("Redis", "the circuit breaker"))


CASES = [
    ((), ("GET", "/x"), "MISS", "B18", None),
    (("Cache-Control: private",), ("GET", "/x"), "MISS", "B9", "public"),
    (("Cache-Control: no-store",), ("GET", "/x"), "MISS", "B7", "max-age"),
    (("Cache-Control: max-age=9", "Set-Cookie: a=b"), ("GET", "/x"), "MISS", "Z3", "STORE_SET_COOKIE"),
    (("Cache-Control: max-age=9", "Vary: *"), ("GET", "/x"), "MISS", "Y4", "Vary"),
    (("Cache-Control: max-age=9", "Vary: Foo"), ("GET", "/x", "Foo: 2"), "MISS", "Y1", "Vary"),
    (("Cache-Control: max-age=9",), ("GET", "/x"), "HOT_HIT", "F1", None),
    (("Cache-Control: max-age=9",), ("GET", "/x", "Cookie: sid=1"), "BYPASS", "Z3", "IGNORED_COOKIES"),
    (("Cache-Control: max-age=9",), ("GET", "/x", "Authorization: none"), "BYPASS", "Z2", "JWT_"),
    (("Cache-Control: max-age=9",), ("GET", "/x", "Authorization: Basic x"), "MISS", "B13", "s-maxage"),
    (("Cache-Control: max-age=9", 'ETag: "a"'), ("GET", "/x", "Cache-Control: no-cache"), "REFRESH", "Q1", "CLIENT_"),
    (("Cache-Control: no-cache", 'ETag: "a"'), ("GET", "/x"), "REVALIDATED", "B11", "max-age"),
    (("Cache-Control: max-age=9",), ("POST", "/x"), "N/A", "I5", None),
    (("Cache-Control: private",), ("GET", "/x", 'If-None-Match: "q"'), "MISS", "V13", "FILL_ON_CONDITIONAL"),
]


@pytest.mark.parametrize(("answer", "request_", "verdict", "rule", "advice"), CASES)
def test_reasons_name_the_rule_and_what_to_change(answer, request_, verdict, rule, advice) -> None:
    proxy = MemoryProxy()
    proxy.backend.script = backend(proxy, answer)
    proxy.get()
    told = explain(proxy, *request_)
    assert told.status.text == verdict
    assert rule in [reason.rule for reason in told.reasons]
    if advice is not None:
        assert any(advice in reason.advice for reason in told.reasons if reason.rule == rule)


def test_what_the_tiers_hold() -> None:
    proxy = MemoryProxy()
    proxy.says("Cache-Control: max-age=9")
    proxy.get()
    told = explain(proxy, "GET", "/x")
    assert told.key == b"cache:GET:anonymous:/x"
    assert (told.burst, told.hot is not None, told.store is not None) == (None, True, True)
    proxy.forget_memory()
    told = explain(proxy, "GET", "/x")
    assert (told.status.text, told.hot, told.burst) == ("HIT", None, None)
    assert told.store is not None
    assert told.store.chosen is not None
    assert told.entry is told.store.chosen


def test_looking_makes_nothing_recent_and_ends_nothing() -> None:
    proxy = MemoryProxy()
    proxy.says("Cache-Control: max-age=99")
    for target in ("/a", "/b"):
        proxy.get(target)
    before = state(proxy)
    assert explain(proxy, "GET", "/a").status.text == "HOT_HIT"
    assert state(proxy) == before
    proxy.hot.clear()
    proxy.get("/a")
    proxy.burst.put(b"cache:GET:anonymous:/b", proxy.hot.peek(b"cache:GET:anonymous:/a", START).entries, 5000, START)
    proxy.burst.put(b"cache:GET:anonymous:/c", proxy.hot.peek(b"cache:GET:anonymous:/a", START).entries, 5000, START)
    before = state(proxy)
    assert explain(proxy, "GET", "/b").burst is not None
    assert state(proxy) == before
    proxy.advance(31)
    before = state(proxy)
    assert explain(proxy, "GET", "/a").hot is None
    assert explain(proxy, "GET", "/b").burst is None
    assert state(proxy) == before
