"""Ranges through the whole pipeline: HTTP-CACHING.md section 9."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.memory_proxy import MemoryProxy

from caching_proxy.http.messages import RequestHead
from caching_proxy.testing import Reply

KEY = b"cache:GET:anonymous:/x"
FRESH = "Cache-Control: max-age=900"
TAG = 'ETag: "a"'
WHOLE = b"abcdefghij"


def part(proxy: MemoryProxy, first: int, last: int, *lines: str, total: int = 10) -> Reply:
    """A 206 with these bytes of WHOLE."""
    held = WHOLE[first : last + 1]
    return proxy.reply(FRESH, f"Content-Range: bytes {first}-{last}/{total}", *lines, status=206, body=held)


def serves(proxy: MemoryProxy, *lines: str) -> None:
    """A backend that knows ranges and If-Range."""
    tag = next((line.partition(": ")[2].encode() for line in lines if line.startswith("ETag")), None)

    def script(head: RequestHead, body: bytes) -> Reply:
        wanted = head.fields.first(b"range")
        condition = head.fields.first(b"if-range")
        if wanted is None or (condition is not None and condition != tag):
            return proxy.reply(FRESH, *lines, body=WHOLE)
        first, _, last = wanted.decode().removeprefix("bytes=").partition("-")
        return part(proxy, int(first), int(last or 9), *lines)

    proxy.backend.script = script


def test_R1_parts_of_a_stored_whole(proxy: MemoryProxy) -> None:
    proxy.says(FRESH, "A: 1", body=b"abcdefghijkl")
    proxy.get()
    for wanted, got, told in (("0-2", b"abc", "0-2"), ("9-", b"jkl", "9-11"), ("-1", b"l", "11-11")):
        answer = proxy.get("/x", f"Range: bytes={wanted}")
        assert (answer.status, answer.body, answer["Content-Range"]) == (206, got, f"bytes {told}/12")
        assert answer["Content-Length"] == str(len(got))
    assert proxy.count == 1


def test_R2_stored_fields_are_repeated(proxy: MemoryProxy) -> None:
    proxy.says(FRESH, "A: 1", body=WHOLE)
    proxy.get()
    proxy.advance(3)
    answer = proxy.get("/x", "Range: bytes=0-2")
    assert (answer["A"], answer["Age"], answer.cache) == ("1", "3", "HOT_HIT")


def test_R3_unsatisfiable_and_ignored(proxy: MemoryProxy) -> None:
    proxy.says(FRESH, body=WHOLE)
    proxy.get()
    answer = proxy.get("/x", "Range: bytes=10-")
    assert (answer.status, answer["Content-Range"]) == (416, "bytes */10")
    assert proxy.get("/x", "Range: lines=1-2").status == 200
    assert proxy.head("/x", "Range: bytes=0-1").status == 200
    several = proxy.get("/x", "Range: bytes=5-6,0-1")
    assert (several.status, (several["Content-Type"] or "")[:20]) == (206, "multipart/byteranges")


def test_R4_conditions_come_first(proxy: MemoryProxy) -> None:
    proxy.says(FRESH, TAG, body=WHOLE)
    proxy.get()
    assert proxy.get("/x", "Range: bytes=0-1", 'If-None-Match: "a"').status == 304
    assert proxy.get("/x", "Range: bytes=0-1", 'If-Range: "a"').status == 206
    assert proxy.get("/x", "Range: bytes=0-1", 'If-Range: "b"').status == 200


def test_R5_single_part_is_stored(proxy: MemoryProxy) -> None:
    proxy.says_each(part(proxy, 0, 4))
    answer = proxy.get("/x", "Range: bytes=0-4")
    assert (answer.status, answer.body, answer.cache) == (206, b"abcde", "MISS")
    proxy.forget_memory()
    again = proxy.get("/x", "Range: bytes=0-4")
    assert (again.status, again.body, again.cache) == (206, b"abcde", "HIT")
    assert again["Content-Range"] == "bytes 0-4/10"


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Type: multipart/byteranges; boundary=x"],
        ["Content-Range: lines 0-4/10"],
        ["Content-Range: bytes 4-0/10"],
        ["Content-Range: bytes 0-9/9"],
    ],
    ids=["multipart", "unit", "backwards", "total"],
)
def test_R5_others_are_relayed(proxy: MemoryProxy, lines: list[str]) -> None:
    proxy.says(FRESH, *lines, status=206)
    assert [proxy.get("/x", "Range: bytes=0-4").cache, proxy.get("/x", "Range: bytes=0-4").cache] == ["MISS", "MISS"]


def test_R6_R7_slices_of_a_part(proxy: MemoryProxy) -> None:
    proxy.says_each(part(proxy, 4, 9))
    proxy.get("/x", "Range: bytes=4-9")
    assert proxy.get("/x", "Range: bytes=5-6").body == b"fg"
    assert proxy.get("/x", "Range: bytes=6-").body == b"ghij"
    answer = proxy.get("/x", "Range: bytes=-2")
    assert (answer.body, answer["Content-Range"], proxy.count) == (b"ij", "bytes 8-9/10", 1)


def test_R8_a_part_answers_nothing_else(proxy: MemoryProxy) -> None:
    serves(proxy)
    proxy.get("/x", "Range: bytes=0-4")
    answer = proxy.get("/x", "Range: bytes=3-7")
    assert (answer.body, answer.why.partition(";")[0], proxy.count) == (b"defgh", "fwd=partial", 2)
    assert proxy.head().status == 200
    assert proxy.count == 3


def test_R9_prefix_is_completed(proxy: MemoryProxy) -> None:
    serves(proxy, TAG, "A: 1")
    proxy.get("/x", "Range: bytes=0-4")
    answer = proxy.get()
    assert (proxy.sent("Range"), proxy.sent("If-Range")) == ("bytes=5-", '"a"')
    assert (answer.status, answer.body, answer["Content-Length"], answer["A"]) == (200, WHOLE, "10", "1")
    assert answer["Content-Range"] is None
    assert answer.why == "fwd=partial; fwd-status=206; ttl=900"
    proxy.forget_memory()
    assert (proxy.get().body, proxy.get("/x", "Range: bytes=8-").body, proxy.count) == (WHOLE, b"ij", 2)
    assert proxy.store.fields_of(KEY) == [b"-"], "the part is gone"


def test_R9_changed_meanwhile(proxy: MemoryProxy) -> None:
    serves(proxy, TAG)
    proxy.get("/x", "Range: bytes=0-4")
    proxy.says(FRESH, 'ETag: "b"', body=b"new")
    answer = proxy.get()
    assert (answer.status, answer.body, proxy.sent("If-Range")) == (200, b"new", '"a"')
    assert proxy.get().cache == "HOT_HIT"
    assert proxy.store.fields_of(KEY) == [b"-"]


@pytest.mark.parametrize("how", ["tag", "weak", "none", "416", "short", "no-store", "other-place"])
def test_R9_what_cannot_be_combined_is_asked_for_whole(proxy: MemoryProxy, how: str) -> None:
    held = [] if how == "none" else ['ETag: W/"a"'] if how == "weak" else [TAG]
    first = part(proxy, 0, 4, *held)
    rest = {
        "tag": part(proxy, 5, 9, 'ETag: "b"'),
        "weak": part(proxy, 5, 9, 'ETag: W/"a"'),
        "none": part(proxy, 5, 9),
        "416": proxy.reply("Content-Range: bytes */3", status=416, body=b""),
        "short": proxy.reply(FRESH, TAG, "Content-Range: bytes 5-9/10", status=206, body=b"fg", length=5, cut=True),
        "no-store": proxy.reply("Cache-Control: no-store", TAG, "Content-Range: bytes 5-9/10", status=206),
        "other-place": part(proxy, 7, 9, TAG),
    }[how]
    proxy.says_each(first, rest, proxy.reply(FRESH, body=WHOLE))
    proxy.get("/x", "Range: bytes=0-4")
    answer = proxy.get()
    assert (answer.status, answer.body, proxy.count) == (200, WHOLE, 3)
    assert (proxy.sent("Range", 1), proxy.sent("Range", 2), proxy.sent("If-Range", 2)) == ("bytes=5-", None, None)
    assert proxy.get().cache == "HOT_HIT"


def test_R9_full_answer_counts_as_one_to_the_clients_request(make_proxy: Callable[..., MemoryProxy]) -> None:
    proxy = make_proxy(default_ttl=60)
    proxy.says_each(part(proxy, 0, 4, TAG), proxy.reply(body=WHOLE))
    proxy.get("/x", "Range: bytes=0-4")
    proxy.get()
    assert proxy.get().cache == "HOT_HIT", "with the default lifetime, though a range was sent"


def test_R9_not_for_a_part_that_is_short_or_too_large(make_proxy: Callable[..., MemoryProxy]) -> None:
    proxy = make_proxy(max_body=9)
    serves(proxy, TAG)
    proxy.get("/x", "Range: bytes=0-4")
    proxy.get()
    assert proxy.sent("Range") is None
    short = make_proxy()
    short.says_each(
        short.reply(FRESH, TAG, "Content-Range: bytes 0-4/10", status=206, body=b"abc"), short.reply(FRESH, body=WHOLE)
    )
    short.get("/x", "Range: bytes=0-4")
    short.get()
    assert short.sent("Range") is None


def test_R10_parts_grow_together(proxy: MemoryProxy) -> None:
    serves(proxy, TAG)
    proxy.get("/x", "Range: bytes=0-4")
    proxy.get("/x", "Range: bytes=5-7")
    assert proxy.get("/x", "Range: bytes=2-6").body == b"cdefg"
    assert proxy.count == 2
    proxy.get("/x", "Range: bytes=8-9")
    proxy.forget_memory()
    answer = proxy.get()
    assert (answer.status, answer.body, answer["Content-Length"], proxy.count) == (200, WHOLE, "10", 3)
    assert proxy.store.fields_of(KEY) == [b"-"]


def test_R10_another_tag_takes_its_place(proxy: MemoryProxy) -> None:
    proxy.says_each(part(proxy, 0, 4, TAG), part(proxy, 5, 9, 'ETag: "b"'))
    proxy.get("/x", "Range: bytes=0-4")
    proxy.get("/x", "Range: bytes=5-9")
    assert proxy.get("/x", "Range: bytes=6-").body == b"ghij"
    assert proxy.store.fields_of(KEY) == [b"-+part"]


def test_R11_stale_whole_is_validated_and_sliced(proxy: MemoryProxy) -> None:
    proxy.says("Cache-Control: max-age=2", TAG, body=WHOLE)
    proxy.get()
    proxy.advance(3)
    proxy.says(FRESH, TAG, status=304, body=b"")
    answer = proxy.get("/x", "Range: bytes=0-2", 'If-Range: "a"')
    assert (answer.status, answer.body) == (206, b"abc")
    assert (proxy.sent("Range"), proxy.sent("If-Range"), proxy.sent("If-None-Match")) == (None, None, '"a"')


def test_R11_full_answer_instead(make_proxy: Callable[..., MemoryProxy]) -> None:
    proxy = make_proxy(default_ttl=60)
    proxy.says("Cache-Control: max-age=2", TAG, body=WHOLE)
    proxy.get()
    proxy.advance(3)
    proxy.says('ETag: "b"', body=b"new")
    assert proxy.get("/x", "Range: bytes=0-2").body == b"new"
    assert proxy.get().cache == "HOT_HIT", "no range was sent, so the default lifetime holds"


def test_R11_stale_part_is_validated_with_its_range(proxy: MemoryProxy) -> None:
    proxy.says("Cache-Control: max-age=2", TAG, "Content-Range: bytes 0-4/10", status=206, body=b"abcde")
    proxy.get("/x", "Range: bytes=0-4")
    proxy.advance(3)
    proxy.says(FRESH, TAG, status=304, body=b"")
    answer = proxy.get("/x", "Range: bytes=1-2")
    assert (answer.status, answer.body, answer["Content-Range"]) == (206, b"bc", "bytes 1-2/10")
    assert (proxy.sent("Range"), proxy.sent("If-None-Match")) == ("bytes=1-2", '"a"')


def test_R12_content_range_elsewhere_means_nothing(proxy: MemoryProxy) -> None:
    proxy.says(FRESH, "Content-Range: junk")
    proxy.get()
    answer = proxy.get()
    assert (answer.status, answer["Content-Range"], answer.cache) == (200, "junk", "HOT_HIT")
