"""Rules of docs/http-caching.md about reuse, through real sockets: hits, ranges, validation, stale answers, reasons.

Nothing waits for time to pass: a response that says ``Age: 20`` beside ``max-age=10`` is stale when it arrives. One
proxy process serves the module; tests keep apart by their targets.
"""

from __future__ import annotations

import re

import pytest
from support.live_backend import Exchange, Handler, LiveBackend, answer
from support.proxy_process import ProxyProcess, Response, StartProxy, wait_for

pytestmark = pytest.mark.live
OVER_H2 = True

FRESH = ("Cache-Control", "max-age=900")
TAG = ("ETag", '"a"')
AGED = ("Age", "20")
SHORT = ("Cache-Control", "max-age=10")
WHOLE = b"abcdefghijkl"


@pytest.fixture(scope="module")
def proxy(start_shared: StartProxy, backend: LiveBackend) -> ProxyProcess:
    return start_shared(BACKEND_URL=backend.url, CACHE_TTL_SECONDS="0", BACKEND_TIMEOUT="5")


def stale_at_once(*more: tuple[str, str], then: Handler) -> Handler:
    """First a response that is ten seconds past its freshness, afterwards what ``then`` says."""
    first = answer(WHOLE, 200, *(more if any(name == "Cache-Control" for name, _ in more) else (SHORT, *more)), AGED)
    return lambda exchange: first(exchange) if exchange.nth == 1 else then(exchange)


def not_modified(*fields: tuple[str, str]) -> Handler:
    """A 304, which has neither body nor length."""
    return lambda exchange: exchange.head(304, fields, "Not Modified")


def part(first: int, last: int, *fields: tuple[str, str], total: int = 12) -> Handler:
    """A 206 with these bytes."""
    return answer(WHOLE[first : last + 1], 206, ("Content-Range", f"bytes {first}-{last}/{total}"), FRESH, *fields)


def why(response: Response) -> str:
    return response["Cache-Status"]


# -- storing: section 4 ------------------------------------------------------------------------------


def test_B2_an_odd_status_is_relayed_and_not_stored(proxy: ProxyProcess, backend: LiveBackend) -> None:
    backend.on("/b2", answer(b"odd", 999, FRESH))
    assert [(r.status, r.body, r.cache) for r in (proxy.get("/b2"), proxy.get("/b2"))] == [(999, b"odd", "MISS")] * 2


