"""What of a response is kept: sections 4 and 12 of the caching rules."""

from __future__ import annotations

import pytest

from caching_proxy.http.dates import format_date
from caching_proxy.http.messages import Field, Fields, RequestHead, ResponseHead
from caching_proxy.rules.entry import CacheEntry, Flag
from caching_proxy.rules.make_entry import make_entry
from caching_proxy.rules.policy import CachePolicy
from caching_proxy.rules.storability import judge

NOW = 1_800_000_000.5
POLICY = CachePolicy(default_ttl=0, cookie_bypass=False, keep_stale=600)
DATE = (b"Date", format_date(NOW))
FRESH = (b"Cache-Control", b"max-age=900")


def kept(*pairs: Field, status: int = 200, body: bytes = b"body", policy: CachePolicy = POLICY) -> CacheEntry:
    request = RequestHead(b"GET", b"/x", Fields([(b"Foo", b"1")]))
    response = ResponseHead(status, b"Fine", Fields(pairs))
    verdict = judge(
        request, response, policy=policy, established=True, has_body=False, requested_at=NOW, received_at=NOW
    )
    return make_entry(b"cache:GET:anonymous:/x", request, response, body, verdict, policy, NOW)


def test_H1_end_to_end_fields_are_kept_byte_for_byte() -> None:
    pairs = (
        (b"content-TYPE", b"text/plain;charset=x"),
        (b"Content-Encoding", b"zebra"),
        (b"ETag", b'W/"\xff"'),
        (b"X-Unknown", b'a ,b  ,"c'),
        (b"Content-MD5", b"x"),
        (b"Clear-Site-Data", b'"*"'),
        (b"X-Cache-Hits", b"3"),
        FRESH,
        DATE,
    )
    entry = kept(*pairs)
    assert entry.fields.pairs == pairs
    assert (entry.status, entry.reason, entry.body) == (200, b"Fine", b"body")


def test_H2_same_named_lines_keep_their_order() -> None:
    entry = kept((b"Set-Cookie", b"a=1"), FRESH, (b"set-cookie", b"b=2"), (b"Set-Cookie2", b"c=3"))
    assert entry.fields.all(b"set-cookie") == [b"a=1", b"b=2"]
    assert entry.fields.all(b"set-cookie2") == [b"c=3"]


def test_H3_connection_and_what_it_names_are_not_stored() -> None:
    entry = kept((b"Connection", b"p, Q"), (b"P", b"1"), (b"q", b"2"), (b"Z", b"3"), FRESH, DATE)
    assert entry.fields.pairs == ((b"Z", b"3"), FRESH, DATE)


@pytest.mark.parametrize(
    "name", [b"Keep-Alive", b"Proxy-Connection", b"TE", b"Transfer-Encoding", b"Upgrade", b"upgrade"]
)
def test_H4_hop_by_hop_fields_are_not_stored(name: bytes) -> None:
    assert kept((name, b"x"), FRESH, DATE).fields.pairs == (FRESH, DATE)


@pytest.mark.parametrize("name", [b"Proxy-Authenticate", b"Proxy-Authentication-Info", b"Proxy-Authorization"])
def test_H5_proxy_authentication_is_not_stored(name: bytes) -> None:
    assert kept((name, b"x"), FRESH, DATE).fields.pairs == (FRESH, DATE)


def test_H6_the_trailer_field_is_not_stored() -> None:
    assert kept((b"Trailer", b"X-T"), FRESH, DATE).fields.pairs == (FRESH, DATE)


def test_H7_H8_length_age_and_our_own_fields_are_written_anew() -> None:
    entry = kept((b"Content-Length", b"4"), (b"Age", b"40"), (b"X-Cache-Status", b"HIT"), FRESH, DATE)
    assert entry.fields.pairs == (FRESH, DATE)
    assert entry.age(NOW + 3) == 43


def test_H9_date_and_expires_are_kept_unchanged() -> None:
    date, expires = (b"Date", b"Friday, 15-Jan-27 07:59:00 GMT"), (b"Expires", b"Thu, 01 Jan 2285 00:00:00 GMT")
    assert kept(date, expires).fields.pairs == (date, expires)


@pytest.mark.parametrize(
    "pairs", [((b"Connection", b"Date"), FRESH), ((b"Cache-Control", b'no-cache="date", max-age=900'),)]
)
def test_D12_date_that_is_not_kept_gives_way_to_that_of_receipt(pairs: tuple[Field, ...]) -> None:
    old = (b"Date", format_date(NOW - 60))
    assert kept(old, *pairs).fields.pairs == (pairs[-1], (b"Date", b"Fri, 15 Jan 2027 08:00:00 GMT"))


@pytest.mark.parametrize("pairs", [(), ((b"Date", b"soon"),)], ids=["none", "invalid"])
def test_D12_date_of_receipt_is_added(pairs: tuple[Field, ...]) -> None:
    assert kept(*pairs, FRESH).fields.pairs == (FRESH, (b"Date", b"Fri, 15 Jan 2027 08:00:00 GMT"))


def test_B10_private_fields_are_left_out() -> None:
    control = (b"Cache-Control", b'private="X-U", max-age=900')
    assert kept(control, (b"x-u", b"me"), (b"X-V", b"1"), DATE).fields.pairs == (control, (b"X-V", b"1"), DATE)


def test_B12_no_cache_fields_are_left_out() -> None:
    entry = kept((b"Cache-Control", b'no-cache="a"'), FRESH, (b"A", b"1"), (b"B", b"2"))
    assert b"a" not in entry.fields
    assert entry.fields.first(b"b") == b"2"


@pytest.mark.parametrize(
    ("value", "age", "keep"),
    [
        (b"max-age=900", b"0", 1500),
        (b"max-age=900", b"300", 1200),
        (b"max-age=900", b"1000", 600),
        (b"max-age=900, must-revalidate", b"0", 1500),
        (b"max-age=900, stale-while-revalidate=60", b"0", 1500),
        (b"max-age=900, stale-while-revalidate=7000", b"0", 7900),
        (b"max-age=900, stale-if-error=8000, stale-while-revalidate=7000", b"0", 8900),
    ],
)
def test_Z5_entries_outlive_their_freshness(value: bytes, age: bytes, keep: int) -> None:
    assert kept((b"Cache-Control", value), (b"Age", age)).keep == keep


@pytest.mark.parametrize(("value", "part"), [(b"bytes 2-5/10", (2, 10)), (b"bytes 2-5/*", (2, None))])
def test_R5_a_part_knows_where_it_belongs(value: bytes, part: tuple[int, int | None]) -> None:
    entry = kept(FRESH, (b"Content-Range", value), status=206)
    assert entry.part == part
    assert Flag.PARTIAL in entry.flags
    assert entry.fields.first(b"content-range") == value


def test_Y1_selecting_values_come_along() -> None:
    assert kept(FRESH, (b"Vary", b"Foo")).selecting == ((b"foo", b"1"),)


def test_a_refused_response_makes_no_entry() -> None:
    with pytest.raises(ValueError, match="no-store"):
        kept((b"Cache-Control", b"no-store"))
