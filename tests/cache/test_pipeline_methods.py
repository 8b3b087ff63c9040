"""Invalidation, methods, interim responses and several variants: HTTP-CACHING.md sections 6, 11 and 13."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from support.memory_proxy import MemoryProxy, down

from caching_proxy.http.messages import Fields, ResponseHead
from caching_proxy.interfaces import UpstreamProtocolError
from caching_proxy.rules.invalidation_rules import Rule, parse_rules

KEY = b"cache:GET:anonymous:/x"
FRESH = "Cache-Control: max-age=900"


# -- Vary


def test_Y8_variants_live_side_by_side(proxy: MemoryProxy) -> None:
    for value in ("1", "2", "3"):
        proxy.says(FRESH, "Vary: Foo", body=value.encode())
        proxy.get("/x", f"Foo: {value}")
    for cache in ("HOT_HIT", "HIT", "HOT_HIT"):
        answers = [proxy.get("/x", f"Foo: {value}") for value in "123"]
        assert [answer.body for answer in answers] == [b"1", b"2", b"3"]
        assert [answer.cache for answer in answers] == [cache] * 3
        if cache == "HOT_HIT":
            proxy.forget_memory()
    assert proxy.count == 3
    proxy.says(FRESH, "Vary: Foo", body=b"new")
    proxy.get("/x", "Foo: 2", "Cache-Control: no-cache")
    assert [proxy.get("/x", f"Foo: {value}").body for value in "123"] == [b"1", b"new", b"3"]


def test_Y8_hot_tier_knows_every_variant_after_a_fill(proxy: MemoryProxy) -> None:
    """One variant alone in memory could be chosen where another one would win."""
    proxy.says(FRESH, "Vary: Foo")
    proxy.get("/x", "Foo: 1")
    proxy.forget_memory()
    proxy.says(FRESH, body=b"plain")
    proxy.get("/x", "Foo: 2")
    for _ in ("hot", "store"):
        count = proxy.count
        assert proxy.get("/x", "Foo: 1").body == b"one"
        assert proxy.count == count
        proxy.forget_memory()


def test_Y9_latest_date_wins(proxy: MemoryProxy) -> None:
    proxy.says(FRESH, "Vary: Foo", body=b"A")
    proxy.get("/x", "Foo: 1")
    proxy.advance(1)
    proxy.says(FRESH, "Vary: Bar", body=b"B")
    proxy.get("/x", "Foo: 2", "Bar: 1")
    for _ in ("hot", "store"):
        assert proxy.get("/x", "Foo: 1", "Bar: 1").body == b"B"
        proxy.forget_memory()
    assert proxy.count == 2


def test_Y10_never_back_to_one_without_vary(proxy: MemoryProxy) -> None:
    proxy.says(FRESH, body=b"plain")
    proxy.get("/x", "Foo: 1")
    proxy.says(FRESH, "Vary: Foo", body=b"varying")
    proxy.get("/x", "Foo: 1", "Cache-Control: no-cache")
    proxy.forget_memory()
    assert proxy.get("/x", "Foo: 2").cache == "MISS"
    assert proxy.get("/x", "Foo: 1").body == b"varying"


def test_Y11_tags_of_other_variants_are_offered(proxy: MemoryProxy) -> None:
    for value in ("1", "2"):
        proxy.says(FRESH, "Vary: Foo", f'ETag: "{value}"', body=value.encode())
        proxy.get("/x", f"Foo: {value}")
    proxy.says('ETag: "2"', "Vary: Foo", FRESH, status=304, body=b"")
    answer = proxy.get("/x", "Foo: 3")
    assert set((proxy.sent("If-None-Match") or "").split(", ")) == {'"1"', '"2"'}
    assert (answer.status, answer.body) == (200, b"2")
    proxy.forget_memory()
    assert proxy.get("/x", "Foo: 3").cache == "HIT"
    assert proxy.get("/x", "Foo: 2").cache == "HIT"
    assert proxy.count == 3


def test_Y11_no_other_coding_for_one_weak_tag(proxy: MemoryProxy) -> None:
    same = ("Vary: Accept-Encoding", 'ETag: W/"1"', FRESH)
    proxy.says(*same, "Content-Encoding: br", body=b"in br")
    proxy.get("/x", "Accept-Encoding: br")
    proxy.says(*same, body=b"plain")
    assert proxy.get("/x").body == b"plain"
    assert proxy.sent("If-None-Match") is None  # the backend would have said 304: to it, all three are the same
    assert proxy.get("/x", "Accept-Encoding: identity").body == b"plain"


def test_Y11_not_in_place_of_the_clients_conditions(proxy: MemoryProxy) -> None:
    proxy.says(FRESH, "Vary: Foo", 'ETag: "1"')
    proxy.get("/x", "Foo: 1")
    proxy.says('ETag: "mine"', status=304, body=b"")
    answer = proxy.get("/x", "Foo: 2", 'If-None-Match: "mine"')
    assert (answer.status, proxy.sent("If-None-Match")) == (304, '"mine"')


# -- invalidation


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "X-FROB"])
@pytest.mark.parametrize("status", [200, 204, 303])
def test_I1_unsafe_methods_invalidate_their_target(proxy: MemoryProxy, method: str, status: int) -> None:
    proxy.says(FRESH, "Vary: Foo")
    for role in ("role a", "role b"):
        proxy.get("/x", f"Authorization: {role}", "Foo: 1")
        proxy.get("/x", f"Authorization: {role}", "Foo: 2")
    proxy.says(status=status, body=b"")
    assert proxy.ask(method, "/x").cache == "N/A"
    proxy.says(FRESH)
    assert proxy.get("/x", "Authorization: role a", "Foo: 1").cache == "MISS"
    assert proxy.get("/x", "Authorization: role b", "Foo: 2").cache == "MISS"


@pytest.mark.parametrize("status", [400, 404, 500])
def test_I2_failures_do_not(proxy: MemoryProxy, status: int) -> None:
    proxy.says(FRESH)
    proxy.get()
    proxy.says(status=status)
    proxy.ask("PUT", "/x")
    proxy.says_each(UpstreamProtocolError("gone"))
    assert proxy.ask("PUT", "/x").status == 502
    assert proxy.get().cache == "HOT_HIT"


@pytest.mark.parametrize(
    ("line", "goes"),
    [
        ("Location: /b", True),
        ("Content-Location: b", True),
        ("Location: http://proxy.test/b", True),
        ("Location: http://backend.test/b", True),
        ("Location: http://backend.test/base/b", True),
        ("Location: http://other/b", False),
        ("Location: https://proxy.test/b", False),
        ("Location: http://proxy.test:81/b", False),
    ],
)
def test_I3_I4_named_targets_of_this_origin(make_proxy: Callable[..., MemoryProxy], line: str, goes: bool) -> None:
    proxy = make_proxy(base_path=b"/base")
    proxy.says(FRESH)
    proxy.get("/b")
    proxy.says(line, status=201)
    proxy.ask("POST", "/a")
    proxy.says(FRESH)
    assert proxy.get("/b").cache == ("MISS" if goes else "HOT_HIT")


def test_I5_unsafe_requests_are_written_through(proxy: MemoryProxy) -> None:
    proxy.says(FRESH)
    proxy.get()
    proxy.ask("PUT", "/x", body=b"new")
    assert (proxy.seen[-1].method, proxy.backend.requests[-1].body) == (b"PUT", b"new")
    for method in ("PUT", "POST", "DELETE"):
        assert proxy.ask(method, "/x").cache == "N/A"


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH", "QUERY", "PRI"])
def test_I5_safe_methods_never_invalidate(proxy: MemoryProxy, method: str) -> None:
    proxy.says(FRESH)
    proxy.get()
    proxy.ask(method, "/x", "Cookie: session=1")
    assert proxy.get().cache == "HOT_HIT"


@pytest.mark.parametrize("streaming", [False, True], ids=["before the head", "before the end"])
def test_I6_slow_fetch_does_not_bring_it_back(proxy: MemoryProxy, streaming: bool) -> None:
    proxy.says(FRESH, body=b"old")
    proxy.backend.hold()
    slow = proxy.start("GET", "/x", read=not streaming)
    fetch = proxy.backend.requests[0]
    if streaming:
        response = proxy.open_response(FRESH)
        response.body.feed(b"old")
        fetch.answer(response)
        assert slow.reply is not None
        slow.read()
    proxy.backend.hold()
    write = proxy.start("PUT", "/x")
    proxy.backend.requests[1].answer(proxy.reply(status=204, body=b""))
    assert write.answer is not None
    if streaming:
        response.body.end()
    else:
        fetch.answer(proxy.reply(FRESH, body=b"old"))
    assert slow.answer is not None
    assert slow.answer.body == b"old"
    proxy.backend.release()
    proxy.says(FRESH, body=b"new")
    assert (proxy.get().body, proxy.get().body) == (b"new", b"new")


def rules(**rule: object) -> tuple[Rule, ...]:
    return parse_rules(json.dumps([rule]))


@pytest.mark.parametrize(("soft", "removals"), [(False, 1), (True, 2)])
def test_a_rule_that_names_what_was_changed_removes_it_once(proxy: MemoryProxy, soft: bool, removals: int) -> None:
    proxy.says("Cache-Control: max-age=600")
    proxy.rules = rules(post_path_regex="^(/items/.*)$", invalidate_patterns=["cache:GET:$1"], soft=soft)
    proxy.get("/items/1")
    proxy.ask("POST", "/items/1")
    removed = [call for call in proxy.store.calls if call.endswith("_target")]
    assert len(removed) == removals, "a soft one besides: what was changed is gone at once (RFC 9111 §4.4)"
    assert proxy.get("/items/1").cache == "MISS"


def test_rules_run_after_2xx(proxy: MemoryProxy) -> None:
    proxy.rules = rules(post_path_regex="^/items/(\\d+)", invalidate_patterns=["cache:GET:/list?item=$1*"])
    proxy.says(FRESH)
    proxy.get("/list?item=7&page=2")
    proxy.get("/list?item=8")
    proxy.says(status=303)
    proxy.ask("POST", "/items/7")
    assert proxy.get("/list?item=7&page=2").cache == "HOT_HIT"
    proxy.says(status=201)
    proxy.ask("POST", "/items/7")
    proxy.says(FRESH)
    assert proxy.get("/list?item=8").cache == "HOT_HIT"
    assert proxy.get("/list?item=7&page=2").cache == "MISS"


# -- methods


def test_M1_M2_interim_responses_pass_and_are_not_stored(proxy: MemoryProxy) -> None:
    early = ResponseHead(103, b"Early Hints", Fields([(b"Link", b"</a.css>")]))
    proxy.says(FRESH, interim=[early])
    assert proxy.get()["Link"] is None
    assert proxy.interims == [early]
    assert proxy.get()["Link"] is None
    assert proxy.interims == [early]


def test_M3_expectation_is_left_to_the_backend(proxy: MemoryProxy) -> None:
    proxy.says(status=417, body=b"")
    answer = proxy.ask("PUT", "/x", "Expect: 100-continue", body=b"abc")
    assert (answer.status, proxy.sent("Expect")) == (417, "100-continue")


def test_M4_head_from_a_stored_get(proxy: MemoryProxy) -> None:
    proxy.says(FRESH, "A: 1")
    proxy.get()
    answer = proxy.head()
    assert (answer.body, answer["Content-Length"], answer["A"], answer.cache) == (b"", "3", "1", "HOT_HIT")
    proxy.advance(901)
    proxy.says(FRESH, body=b"")
    assert proxy.head().cache == "MISS"
    assert proxy.seen[-1].method == b"HEAD"


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "PUT", "DELETE", "PATCH", "X-FROB"])
def test_M5_never_stored(proxy: MemoryProxy, method: str) -> None:
    proxy.says(FRESH)
    for _ in range(2):
        assert proxy.ask(method, "/x", body=b"abc").cache == "N/A"
        assert proxy.backend.requests[-1].body == b"abc"
    assert proxy.count == 2
    assert proxy.get().cache == "MISS"


@pytest.mark.parametrize(("method", "status"), [("OPTIONS", 204), ("TRACE", 405)])
def test_M6_max_forwards(proxy: MemoryProxy, method: str, status: int) -> None:
    assert proxy.ask(method, "/x", "Max-Forwards: 0").status == status
    assert proxy.count == 0
    proxy.ask(method, "/x", "Max-Forwards: 3")
    assert proxy.sent("Max-Forwards") == "2"
    proxy.get("/x", "Max-Forwards: 3")
    assert proxy.sent("Max-Forwards") == "3"


def test_M7_no_second_attempt(proxy: MemoryProxy) -> None:
    proxy.says_each(UpstreamProtocolError("dropped"))
    assert (proxy.ask("POST", "/x").status, proxy.count) == (502, 1)


@pytest.mark.parametrize("known", [True, False], ids=["at once", "streamed"])
def test_M8_post_that_stands_for_its_target(proxy: MemoryProxy, known: bool) -> None:
    proxy.says(FRESH, body=b"old")
    proxy.get()
    proxy.says(FRESH, "Content-Location: /x", body=b"new", length=3 if known else None)
    answer = proxy.ask("POST", "/x", body=b"abc")
    assert (answer.cache, answer.why, answer["X-Cache-Expires-In"]) == ("N/A", "fwd=method; ttl=900; stored", "900s")
    assert answer.body == b"new"
    assert (proxy.get().body, proxy.get().cache) == (b"new", "HOT_HIT")
    proxy.forget_memory()
    assert (proxy.get().body, proxy.head()["Content-Length"]) == (b"new", "3")
    assert proxy.count == 2
    assert proxy.ask("POST", "/x").cache == "N/A"
    assert proxy.count == 3


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ([FRESH], 200),
        ([FRESH, "Content-Location: /y"], 200),
        (["Content-Location: /x"], 200),
        (["Content-Location: /x", "Cache-Control: no-store, max-age=9"], 200),
        ([FRESH, "Content-Location: /x"], 404),
    ],
    ids=["no location", "other location", "no freshness", "no-store", "404"],
)
def test_M8_other_posts_are_not(make_proxy: Callable[..., MemoryProxy], lines: list[str], status: int) -> None:
    proxy = make_proxy(default_ttl=60)
    proxy.says(*lines, status=status)
    assert "stored" not in proxy.ask("POST", "/x").why
    proxy.says(FRESH)
    assert proxy.get().cache == "MISS"


def test_M8_is_voided_like_any_fill(proxy: MemoryProxy) -> None:
    response = proxy.open_response(FRESH, "Content-Location: /x")
    proxy.backend.script = lambda head, body: response
    post = proxy.start("POST", "/x")
    proxy.invalidate("cache:*")
    response.body.end()
    assert post.answer is not None
    assert proxy.store.fields_of(KEY) == []


def test_M8_waits_for_the_store_to_forget(proxy: MemoryProxy) -> None:
    proxy.says(FRESH, "Content-Location: /x", body=b"new")
    proxy.store.hold("delete_target")
    proxy.ask("POST", "/x")
    assert proxy.store.fields_of(KEY) == []
    proxy.store.release()
    assert proxy.store.fields_of(KEY) == [b"-"]
    proxy.store.failing = down()
    proxy.ask("POST", "/x")
    assert proxy.hot.get(KEY, proxy.clock.seconds()) is None
    proxy.store.failing = None
    proxy.advance(1)
    assert proxy.store.fields_of(KEY) == []


def test_every_answer_explains_itself(proxy: MemoryProxy) -> None:
    proxy.says(FRESH)
    for method in ("GET", "HEAD", "POST", "OPTIONS"):
        assert re.fullmatch(r"MISS|HOT_HIT|N/A", proxy.ask(method, "/x").cache)