def test_B17_a_body_cut_short_is_not_stored(proxy: ProxyProcess, backend: LiveBackend) -> None:
    def cut(exchange: Exchange) -> None:
        exchange.head(200, [("Content-Length", "50"), FRESH])
        exchange.send(b"x" * 20)
        exchange.hang_up()

    backend.on("/b17", cut)
    received = proxy.raw(b"GET /b17 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert received.partition(b"\r\n\r\n")[2] == b"x" * 20
    backend.on("/b17", answer(b"y" * 50, 200, FRESH))
    assert [proxy.get("/b17").cache for _ in range(2)] == ["MISS", "HOT_HIT"]


def test_B18_the_key_is_the_target_as_sent(proxy: ProxyProcess, backend: LiveBackend) -> None:
    targets = ["/b18", "/b18?", "/b18?v=1", "/b18?v=2", "/B18", "/%6218", "/b18?v=1&"]
    for target in targets:
        backend.on(target, answer(target.encode(), 200, FRESH))
        assert proxy.get(target).body == target.encode()
    for target in targets:
        again = proxy.request("GET", target, {"Host": "OTHER.test:80"})  # one backend: its host is in no key
        assert (again.cache, again.body) == ("HOT_HIT", target.encode())


# -- fields and methods: sections 12 and 13 -----------------------------------------------------------


def test_H5_proxy_authentication_is_not_stored(proxy: ProxyProcess, backend: LiveBackend) -> None:
    backend.on("/h5", answer(b"", 200, FRESH, ("Proxy-Authenticate", "x"), ("Proxy-Authentication-Info", "y")))
    proxy.get("/h5")
    hit = proxy.get("/h5")
    assert (hit.cache, hit.get("Proxy-Authenticate"), hit.get("Proxy-Authentication-Info")) == ("HOT_HIT", None, None)


def test_H10_our_own_name_in_via_is_a_loop(proxy: ProxyProcess, backend: LiveBackend) -> None:
    assert proxy.get("/h10", Via="1.0 other, 1.1 caching-proxy").status == 508
    proxy.get("/h10", Via="1.0 other")
    [seen] = backend.seen("/h10")
    assert seen["Via"] == "1.0 other, 1.1 caching-proxy"


def test_H11_nothing_is_transformed(proxy: ProxyProcess, backend: LiveBackend) -> None:
    target, body = "/a%7Eb/%2e%2E/./?x&&=%20+", b"\x1f\x8b odd \r\n\x00\xff"
    kind, coding = "text/plain;charset=x", "gzip"
    backend.on(target, answer(body, 200, FRESH, ("Content-Encoding", coding), ("Content-Type", kind)))
    for expected in ("MISS", "HOT_HIT"):
        response = proxy.get(target)
        assert (response.cache, response.body) == (expected, body)
        assert (response["Content-Type"], response["Content-Encoding"]) == (kind, coding)
    assert len(backend.seen(target)) == 1


def test_M4_head_from_a_stored_get(proxy: ProxyProcess, backend: LiveBackend) -> None:
    backend.on("/m4", answer(b"seven b", 200, FRESH, ("A", "1")))
    proxy.get("/m4")
    head = proxy.request("HEAD", "/m4")
    assert (head.status, head["Content-Length"], head["A"], head.body) == (200, "7", "1", b"")
    assert len(backend.seen("/m4")) == 1


# -- ranges: section 9 -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "told", "got"),
    [("0-2", "0-2", b"abc"), ("9-", "9-11", b"jkl"), ("-1", "11-11", b"l"), ("8-99", "8-11", b"ijkl")],
)
def test_R1_parts_of_a_stored_whole(
    proxy: ProxyProcess, backend: LiveBackend, wanted: str, told: str, got: bytes
) -> None:
    backend.on("/r1", answer(WHOLE, 200, FRESH, ("A", "1")))
    proxy.get("/r1")
    response = proxy.get("/r1", Range=f"bytes={wanted}")
    assert (response.status, response.body) == (206, got)
    assert (response["Content-Range"], response["Content-Length"]) == (f"bytes {told}/12", str(len(got)))
    assert (response["A"], response.get("Age") is not None) == ("1", True)
    assert len(backend.seen("/r1")) == 1


def test_R3_what_cannot_be_satisfied_and_what_is_ignored(proxy: ProxyProcess, backend: LiveBackend) -> None:
    backend.on("/r3", answer(WHOLE, 200, FRESH))
    proxy.get("/r3")
    response = proxy.get("/r3", Range="bytes=12-")
    assert (response.status, response["Content-Range"]) == (416, "bytes */12")
    for ignored in ("lines=0-1", "bytes=2-1", "bytes=a-b", "bytes=0-5,3-7"):
        assert (proxy.get("/r3", Range=ignored).status, proxy.get("/r3").body) == (200, WHOLE)
    several = proxy.get("/r3", Range="bytes=6-7, 0-1")
    assert several.status == 206
    boundary = several["Content-Type"].partition("boundary=")[2].encode()
    pieces = re.findall(rb"--" + boundary + rb"\r\nContent-Range: (.*?)\r\n\r\n(.*?)\r\n", several.body)
    assert pieces == [(b"bytes 6-7/12", b"gh"), (b"bytes 0-1/12", b"ab")]
    assert several.body.endswith(b"--" + boundary + b"--\r\n")


