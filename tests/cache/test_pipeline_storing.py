"""What is stored, what a client may ask of the cache, fields and Cache-Status: sections 0, 4, 5, 12 and 15."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.memory_proxy import MemoryProxy

from caching_proxy.rules.key import KeyPolicy

KEY = b"cache:GET:anonymous:/x"
FRESH = "Cache-Control: max-age=900"


def test_B1_head_never_becomes_a_get(proxy: MemoryProxy) -> None:
    proxy.says(FRESH, body=b"")
    proxy.head()
    proxy.says(FRESH)
    assert (proxy.get().body, proxy.count) == (b"one", 2)


def test_B2_odd_final_status(proxy: MemoryProxy) -> None:
    proxy.says(FRESH, status=999)
    assert [proxy.get().status, proxy.get().status, proxy.count] == [999, 999, 2]


@pytest.mark.parametrize("status", [204, 301, 404, 451, 503, 599])
def test_B5_any_final_status_is_replayed(proxy: MemoryProxy, status: int) -> None:
    body = b"" if status == 204 else b"one"
    proxy.says(FRESH, "Location: /y", status=status, reason=b"So Be It", body=body)
    proxy.get()
    proxy.forget_memory()
    answer = proxy.get()
    assert (answer.status, answer.body, answer["Location"], answer.cache) == (status, body, "/y", "HIT")


@pytest.mark.parametrize(
    "location",
    ["/x/", "http://proxy.test/x/", "/x", "/y/", "http://else/x/"],
)
def test_a_redirect_between_slash_and_none_is_stored_for_its_own_spelling(proxy: MemoryProxy, location: str) -> None:
    """``/x`` and ``/x/`` share a key, but neither is answered with what was fetched for the other."""
    proxy.says(FRESH, f"Location: {location}", status=301)
    proxy.get("/x")
    assert proxy.get("/x").cache == "HOT_HIT"
    proxy.says(FRESH, body=b"where it leads")
    assert (proxy.get("/x/").status, proxy.get("/x/").cache, proxy.get("/x").status) == (200, "HOT_HIT", 301)


def test_a_redirect_that_would_answer_where_it_leads_is_not_stored() -> None:
    proxy = MemoryProxy(keys=KeyPolicy(ignore_params=(b"utm_*",)))
    proxy.says(FRESH, "Location: /x?utm_source=a", status=302)
    proxy.get("/x")
    assert proxy.get("/x").cache == "MISS"


def test_B10_first_client_gets_the_private_field(proxy: MemoryProxy) -> None:
    proxy.says('Cache-Control: private="X-U", max-age=900', "X-U: me")
    assert [proxy.get()["X-U"], proxy.get()["X-U"]] == ["me", None]


def test_B13_opaque_credentials(proxy: MemoryProxy) -> None:
    proxy.says(FRESH)
    proxy.get("/x", "Authorization: Basic Zm9v")
    assert proxy.get("/x").cache == "MISS"
    assert proxy.sent("Authorization", 0) == "Basic Zm9v"
    proxy.says(FRESH + ", public")
    proxy.get("/y", "Authorization: Basic Zm9v")
    assert proxy.get("/y").cache == "HOT_HIT"


def test_B13_refused_answer_leaves_what_others_have(proxy: MemoryProxy) -> None:
    proxy.says(FRESH + ", public")
    proxy.get()
    proxy.says(FRESH)
    proxy.get("/x", "Authorization: Basic Zm9v", "Cache-Control: no-cache")
    assert proxy.get("/x").cache == "HOT_HIT"


def test_roles_do_not_share(proxy: MemoryProxy) -> None:
    proxy.says(FRESH)
    proxy.get("/x", "Authorization: role admin")
    assert proxy.get().cache == "MISS"
    assert proxy.get("/x", "Authorization: role admin").cache == "HOT_HIT"
    assert proxy.get("/x", "Authorization: none of them").cache == "BYPASS"


@pytest.mark.parametrize("memory", [True, False], ids=["hot", "store"])
@pytest.mark.parametrize("how", ["no-cache", "stale", "background"])
def test_B16_no_store_answer_to_a_validation_drops(proxy: MemoryProxy, memory: bool, how: str) -> None:
    proxy.says("Cache-Control: max-age=5, stale-while-revalidate=60", 'ETag: "a"')
    proxy.get()
    if not memory:
        proxy.forget_memory()
    if how != "no-cache":
        proxy.advance(6 if how == "background" else 70)
    proxy.says("Cache-Control: no-store", body=b"two")
    answer = proxy.get("/x", *(["Cache-Control: no-cache"] if how == "no-cache" else []))
    assert answer.body == (b"one" if how == "background" else b"two")
    assert proxy.store.fields_of(KEY) == []
    assert (proxy.get().body, proxy.count) == (b"two", 3)


def test_B16_no_store_elsewhere_leaves_it(proxy: MemoryProxy) -> None:
    proxy.says(FRESH, "Vary: Foo")
    proxy.get("/x", "Foo: 1")
    proxy.says("Cache-Control: no-store")
    proxy.get("/x", "Foo: 2")
    proxy.get("/x", "Cookie: session=1", "Foo: 1")
    proxy.get("/x", "Foo: 1", "Cache-Control: no-store")
    assert proxy.get("/x", "Foo: 1").cache == "HOT_HIT"


def test_B17_truncated_body_is_not_stored(proxy: MemoryProxy) -> None:
    proxy.says(FRESH, body=b"x" * 20, length=50, cut=True)
    answer = proxy.get()
    assert answer.error is not None
    proxy.says(FRESH)
    assert (proxy.get().body, proxy.count) == (b"one", 2)


def test_B17_old_copy_survives_a_truncated_reload(proxy: MemoryProxy) -> None:
    proxy.says(FRESH)
    proxy.get()
    proxy.says(FRESH, body=b"x" * 20, length=50, cut=True)
    proxy.get("/x", "Cache-Control: no-cache")
    assert proxy.get().body == b"one"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_B19_request_body_bypasses(proxy: MemoryProxy, method: str) -> None:
    proxy.says(FRESH)
    proxy.get()
    answer = proxy.ask(method, "/x", body=b"abc")
    assert (answer.cache, proxy.count) == ("BYPASS", 2)
    assert proxy.backend.requests[-1].body == b"abc"
    proxy.ask("GET", "/z", body=b"abc")
    assert proxy.get("/z").cache == "MISS"


@pytest.mark.parametrize("known", [True, False], ids=["announced", "unannounced"])
def test_too_large_is_relayed_and_drops_the_old_copy(make_proxy: Callable[..., MemoryProxy], known: bool) -> None:
    proxy = make_proxy(max_body=10)
    proxy.says(FRESH)
    proxy.get()
    proxy.says(FRESH, body=b"x" * 11, length=11 if known else None)
    answer = proxy.get("/x", "Cache-Control: no-cache")
    assert (answer.status, answer.body) == (200, b"x" * 11)
    assert proxy.store.fields_of(KEY) == []
    assert proxy.get().cache == "MISS"


# -- lifetimes and cookies of the proxy's own choice


def test_Z1_default_lifetime(make_proxy: Callable[..., MemoryProxy]) -> None:
    proxy = make_proxy(default_ttl=1800)
    proxy.says()
    proxy.get()
    proxy.advance(1799)
    assert proxy.get().cache == "HIT"
    proxy.advance(1)
    assert proxy.get().cache == "MISS"


def test_Z3_cookies(make_proxy: Callable[..., MemoryProxy]) -> None:
    proxy = make_proxy(ignored_cookies=(b"_ga*",))
    proxy.says(FRESH)
    assert proxy.get("/x", "Cookie: session=1").cache == "BYPASS"
    assert proxy.get("/x", "Cookie: _ga=1").cache == "MISS"
    assert proxy.get("/x").cache == "HOT_HIT"
    proxy.says(FRESH, "Set-Cookie: a=b")
    proxy.get("/y")
    assert proxy.get("/y").cache == "MISS"
    proxy.says(FRESH + ", public", "Set-Cookie: a=b")
    assert proxy.get("/z").why == "fwd=uri-miss; detail=set-cookie"
    assert proxy.get("/z").cache == "MISS"
    storing = make_proxy(store_set_cookie=True)
    storing.says(FRESH + ", public", "Set-Cookie: a=b")
    assert storing.get("/z").cache == "MISS"
    assert storing.get("/z")["Set-Cookie"] == "a=b"
    free = make_proxy(cookie_bypass=False)
    free.says(FRESH, "Set-Cookie: a=b")
    free.get("/x", "Cookie: session=1")
    answer = free.get("/x")
    assert (answer.cache, answer["Set-Cookie"]) == ("HOT_HIT", "a=b")


# -- fields


def test_H2_order_of_lines(make_proxy: Callable[..., MemoryProxy]) -> None:
    proxy = make_proxy(cookie_bypass=False)
    proxy.says(FRESH, "A: 1", "Set-Cookie: b=1", "A: 2", "Set-Cookie: a=2")
    proxy.get()
    proxy.forget_memory()
    answer = proxy.get()
    assert answer.fields.all(b"set-cookie") == [b"b=1", b"a=2"]
    assert answer.fields.all(b"a") == [b"1", b"2"]


def test_H3_connection_fields_end_here(proxy: MemoryProxy) -> None:
    proxy.says(FRESH, "Connection: p, q", "P: 1", "Q: 2", "Z: 3", "Upgrade: x")
    for answer in (proxy.get("/x", "Connection: a", "A: 1", "B: 2"), proxy.get()):
        assert (answer["P"], answer["Q"], answer["Z"], answer["Upgrade"]) == (None, None, "3", None)
    assert (proxy.sent("A"), proxy.sent("B")) == (None, "2")


def test_H7_length_of_a_hit(proxy: MemoryProxy) -> None:
    proxy.says(FRESH, "Transfer-Encoding: chunked", body=b"seven77", length=None)
    proxy.get()
    answer = proxy.get()
    assert (answer["Content-Length"], answer["Transfer-Encoding"], answer.length) == ("7", None, 7)
    proxy.says(FRESH, status=204, body=b"")
    proxy.get("/y")
    assert proxy.get("/y")["Content-Length"] is None


def test_H8_age_on_hits_only(proxy: MemoryProxy) -> None:
    proxy.says(FRESH, "Age: 40", 'ETag: "a"')
    assert proxy.get()["Age"] == "40"
    proxy.advance(3)
    assert proxy.get()["Age"] == "43"
    assert proxy.get("/x", "Range: bytes=0-0")["Age"] == "43"
    assert proxy.get("/x", 'If-None-Match: "a"')["Age"] == "43"
    proxy.says(FRESH)
    assert proxy.get("/y")["Age"] is None


def test_H9_date_and_expires_as_stored(proxy: MemoryProxy) -> None:
    proxy.says("Expires: Fri, 01 Jan 2100 00:00:00 GMT")
    date = proxy.get()["Date"]
    proxy.advance(3)
    answer = proxy.get()
    assert (answer["Date"], answer["Expires"]) == (date, "Fri, 01 Jan 2100 00:00:00 GMT")


def test_H10_loop(proxy: MemoryProxy) -> None:
    answer = proxy.get("/x", "Via: 1.1 other, 1.1 caching-proxy")
    assert (answer.status, proxy.count) == (508, 0)
    proxy.get("/x", "Via: 1.1 other")
    assert proxy.sent("Via") == "1.1 other, 1.1 caching-proxy"


# -- Cache-Status


def test_K1_members_of_inner_caches_stay(proxy: MemoryProxy) -> None:
    proxy.says(FRESH, "Cache-Status: Inner; hit")
    assert proxy.get()["Cache-Status"] == "Inner; hit, caching-proxy; fwd=uri-miss; ttl=900; stored"
    assert proxy.get()["Cache-Status"] == "Inner; hit, caching-proxy; hit; ttl=900"


def test_K2_reasons(proxy: MemoryProxy) -> None:
    proxy.says("Cache-Control: max-age=9", "Vary: Foo")
    assert proxy.get("/x", "Foo: 1").why.startswith("fwd=uri-miss")
    assert proxy.get("/x", "Foo: 2").why.startswith("fwd=vary-miss")
    assert proxy.get("/x", "Foo: 1", "Cache-Control: no-cache").why.startswith("fwd=request")
    assert proxy.get("/x", "Cookie: s=1").why == "fwd=bypass"
    assert proxy.ask("POST", "/z").why == "fwd=method"
    proxy.advance(10)
    assert proxy.get("/x", "Foo: 1").why.startswith("fwd=stale")


def test_K3_forward_status(proxy: MemoryProxy) -> None:
    proxy.says("Cache-Control: max-age=2", 'ETag: "a"')
    proxy.get()
    proxy.advance(3)
    proxy.says("Cache-Control: max-age=900", status=304, body=b"")
    assert proxy.get().why == "fwd=stale; fwd-status=304; ttl=900"
    proxy.advance(901)
    assert proxy.get("/x", 'If-None-Match: "a"').why == "fwd=stale; ttl=900", "the client got a 304 too"


def test_K4_ttl_of_a_stale_answer(proxy: MemoryProxy) -> None:
    proxy.says("Cache-Control: max-age=2, stale-while-revalidate=600")
    proxy.get()
    proxy.advance(4)
    assert proxy.get().why == "hit; ttl=-2"


@pytest.mark.parametrize("line", ['If-None-Match: "a"', "Range: bytes=0-0"])
def test_K5_generated_answers_are_hits(proxy: MemoryProxy, line: str) -> None:
    proxy.says(FRESH, 'ETag: "a"')
    proxy.get()
    assert proxy.get("/x", line).why == "hit; ttl=900"


def test_K6_failed_collapse(proxy: MemoryProxy) -> None:
    proxy.says("Cache-Control: no-store")
    proxy.backend.hold()
    first, second = proxy.start("GET", "/x"), proxy.start("GET", "/x")
    proxy.backend.release()
    assert first.answer is not None
    assert second.answer is not None
    assert first.answer.why == "fwd=uri-miss"
    assert second.answer.why == "fwd=uri-miss; collapsed=?0"


def test_cache_status_off(make_proxy: Callable[..., MemoryProxy]) -> None:
    proxy = make_proxy(name=None)
    proxy.says(FRESH)
    assert proxy.get()["Cache-Status"] is proxy.get()["Cache-Status"] is None


def test_P5_a_restriction_that_cannot_be_read_is_named_where_it_keeps_an_answer_from_the_cache(
    make_proxy: Callable[..., MemoryProxy],
) -> None:
    proxy = make_proxy(default_ttl=60)
    proxy.says("Cache-Control: no-store; max-age=0")
    assert [proxy.get().why for _ in range(2)] == ["fwd=uri-miss; detail=malformed-cache-control"] * 2
