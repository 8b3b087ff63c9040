"""Which coding a client gets, which responses may be sent in one, and with which fields."""

from __future__ import annotations

import pytest

from caching_proxy.http.messages import Fields, RequestHead
from caching_proxy.rules.encodings import asks_for_form, coded, is_text, marked, negotiable, preferred
from caching_proxy.rules.entry import CacheEntry

ALL = (b"zstd", b"br", b"gzip")


@pytest.mark.parametrize(
    ("accepted", "offered", "coding"),
    [
        (None, ALL, None),
        ("", ALL, None),
        ("gzip", ALL, b"gzip"),
        ("GZIP", ALL, b"gzip"),
        ("x-gzip", ALL, b"gzip"),
        ("gzip, deflate, br, zstd", ALL, b"zstd"),
        ("gzip, deflate, br, zstd", (b"gzip", b"br"), b"gzip"),
        ("gzip;q=1.0, br;q=0.5", ALL, b"gzip"),
        ("gzip;q=0.5, br;q=0.501", ALL, b"br"),
        ("gzip;q=0", ALL, None),
        ("gzip;q=0.000, br;q=0", ALL, None),
        ("deflate", ALL, None),
        ("identity", ALL, None),
        ("identity;q=1, gzip;q=0.5", ALL, None),
        ("identity;q=0.5, gzip;q=0.5", ALL, b"gzip"),
        ("identity;q=0, gzip;q=0.1", ALL, b"gzip"),
        ("identity;q=0", ALL, None),
        ("*", ALL, b"zstd"),
        ("*;q=0", ALL, None),
        ("*;q=0.1", ALL, b"zstd"),
        ("gzip;q=0.2, *;q=0.1", ALL, b"gzip"),
        ("zstd;q=0, *", ALL, b"br"),
        ("gzip;q=0.001", ALL, b"gzip"),
        ("gzip;q=2", ALL, None),
        ("gzip;level=9", ALL, None),
        ("gzip;;", ALL, None),
        ("br;q=1, gzip;q=1", (), None),
        (" gzip ;q=1 , , br;q=0.2", ALL, b"gzip"),
    ],
)
def test_the_coding_for_a_client(accepted: str | None, offered: tuple[bytes, ...], coding: bytes | None) -> None:
    assert preferred([] if accepted is None else [accepted.encode()], offered) == coding


def test_several_lines_are_one_list() -> None:
    assert preferred([b"gzip;q=0.1", b"br;q=0.9"], ALL) == b"br"


def test_parts_are_of_the_identity_form() -> None:
    fields = [(b"Accept-Encoding", b"gzip")]
    assert asks_for_form(RequestHead(b"GET", b"/", Fields(fields)), ALL) == b"gzip"
    assert asks_for_form(RequestHead(b"GET", b"/", Fields([*fields, (b"Range", b"bytes=0-1")])), ALL) is None


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (b"text/html; charset=utf-8", True),
        (b"TEXT/CSS", True),
        (b"application/json", True),
        (b"application/problem+json;x=y", True),
        (b"image/svg+xml", True),
        (b"application/javascript", True),
        (b"text/event-stream", False),
        (b"image/png", False),
        (b"application/octet-stream", False),
        (b"application/zip", False),
        (b"", False),
        (None, False),
    ],
)
def test_types(kind: bytes | None, text: bool) -> None:
    assert is_text(kind) is text


TEXT = (b"Content-Type", b"text/plain")


@pytest.mark.parametrize(
    ("status", "fields", "may"),
    [
        (200, [TEXT], True),
        (206, [TEXT], False),
        (404, [TEXT], False),
        (200, [], False),
        (200, [TEXT, (b"Content-Encoding", b"gzip")], False),
        (200, [TEXT, (b"Content-Encoding", b"identity")], False),
        (200, [TEXT, (b"Cache-Control", b"max-age=5, No-Transform")], False),
        (200, [TEXT, (b"Cache-Control", b"max-age=5"), (b"Cache-Control", b"no-transform")], False),
        (200, [TEXT, (b"Content-MD5", b"x")], False),
        (200, [TEXT, (b"Repr-Digest", b"x")], False),
        (200, [TEXT, (b"Vary", b"*")], True),
    ],
)
def test_responses_that_may_be_compressed(status: int, fields: list[tuple[bytes, bytes]], may: bool) -> None:
    assert negotiable(status, Fields(fields)) is may


def entry(*fields: tuple[bytes, bytes]) -> CacheEntry:
    return CacheEntry(b"k", 200, b"OK", Fields([TEXT, *fields]).encoded(), b"body", 1000.0, lifetime=60)


@pytest.mark.parametrize(("given", "tags"), [(b'"x"', [b'W/"x"']), (b'W/"x"', [b'W/"x"']), (None, [])])
def test_a_forms_fields(given: bytes | None, tags: list[bytes]) -> None:
    before = entry((b"Accept-Ranges", b"bytes"), *([(b"ETag", given)] if given else []))
    form = coded(before, b"gzip", b"packed")
    assert form.fields.all(b"etag") == tags
    assert form.fields.all(b"content-encoding") == [b"gzip"]
    assert form.fields.all(b"vary") == [b"Accept-Encoding"]
    assert form.fields.all(b"accept-ranges") == []
    assert form.fields.all(b"content-type") == [b"text/plain"]
    assert (form.body, form.lifetime, form.received_at, before.body) == (b"packed", 60, 1000.0, b"body")


@pytest.mark.parametrize(
    ("vary", "lines"),
    [
        ([], [b"Accept-Encoding"]),
        ([b"Cookie"], [b"Cookie", b"Accept-Encoding"]),
        ([b"Cookie, accept-ENCODING"], [b"Cookie, accept-ENCODING"]),
        ([b"*"], [b"*"]),
    ],
)
def test_Vary_tells_of_it_once(vary: list[bytes], lines: list[bytes]) -> None:
    once = marked(entry(*[(b"Vary", line) for line in vary]))
    assert once.fields.all(b"vary") == lines
    assert marked(once) is once