def test_R4_conditions_come_before_ranges(proxy: ProxyProcess, backend: LiveBackend) -> None:
    backend.on("/r4", answer(WHOLE, 200, FRESH, TAG))
    proxy.get("/r4")
    assert proxy.get("/r4", Range="bytes=0-1", If_None_Match='"a"').status == 304
    for condition, status in (('"a"', 206), ('W/"a"', 200), ('"b"', 200)):
        assert proxy.get("/r4", Range="bytes=0-1", If_Range=condition).status == status


def test_R5_R6_R8_a_part_is_stored_for_what_lies_inside(proxy: ProxyProcess, backend: LiveBackend) -> None:
    backend.on("/r5", part(2, 7, TAG))
    assert proxy.get("/r5", Range="bytes=2-7").cache == "MISS"
    backend.on("/r5", part(0, 11, TAG))
    for wanted, got in (("2-7", b"cdefgh"), ("3-4", b"de")):
        inside = proxy.get("/r5", Range=f"bytes={wanted}")
        assert (inside.status, inside.cache, inside.body) == (206, "HOT_HIT", got)
    outside = proxy.get("/r5", Range="bytes=0-11")
    assert (outside.cache, outside.body) == ("MISS", WHOLE)


def test_R5_several_parts_are_relayed(proxy: ProxyProcess, backend: LiveBackend) -> None:
    kind = ("Content-Type", "multipart/byteranges; boundary=b")
    backend.on("/r5-many", answer(b"--b\r\n", 206, FRESH, kind))
    assert [proxy.get("/r5-many", Range="bytes=0-1,4-5").cache for _ in range(2)] == ["MISS", "MISS"]


@pytest.mark.parametrize(("wanted", "got"), [("7-9", b"hij"), ("7-", b"hijk"), ("-2", b"jk"), ("-7", b"efghijk")])
def test_R7_a_part_with_fewer_bytes_than_it_claims(
    proxy: ProxyProcess, backend: LiveBackend, wanted: str, got: bytes
) -> None:
    backend.on("/r7", answer(WHOLE[4:11], 206, ("Content-Range", "bytes 4-11/12"), FRESH))
    proxy.get("/r7", Range="bytes=4-11")
    response = proxy.get("/r7", Range=f"bytes={wanted}")
    assert (response.cache, response.body) == ("HOT_HIT", got)


def test_R9_R10_a_prefix_is_completed(proxy: ProxyProcess, backend: LiveBackend) -> None:
    backend.on("/r9", part(0, 4, TAG))
    proxy.get("/r9", Range="bytes=0-4")
    backend.on("/r9", part(5, 11, TAG))
    whole = proxy.get("/r9")
    assert (whole.status, whole.body, whole["Content-Length"]) == (200, WHOLE, "12")
    assert whole.get("Content-Range") is None
    asked = backend.seen("/r9")[1]
    assert (asked["Range"], asked["If-Range"]) == ("bytes=5-", '"a"')
    assert proxy.get("/r9").cache == "HOT_HIT"
    assert len(backend.seen("/r9")) == 2


def test_R10_parts_of_different_tags_are_not_combined(proxy: ProxyProcess, backend: LiveBackend) -> None:
    backend.on("/r10", part(0, 4, TAG))
    proxy.get("/r10", Range="bytes=0-4")
    backend.on(
        "/r10",
        lambda exchange: (
            part(5, 11, ("ETag", '"b"'))(exchange) if exchange.all("Range") else answer(b"new", 200, FRESH)(exchange)
        ),
    )
    assert proxy.get("/r10").body == b"new"
    assert backend.seen("/r10")[-1].all("Range") == []


def test_R11_a_stale_whole_is_validated_and_sliced(proxy: ProxyProcess, backend: LiveBackend) -> None:
    backend.on("/r11", stale_at_once(TAG, then=not_modified(TAG, FRESH)))
    proxy.get("/r11")
    response = proxy.get("/r11", Range="bytes=0-2", If_Range='"a"')
    assert (response.status, response.body, response.cache) == (206, b"abc", "REVALIDATED")
    asked = backend.seen("/r11")[1]
    assert (asked["If-None-Match"], asked.all("Range"), asked.all("If-Range")) == ('"a"', [], [])


