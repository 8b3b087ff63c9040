"""Section 16 of the caching rules: CDN-Cache-Control."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caching_proxy.http.cache_control import SATURATED, CacheControl
from caching_proxy.http.hop_by_hop import response_to_client
from caching_proxy.http.messages import Field, Fields, ResponseHead
from caching_proxy.http.targeted_control import parse_targeted, select_control
from caching_proxy.rules.freshness import Freshness, assess
from caching_proxy.rules.policy import CachePolicy

CDN = (b"cdn-cache-control",)
NOW = 1_800_000_000.0


def assessed(*pairs: Field) -> Freshness:
    fields = Fields(pairs)
    control, use_expires = select_control(fields, CDN)
    return assess(ResponseHead(200, b"OK", fields), control, use_expires, CachePolicy(), NOW, NOW)


@pytest.mark.parametrize(
    "others",
    [
        (),
        ((b"Cache-Control", b"no-store"),),
        ((b"Cache-Control", b"max-age=2"),),
        ((b"Expires", b"Thu, 01 Jan 1998 00:00:00 GMT"),),
        ((b"Expires", b"0"),),
    ],
    ids=["alone", "no-store", "max-age", "past-expires", "invalid-expires"],
)
def test_T1_targeted_field_decides_alone(others: tuple[Field, ...]) -> None:
    fields = Fields([*others, (b"CDN-Cache-Control", b"max-age=900")])
    control, use_expires = select_control(fields, CDN)
    assert not use_expires
    assert not control.has(b"no-store")
    assert assessed(*fields).lifetime == 900


def test_T1_the_first_valid_target_decides() -> None:
    fields = Fields([(b"B", b"max-age=2"), (b"A", b"max-age=1,"), (b"C", b"max-age=3"), (b"D", b"")])
    assert select_control(fields, (b"d", b"a", b"b", b"c"))[0].seconds(b"max-age") == 2
    assert select_control(fields, (b"c", b"b"))[0].seconds(b"max-age") == 3


def test_T1_list_may_be_empty() -> None:
    fields = Fields([(b"CDN-Cache-Control", b"max-age=900"), (b"Cache-Control", b"no-store")])
    control, use_expires = select_control(fields, ())
    assert use_expires
    assert control == CacheControl.parse([b"no-store"])


def test_T1_expires_does_not_count_where_the_target_states_no_lifetime() -> None:
    future = (b"Expires", b"Thu, 01 Jan 2285 00:00:00 GMT")
    assert not assessed((b"CDN-Cache-Control", b"must-revalidate"), future).explicit


@pytest.mark.parametrize("value", [b"max-age=0", b"max-age=2", b"private", b"no-store", b"no-cache"])
def test_T2_stricter_counts_as_well(value: bytes) -> None:
    fields = Fields([(b"Cache-Control", b"max-age=900"), (b"CDN-Cache-Control", value)])
    control, use_expires = select_control(fields, CDN)
    assert not use_expires
    assert control.seconds(b"max-age") != 900
    assert control.has(value.partition(b"=")[0])


@pytest.mark.parametrize(
    "value",
    [
        b"max-age=900, &&&",
        b"Max-Age=900",
        b"max-age =900",
        b"max-age= 900",
        b"max-age=900,",
        b",max-age=900",
        b"max-age=900,,public",
        b"max-age=900 public",
        b"max-age=9000000000000000",
        b"max-age=",
        b'x="a',
        b'x="\x80"',
        b'x="\\a"',
        b"x=(1 2",
        b"x=(1,2)",
        b"x=1.2345",
        b"x=1.",
        b"x=?2",
        b"x=:%:",
        b"x;A=1",
        b"\tmax-age=900",
    ],
)
def test_T3_any_error_discards_the_field(value: bytes) -> None:
    assert parse_targeted([value]) is None
    fields = Fields([(b"CDN-Cache-Control", value), (b"Cache-Control", b"no-store")])
    control, use_expires = select_control(fields, CDN)
    assert use_expires
    assert control.has(b"no-store")


def test_T3_lines_are_joined_and_the_last_duplicate_wins() -> None:
    control = parse_targeted([b"max-age=2, public", b"max-age=900"])
    assert control is not None
    assert control.seconds(b"max-age") == 900
    assert control.has(b"public")


@pytest.mark.parametrize(
    "value",
    [
        b'max-age="900"',
        b"max-age=900.0",
        b"max-age=-1",
        b"max-age",
        b"max-age=?1",
        b"max-age=(900)",
        b"no-store=1",
        b"no-store=?0",
        b"public=yes",
        b"private=token",
        b"no-cache=1",
        b"max-age=900, stale-if-error=x",
    ],
)
def test_T4_wrong_type_discards_the_field(value: bytes) -> None:
    assert parse_targeted([value]) is None


@pytest.mark.parametrize(
    "value",
    [
        b"zebra, max-age=900",
        b'zebra="a, no-store";q, max-age=900;x="b";y=1.5',
        b'z=(a 1.5 "x";k ?0);m=:YQ==:, max-age=900',
        b"*x=*y/z:, max-age=00900",
        b"  max-age=900  ,\tpublic ",
        b"a=-1, max-age=900",
    ],
)
def test_T4_unknown_keys_and_parameters_are_ignored(value: bytes) -> None:
    control = parse_targeted([value])
    assert control is not None
    assert control.seconds(b"max-age") == 900
    assert not control.has(b"no-store")


def test_T4_strings_list_fields() -> None:
    control = parse_targeted([b'private="A, b", no-cache="c\\"", max-age=1'])
    assert control is not None
    assert control.fields_of(b"private") == (b"a", b"b")
    assert control.unqualified(b"no-cache")


def test_T5_age_and_saturation() -> None:
    assert assessed((b"CDN-Cache-Control", b"max-age=900"), (b"Age", b"1000")).remaining == 0
    assert assessed((b"CDN-Cache-Control", b"max-age=88888888888")).lifetime == SATURATED
    assert assessed((b"CDN-Cache-Control", b"max-age=999999999999999")).lifetime == SATURATED


def test_T5_shared_lifetime_and_stale_windows() -> None:
    found = assessed((b"CDN-Cache-Control", b"max-age=9, s-maxage=5, stale-while-revalidate=7, stale-if-error=8"))
    assert (found.lifetime, found.stale_while_revalidate, found.stale_if_error) == (5, 7, 8)


@pytest.mark.parametrize("name", [b"CDN-Cache-Control", b"Other-Cache-Control"])
def test_T6_forwarded_unchanged(name: bytes) -> None:
    assert response_to_client(Fields([(name, b"foo,,")])).pairs == ((name, b"foo,,"),)


def test_T6_unlisted_targets_have_no_effect() -> None:
    control, use_expires = select_control(Fields([(b"Other-Cache-Control", b"no-store")]), CDN)
    assert use_expires
    assert not control.directives


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.lists(st.text('max-age=901,;"\\?:() .*x', max_size=30).map(str.encode) | st.binary(max_size=30), max_size=3))
def test_no_bytes_raise(lines: list[bytes]) -> None:
    control = parse_targeted(lines)
    assert control is None or 0 <= (control.seconds(b"max-age") or 0) <= SATURATED


def test_parsing_takes_time_in_proportion() -> None:
    assert parse_targeted([b"x=(" + b"a;b " * 10_000]) is None
    assert parse_targeted([b"x" + b";a=1" * 10_000 + b";"]) is None
