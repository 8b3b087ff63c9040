"""Stored text in the coding that a client accepts: made once, in bounds, and alike in every other respect."""

from __future__ import annotations

import gzip
from collections.abc import Callable

import brotli
import pytest
import zstandard
from support.memory_proxy import Answer, MemoryProxy
from twisted.internet.defer import Deferred

from caching_proxy.cache.tiers import forms
from caching_proxy.cache.tiers.forms import AT_ONCE_BYTES
from caching_proxy.http.codings import compress

TEXT = ("Cache-Control: max-age=60", "Content-Type: text/plain", 'ETag: "a"', "Accept-Ranges: bytes")
BODY = b"some text, " * 100
DECODE: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.decompress,
    "br": brotli.decompress,
    "zstd": zstandard.ZstdDecompressor().decompress,
}


def proxy(*codings: bytes, body: bytes = BODY, lines: tuple[str, ...] = TEXT, **more: object) -> MemoryProxy:
    made = MemoryProxy(compress=codings or (b"zstd", b"br", b"gzip"), **more)  # type: ignore[arg-type]
    made.says(*lines, body=body)
    return made


def test_a_hit_is_compressed_and_a_miss_is_not() -> None:
    one = proxy()
    first = one.get("/x", "Accept-Encoding: gzip")
    assert (first.cache, first.body, first["Content-Encoding"], first["Vary"]) == (
        "MISS",
        BODY,
        None,
        "Accept-Encoding",
    )
    for coding, decode in DECODE.items():
        for _ in range(2):
            hit = one.get("/x", f"Accept-Encoding: {coding}")
            assert hit.cache == "HOT_HIT"
            assert hit["Content-Encoding"] == coding
            assert decode(hit.body) == BODY
            assert hit["Content-Length"] == str(len(hit.body))
            assert (hit["ETag"], hit["Vary"], hit["Accept-Ranges"]) == ('W/"a"', "Accept-Encoding", None)
    plain = one.get("/x")
    assert (plain.body, plain["ETag"], plain["Vary"], plain["Accept-Ranges"]) == (
        BODY,
        '"a"',
        "Accept-Encoding",
        "bytes",
    )
    assert one.count == 1


def test_HEAD_says_the_same() -> None:
    one = proxy()
    one.get("/x")
    got = one.get("/x", "Accept-Encoding: gzip")
    head = one.ask("HEAD", "/x", "Accept-Encoding: gzip")
    assert head.body == b""
    assert [pair for pair in head.fields if pair[0] != b"Date"] == [pair for pair in got.fields if pair[0] != b"Date"]


@pytest.mark.parametrize("tag", ['"a"', 'W/"a"', '"b", W/"a"', "*"])
def test_conditions_hold_for_every_form(tag: str) -> None:
    one = proxy()
    one.get("/x")
    packed = one.get("/x", "Accept-Encoding: gzip", f"If-None-Match: {tag}")
    assert (packed.status, packed.body, packed["ETag"], packed["Vary"]) == (304, b"", 'W/"a"', "Accept-Encoding")
    assert packed["Content-Encoding"] is None
    assert one.get("/x", f"If-None-Match: {tag}")["ETag"] == '"a"'
    assert one.get("/x", "Accept-Encoding: gzip", 'If-None-Match: "other"').status == 200


def test_ranges_are_of_the_identity_form() -> None:
    one = proxy()
    one.get("/x")
    part = one.get("/x", "Accept-Encoding: gzip", "Range: bytes=0-3")
    assert (part.status, part.body, part["Content-Encoding"], part["ETag"]) == (206, BODY[:4], None, '"a"')
    assert part["Vary"] == "Accept-Encoding"
    stale = one.get("/x", "Accept-Encoding: gzip", "Range: bytes=0-3", 'If-Range: W/"a"')
    assert (stale.status, stale.body) == (200, BODY)


@pytest.mark.parametrize(
    ("lines", "body", "varies"),
    [
        (("Cache-Control: max-age=60", "Content-Type: image/png"), BODY, None),
        (("Cache-Control: max-age=60, no-transform", "Content-Type: text/plain"), BODY, None),
        (("Cache-Control: max-age=60", "Content-Type: text/plain", "Content-Encoding: br"), BODY, None),
        (("Cache-Control: max-age=60", "Content-Type: text/plain"), b"short", "Accept-Encoding"),
        (("Cache-Control: max-age=60", "Content-Type: text/plain"), bytes(range(256)), "Accept-Encoding"),
    ],
)
def test_what_stays_as_it_is(lines: tuple[str, ...], body: bytes, varies: str | None) -> None:
    one = proxy(lines=lines, body=body)
    for _ in range(3):
        answer = one.get("/x", "Accept-Encoding: gzip")
        assert answer.body == body
        assert answer["Vary"] == varies
        assert answer["Content-Encoding"] in (None, "br")
    assert answer.cache == "HOT_HIT"