# -- validation: section 7 ---------------------------------------------------------------------------


def test_V1_the_tag_is_sent_byte_for_byte(proxy: ProxyProcess, backend: LiveBackend) -> None:
    tag = ("ETag", 'W/"k \xe9"')
    backend.on("/v1", stale_at_once(tag, then=not_modified(tag, FRESH)))
    proxy.get("/v1")
    response = proxy.get("/v1")
    assert (response.status, response.body, response.cache) == (200, WHOLE, "REVALIDATED")
    assert backend.seen("/v1")[1]["If-None-Match"] == 'W/"k \xe9"'
    assert proxy.get("/v1").cache == "HOT_HIT"


def test_V4_the_clients_own_condition_is_answered(proxy: ProxyProcess, backend: LiveBackend) -> None:
    modified = ("Last-Modified", "Fri, 18 Aug 2023 02:01:18 GMT")
    backend.on("/v4", stale_at_once(modified, then=not_modified(modified, FRESH)))
    proxy.get("/v4")
    response = proxy.get("/v4", If_Modified_Since=modified[1])
    assert (response.status, response.body) == (304, b"")
    assert backend.seen("/v4")[1]["If-Modified-Since"] == modified[1]
    assert (proxy.get("/v4").status, proxy.get("/v4").body) == (200, WHOLE)


def test_V13_conditions_go_untouched_where_nothing_is_stored(proxy: ProxyProcess, backend: LiveBackend) -> None:
    backend.on("/v13", not_modified(("ETag", '"z"'), FRESH))
    assert proxy.get("/v13", If_None_Match='"z"').status == 304
    assert backend.seen("/v13")[0]["If-None-Match"] == '"z"'
    backend.on("/v13", answer(b"x", 412, FRESH))
    for _ in range(2):
        assert proxy.get("/v13", If_Match='"z"').status == 412
    assert [seen.all("If-Match") for seen in backend.seen("/v13")[1:]] == [['"z"'], ['"z"']]


def test_V13_304_to_an_unconditional_request(proxy: ProxyProcess, backend: LiveBackend) -> None:
    backend.on("/v13-odd", not_modified(("ETag", '"z"')))
    assert proxy.get("/v13-odd").status == 502


# -- serving stale: section 10 -----------------------------------------------------------------------


def test_E1_never_stale_where_it_must_be_validated(proxy: ProxyProcess, backend: LiveBackend) -> None:
    strict = ("Cache-Control", "max-age=10, must-revalidate, stale-if-error=60")
    backend.on("/e1", stale_at_once(strict, TAG, then=Exchange.hang_up))
    proxy.get("/e1")
    assert proxy.get("/e1").status in (502, 504)


def test_E3_a_stored_copy_while_the_backend_is_gone(proxy: ProxyProcess, backend: LiveBackend) -> None:
    backend.on("/e3", stale_at_once(TAG, then=Exchange.hang_up))
    proxy.get("/e3")
    response = proxy.get("/e3")
    assert (response.status, response.body, response.cache) == (200, WHOLE, "STALE")
    assert int(response["Age"]) >= 20
    backend.on("/e3-none", Exchange.hang_up)
    assert proxy.get("/e3-none").status == 502


def test_E4_an_answer_at_once_and_a_validation_behind_it(proxy: ProxyProcess, backend: LiveBackend) -> None:
    control = ("Cache-Control", "max-age=10, stale-while-revalidate=600")
    backend.on("/e4", stale_at_once(control, TAG, then=answer(b"new", 200, FRESH)))
    proxy.get("/e4")
    stale = proxy.get("/e4")
    assert (stale.status, stale.body, stale.cache) == (200, WHOLE, "STALE")
    assert re.fullmatch(r"caching-proxy; hit; ttl=-1\d.*", why(stale))
    wait_for(lambda: proxy.get("/e4").body == b"new", "the new answer")
    assert backend.seen("/e4")[1]["If-None-Match"] == '"a"'
    assert len(backend.seen("/e4")) == 2


