"""What a usable stored response says to a request (HTTP-CACHING.md sections 8, 9, 12, 13)."""

from __future__ import annotations

import pytest

from caching_proxy.http.dates import format_date
from caching_proxy.http.messages import Field, Fields, RequestHead
from caching_proxy.rules.entry import NO_FLAGS, CacheEntry, Flag
from caching_proxy.rules.stored_response import Answer, answer

T = 1_900_000_000.0
BODY = b"abcdefghijkl"
STORED: list[Field] = [
    (b"Date", format_date(T)),
    (b"Content-Type", b"text/plain"),
    (b"ETag", b'"a"'),
    (b"A", b"1"),
    (b"Set-Cookie", b"x=1"),
    (b"Set-Cookie", b"y=2"),
]


def entry(*pairs: Field, status: int = 200, body: bytes = BODY, flags: Flag = NO_FLAGS) -> CacheEntry:
    fields = Fields([*STORED, *pairs])
    place = (0, 20) if Flag.PARTIAL in flags else None
    return CacheEntry(b"k", status, b"Fine", fields.encoded(), body, T, lifetime=900, keep=900, flags=flags, part=place)


def ask(held: CacheEntry, *pairs: Field, method: bytes = b"GET") -> Answer:
    return answer(RequestHead(method, b"/", Fields(pairs)), held, T + 3)


def test_H7_whole() -> None:
    said = ask(entry())
    assert (said.head.status, said.head.reason, said.body) == (200, b"Fine", BODY)
    assert said.head.fields == Fields([*STORED, (b"Content-Length", b"12")])


def test_H7_no_length_on_204() -> None:
    said = ask(entry(status=204, body=b""))
    assert b"content-length" not in said.head.fields
    assert ask(entry(status=404, body=b"")).head.fields.first(b"content-length") == b"0"


def test_H9_date_is_replayed() -> None:
    assert ask(entry()).head.fields.all(b"date") == [format_date(T)]


def test_M4_head_has_the_same_fields_and_no_body() -> None:
    said = ask(entry(), method=b"HEAD")
    assert said.head == ask(entry()).head
    assert said.body == b""


def test_M4_head_ignores_range() -> None:
    assert ask(entry(), (b"Range", b"bytes=0-2"), method=b"HEAD").head == ask(entry()).head


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_N1_N6_not_modified(method: bytes) -> None:
    said = ask(entry(), (b"If-None-Match", b'"a"'), method=method)
    assert (said.head.status, said.head.reason, said.body) == (304, b"Not Modified", b"")
    assert said.head.fields.first(b"etag") == b'"a"'
    assert b"content-length" not in said.head.fields
    assert b"content-type" not in said.head.fields


def test_N8_status_is_replayed() -> None:
    assert ask(entry(status=404), (b"If-None-Match", b'"a"')).head.status == 404


def test_R1_R2_one_range() -> None:
    said = ask(entry(), (b"Range", b"bytes=9-"))
    assert (said.head.status, said.body) == (206, b"jkl")
    assert said.head.fields == Fields([*STORED, (b"Content-Range", b"bytes 9-11/12"), (b"Content-Length", b"3")])


def test_R3_unsatisfiable() -> None:
    said = ask(entry((b"Cache-Control", b"max-age=900")), (b"Range", b"bytes=12-"))
    assert (said.head.status, said.body) == (416, b"")
    assert said.head.fields.first(b"content-range") == b"bytes */12"
    assert said.head.fields.first(b"content-length") == b"0"
    assert said.head.fields.first(b"a") == b"1"
    assert b"cache-control" not in said.head.fields
    assert b"etag" not in said.head.fields


def test_R3_several_ranges() -> None:
    said = ask(entry(), (b"Range", b"bytes=0-1,3-4"))
    assert said.head.status == 206
    kind = said.head.fields.all(b"content-type")
    assert len(kind) == 1
    assert kind[0].startswith(b"multipart/byteranges; boundary=")
    assert b"content-range" not in said.head.fields
    assert said.head.fields.all(b"content-length") == [b"%d" % len(said.body)]
    assert said.body.count(b"Content-Type: text/plain\r\n") == 2


def test_R4_order_of_conditions() -> None:
    range_ = (b"Range", b"bytes=0-2")
    assert ask(entry(), range_, (b"If-None-Match", b'"a"')).head.status == 304
    assert ask(entry(), range_, (b"If-None-Match", b'"b"')).head.status == 206
    assert ask(entry(), range_, (b"If-Range", b'W/"a"')).head.status == 200
    assert ask(entry(), range_, (b"If-Range", b'"a"')).head.status == 206


def test_R6_part_of_a_part() -> None:
    held = entry((b"Content-Range", b"bytes 0-11/20"), status=206, flags=Flag.PARTIAL)
    said = ask(held, (b"Range", b"bytes=1-3"))
    assert (said.head.status, said.body) == (206, b"bcd")
    assert said.head.fields.all(b"content-range") == [b"bytes 1-3/20"]


def test_R12_content_range_without_meaning_is_replayed() -> None:
    held = entry((b"Content-Range", b"junk"))
    assert ask(held).head.fields.all(b"content-range") == [b"junk"]
    assert ask(held, (b"Range", b"bytes=0-2")).head.fields.all(b"content-range") == [b"bytes 0-2/12"]


def test_V4_condition_of_the_client_after_a_validation() -> None:
    modified = format_date(T - 5000)
    held = entry((b"Last-Modified", modified))
    assert ask(held, (b"If-Modified-Since", modified)).head.status == 304
    assert ask(held).head.status == 200


def test_R11_range_after_a_validation() -> None:
    said = ask(entry(), (b"Range", b"bytes=0-2"), (b"If-Range", b'"a"'))
    assert (said.head.status, said.body) == (206, b"abc")