def test_the_backends_own_Vary_stays() -> None:
    one = proxy(lines=(*TEXT, "Vary: Accept-Language"))
    for language in ("de", "en"):
        one.get("/x", f"Accept-Language: {language}")
    hit = one.get("/x", "Accept-Language: de", "Accept-Encoding: gzip")
    assert (hit["Content-Encoding"], hit["Vary"]) == ("gzip", "Accept-Language, Accept-Encoding")


def test_each_form_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[bytes] = []

    def counted(coding: bytes, data: bytes) -> bytes:
        made.append(coding)
        return compress(coding, data)

    one = proxy()
    assert one.hot.compression is not None
    monkeypatch.setattr(one.hot.compression, "_compress", counted)
    one.get("/x")
    for accepted in ("gzip", "gzip, x", "gzip;q=0.9", "br", "br;q=1", "gzip"):
        for _ in range(3):
            one.get("/x", f"Accept-Encoding: {accepted}")
    assert made == [b"gzip", b"br"]


def test_a_long_body_is_compressed_elsewhere() -> None:
    """Until it is ready its entry answers as it is; one at a time, and once."""
    waiting: list[tuple[Callable[[], bytes], Deferred[bytes]]] = []

    def run(call: Callable[[], bytes]) -> Deferred[bytes]:
        waiting.append((call, Deferred()))
        return waiting[-1][1]

    body = b"long text, " * AT_ONCE_BYTES
    one = proxy(body=body, run=run)
    for target in ("/x", "/y"):
        one.get(target)
        for _ in range(3):
            answer = one.get(target, "Accept-Encoding: gzip")
            assert (answer.body, answer["Content-Encoding"], answer["Vary"]) == (body, None, "Accept-Encoding")
    assert len(waiting) == 1
    call, done = waiting[0]
    done.callback(call())
    assert gzip.decompress(one.get("/x", "Accept-Encoding: gzip").body) == body
    assert one.get("/y", "Accept-Encoding: gzip").body == body
    assert len(waiting) == 2
    one.invalidate("cache:GET:*:/y")
    call, done = waiting[1]
    done.callback(call())
    assert one.get("/y", "Accept-Encoding: gzip").cache == "MISS"


def test_a_failure_is_logged_and_costs_nothing(logged_errors: object) -> None:
    one = proxy(body=b"long text, " * AT_ONCE_BYTES, run=lambda call: _failed())
    one.get("/x")
    assert one.get("/x", "Accept-Encoding: gzip").status == 200
    assert len(logged_errors.flush()) == 1  # type: ignore[attr-defined]


def _failed() -> Deferred[bytes]:
    done: Deferred[bytes] = Deferred()
    done.errback(RuntimeError("no memory"))
    return done


def test_forms_count_in_the_hot_tier() -> None:
    one = proxy(body=b"0123456789abcdef" * 1000)
    one.get("/x")
    before = one.hot.bytes
    packed = one.get("/x", "Accept-Encoding: gzip")
    assert one.hot.bytes >= before + len(packed.body)
    one.invalidate("cache:GET:*:/x")
    assert one.hot.bytes == 0
    assert one.hot.entries == 0


def test_many_forms_stay_within_the_hot_tier() -> None:
    one = proxy(body=bytes(ord("a") + (n * n) % 26 for n in range(15_000)))
    for number in range(150):
        one.get(f"/{number}")
        for coding in DECODE:
            one.get(f"/{number}", f"Accept-Encoding: {coding}")
        assert one.hot.bytes <= 1 << 20


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "WAITING_BYTES", 500_000)
    held: list[Deferred[bytes]] = []

    def run(call: Callable[[], bytes]) -> Deferred[bytes]:
        held.append(Deferred())
        return held[-1]

    one = proxy(body=b"x" * 100_000, run=run)
    for number in range(9):
        one.get(f"/{number}")
        one.get(f"/{number}", "Accept-Encoding: gzip")
    assert one.hot.compression is not None
    assert len(one.hot.compression._queue) == 4
    assert len(held) == 1


def answers(one: MemoryProxy, *lines: str) -> list[Answer]:
    return [one.get("/x", *lines) for _ in range(3)]


def test_off_changes_nothing() -> None:
    one = MemoryProxy()
    one.says(*TEXT, body=BODY)
    for answer in answers(one, "Accept-Encoding: gzip, br, zstd"):
        assert (answer.body, answer["Vary"], answer["Content-Encoding"]) == (BODY, None, None)