def test_E5_a_stored_copy_in_place_of_an_error(proxy: ProxyProcess, backend: LiveBackend) -> None:
    control = ("Cache-Control", "max-age=10, stale-if-error=60")
    backend.on("/e5", stale_at_once(control, TAG, then=answer(b"down", 503)))
    proxy.get("/e5")
    response = proxy.get("/e5")
    assert (response.status, response.body, response.cache) == (200, WHOLE, "STALE")
    late = ("Cache-Control", "max-age=10, stale-if-error=5")
    backend.on("/e5-late", stale_at_once(late, TAG, then=answer(b"down", 503)))
    proxy.get("/e5-late")
    assert (proxy.get("/e5-late").status, len(backend.seen("/e5-late"))) == (503, 2)


# -- explaining: sections 15 and 16 ------------------------------------------------------------------


def test_K1_members_of_inner_caches_stay(proxy: ProxyProcess, backend: LiveBackend) -> None:
    backend.on("/k1", answer(b"", 200, FRESH, ("Cache-Status", "Inner; hit")))
    first = why(proxy.get("/k1"))
    assert first.startswith("Inner; hit, caching-proxy; fwd=uri-miss")
    assert first.endswith("; stored")
    assert re.fullmatch(r"Inner; hit, caching-proxy; hit; ttl=\d+", why(proxy.get("/k1")))


def test_K2_the_most_specific_reason(proxy: ProxyProcess, backend: LiveBackend) -> None:
    backend.on("/k2", answer(b"", 200, FRESH, TAG, ("Vary", "Foo")))
    reasons = [
        why(proxy.get("/k2", Foo="1")),
        why(proxy.get("/k2", Foo="2")),
        why(proxy.get("/k2", Foo="1", Cache_Control="no-cache")),
        why(proxy.request("POST", "/k2")),
        why(proxy.get("/k2-cookie", Cookie="session=1")),
    ]
    found = [re.findall(r"fwd=([a-z-]+)", reason) for reason in reasons]
    assert found == [["uri-miss"], ["vary-miss"], ["request"], ["method"], ["bypass"]]


def test_K3_the_backends_status(proxy: ProxyProcess, backend: LiveBackend) -> None:
    backend.on("/k3", stale_at_once(TAG, then=not_modified(TAG, FRESH)))
    proxy.get("/k3")
    assert why(proxy.get("/k3")).startswith("caching-proxy; fwd=stale; fwd-status=304; ttl=900")


def test_T1_the_targeted_field_decides(proxy: ProxyProcess, backend: LiveBackend) -> None:
    backend.on("/t1", answer(b"", 200, ("Cache-Control", "no-store"), ("CDN-Cache-Control", "max-age=900")))
    assert [proxy.get("/t1").cache for _ in range(2)] == ["MISS", "HOT_HIT"]
    backend.on("/t1-no", answer(b"", 200, FRESH, ("CDN-Cache-Control", "no-store")))
    assert [proxy.get("/t1-no").cache for _ in range(2)] == ["MISS", "MISS"]


def test_T6_the_targeted_field_is_passed_on(proxy: ProxyProcess, backend: LiveBackend) -> None:
    fields = (("CDN-Cache-Control", "max-age=900, Foo , &&"), FRESH, ("Surrogate-Control", "no-store"))
    backend.on("/t6", answer(b"", 200, *fields))
    for expected in ("MISS", "HOT_HIT"):
        response = proxy.get("/t6")
        assert (response.cache, *(response[name] for name, _ in fields)) == (expected, *(v for _, v in fields))
