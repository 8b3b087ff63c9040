"""Section 1 of the caching rules: parsing Cache-Control."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caching_proxy.http.cache_control import SATURATED, CacheControl, Directive, delta_seconds
from caching_proxy.http.hop_by_hop import response_to_client
from caching_proxy.http.messages import Fields, RequestHead
from caching_proxy.rules.forwarding import request_to_backend


def parse(*lines: bytes) -> CacheControl:
    return CacheControl.parse(lines)


def names(control: CacheControl) -> list[bytes]:
    return [directive.name for directive in control.directives]


def test_P1_lines_form_one_ordered_list() -> None:
    control = parse(b"max-age=900, public", b"s-maxage=2")
    assert names(control) == [b"max-age", b"public", b"s-maxage"]
    assert control.seconds(b"s-maxage") == 2


@pytest.mark.parametrize("text", [b"nO-stORE", b"NO-STORE", b"no-store"])
def test_P2_names_ignore_case(text: bytes) -> None:
    assert parse(text).has(b"no-store")


@pytest.mark.parametrize("text", [b",max-age=60 ,,", b" , \t,max-age=60", b"max-age=60\t,"])
def test_P3_empty_members_and_whitespace(text: bytes) -> None:
    control = parse(text)
    assert names(control) == [b"max-age"]
    assert control.seconds(b"max-age") == 60


@pytest.mark.parametrize(
    "text",
    [
        b'x="max-age=900, no-store", max-age=2',
        b'"max-age=900, no-store", max-age=2',
        b'x=y"max-age=900, no-store"z, max-age=2',
        rb'x="a\", max-age=900, no-store", max-age=2',
        rb'x="\\", max-age=2, y="no-store"',
    ],
    ids=["value", "alone", "inside", "escaped-quote", "escaped-backslash"],
)
def test_P4_quoted_text_is_never_a_directive(text: bytes) -> None:
    control = parse(text)
    assert not control.has(b"no-store")
    assert control.seconds(b"max-age") == 2


@pytest.mark.parametrize("text", [b'x="a, no-store', b'x="a\\", no-store', b'"", y=", no-store, z'])
def test_P4_a_quote_that_never_closes_hides_no_restriction(text: bytes) -> None:
    assert parse(text).has(b"no-store")


def test_P4_a_quote_ends_with_its_line() -> None:
    assert parse(b'x="a', b"no-store").has(b"no-store")


def test_P5_unknown_directives_are_harmless() -> None:
    control = parse(b"zebra, k=v, max-age=900")
    assert control.seconds(b"max-age") == 900
    assert control.seconds(b"k") == 0
    assert control.seconds(b"absent") is None


@pytest.mark.parametrize(("text", "seconds"), [(b"00900", 900), (b"0", 0), (b"000", 0), (b"900", 900)])
def test_P6_delta_seconds(text: bytes, seconds: int) -> None:
    assert parse(b"max-age=" + text).seconds(b"max-age") == seconds


@pytest.mark.parametrize("digits", [b"2147483648", b"2147483650", b"88888888888", b"9" * 5000, b"0" * 5000 + b"9" * 11])
def test_P7_large_numbers_saturate(digits: bytes) -> None:
    assert parse(b"max-age=" + digits).seconds(b"max-age") == SATURATED


def test_P7_many_zeros_are_no_large_number() -> None:
    assert delta_seconds(b"0" * 5000 + b"7") == 7


MALFORMED = [b"=-5", b"=+5", b"='900'", b"=9.5", b"=a9", b"=9a", b"=", b"", b'=""', b"=9 0", b'="900', "=٣".encode()]


@pytest.mark.parametrize("argument", MALFORMED)
def test_P8_no_number_is_stale_not_absent(argument: bytes) -> None:
    control = parse(b"max-age" + argument)
    assert control.seconds(b"max-age") == 0
    assert control.malformed(b"max-age")


def test_P8_a_number_or_nothing_is_not_malformed() -> None:
    assert not parse(b"max-age=0").malformed(b"max-age")
    assert not parse(b"public").malformed(b"max-age")


@pytest.mark.parametrize("argument", [b'"900"', rb'"9\00"'])
def test_P9_quoted_number(argument: bytes) -> None:
    assert parse(b"max-age=" + argument).seconds(b"max-age") == 900


@pytest.mark.parametrize("text", [b"max-age= 900", b"max-age =900", b"max-age\t= 900", b'max-age= "900"'])
def test_P10_whitespace_beside_equals(text: bytes) -> None:
    control = parse(text)
    assert control.seconds(b"max-age") == 0
    assert control.malformed(b"max-age")


@pytest.mark.parametrize("lines", [(b"max-age=2, max-age=900",), (b"max-age=2", b"max-age=900")])
def test_P11_first_of_repeated_wins(lines: tuple[bytes, ...]) -> None:
    assert CacheControl.parse(lines).seconds(b"max-age") == 2


def test_P11_a_malformed_first_is_not_mended_by_a_second() -> None:
    assert parse(b"max-age=x, max-age=900").seconds(b"max-age") == 0


def test_P12_every_restriction_is_seen_beside_a_lifetime() -> None:
    control = parse(b"max-age=900, no-cache, private, no-store")
    assert control.unqualified(b"no-cache")
    assert control.unqualified(b"private")
    assert control.has(b"no-store")


def test_P12_unqualified_beats_qualified() -> None:
    control = parse(b'private="a", private')
    assert control.unqualified(b"private")


@pytest.mark.parametrize("text", [b"no-store=1", b'no-store="x, y"', b"no-store=", b"no-store =1"])
def test_P13_argument_does_not_disarm(text: bytes) -> None:
    assert parse(text).has(b"no-store")


@pytest.mark.parametrize(
    "argument", [b"", b"=", b'=""', b'=","', b'="a b"', b'="a', b'="a"b', b'= "a"', b' ="a"', b'="(, a"']
)
@pytest.mark.parametrize("name", [b"private", b"no-cache"])
def test_P13_unusable_list_is_unqualified(name: bytes, argument: bytes) -> None:
    control = parse(name + argument)
    assert control.unqualified(name)
    assert control.fields_of(name) == ()


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        (b'private="X-U"', (b"x-u",)),
        (b'private="A, b ,,C"', (b"a", b"b", b"c")),
        (b"private=X-U", (b"x-u",)),
        (b'private="a", private="b, a"', (b"a", b"b")),
    ],
    ids=["one", "list", "token", "two"],
)
def test_P13_usable_list(text: bytes, fields: tuple[bytes, ...]) -> None:
    control = parse(text)
    assert control.fields_of(b"private") == fields
    assert not control.unqualified(b"private")


def test_P14_forwarded_verbatim_both_ways() -> None:
    line = (b"cache-CONTROL", b'k=9,  max-age= 5,, x="a')
    assert line in response_to_client(Fields([line])).pairs
    sent = request_to_backend(
        RequestHead(b"GET", b"/", Fields([line])),
        host=b"h",
        client_ip=b"::1",
        scheme=b"http",
        request_id=b"1",
        proxy_name=b"p",
        trusted_peer=False,
        base_path=b"",
    )
    assert line in sent.head.fields.pairs


def test_valueless_tells_apart_what_counts_as_any() -> None:
    assert parse(b"max-stale").valueless(b"max-stale")
    assert not parse(b"max-stale=").valueless(b"max-stale")
    assert not parse(b"max-age=1").valueless(b"max-stale")


def test_directive_keeps_its_argument() -> None:
    assert parse(rb'a="\x, y", B=1').directives == (Directive(b"a", b"x, y"), Directive(b"b", b"1"))


BYTES = st.lists(
    st.text('",=\\ \tmaxge-09no-storeprivate', max_size=40).map(str.encode) | st.binary(max_size=40), max_size=4
)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(BYTES)
def test_no_bytes_raise(lines: list[bytes]) -> None:
    control = CacheControl.parse(lines)
    for directive in control.directives:
        name = directive.name
        assert control.has(name)
        assert 0 <= (control.seconds(name) or 0) <= SATURATED
        assert control.unqualified(name) or control.fields_of(name)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.lists(st.text('",=\\ \tax', max_size=20).map(str.encode), max_size=3))
def test_a_line_of_its_own_is_always_seen(lines: list[bytes]) -> None:
    assert CacheControl.parse([*lines, b"no-store"]).has(b"no-store")


def test_parsing_takes_time_in_proportion() -> None:
    control = parse(b'"\\' * 30_000 + b", no-store")
    assert control.has(b"no-store")
