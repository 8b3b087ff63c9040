"""Section 2 of the caching rules, the part about dates."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caching_proxy.http.dates import format_date, parse_date

NOW = 1_800_000_000.0  # Fri, 15 Jan 2027 08:00:00 GMT
AUGUST_2051 = 2_575_936_878
TUESDAY_2051 = 2_575_072_878


def test_D4_the_constants_mean_what_they_say() -> None:
    utc = datetime.UTC
    assert datetime.datetime(2051, 8, 18, 2, 1, 18, tzinfo=utc).timestamp() == AUGUST_2051
    assert datetime.datetime(2051, 8, 8, 2, 1, 18, tzinfo=utc).timestamp() == TUESDAY_2051


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"Fri, 18 Aug 2051 02:01:18 GMT", AUGUST_2051),
        (b"Friday, 18-Aug-51 02:01:18 GMT", AUGUST_2051),
        (b"Tue Aug  8 02:01:18 2051", TUESDAY_2051),
        (b"Fri Aug 18 02:01:18 2051", AUGUST_2051),
    ],
    ids=["imf", "rfc850", "asctime", "asctime-two-digits"],
)
def test_D4_three_forms(text: bytes, expected: int) -> None:
    assert parse_date(text, NOW) == expected


@pytest.mark.parametrize("text", [b"Mon, 18 Aug 2051 02:01:18 GMT", b"Sunday, 18-Aug-51 02:01:18 GMT"])
def test_D5_weekday_need_not_fit(text: bytes) -> None:
    assert parse_date(text, NOW) == AUGUST_2051


def year(timestamp: int | None) -> int:
    assert timestamp is not None
    return datetime.datetime.fromtimestamp(timestamp, datetime.UTC).year


@pytest.mark.parametrize(
    ("digits", "expected"),
    [(b"51", 2051), (b"99", 1999), (b"00", 2000), (b"27", 2027), (b"76", 2076), (b"78", 1978)],
)
def test_D6_two_digit_years(digits: bytes, expected: int) -> None:
    assert year(parse_date(b"Friday, 18-Aug-%b 02:01:18 GMT" % digits, NOW)) == expected


@pytest.mark.parametrize(("day", "expected"), [(b"14-Jan", 2077), (b"15-Jan", 2077), (b"16-Jan", 1977)])
def test_D6_fifty_years_to_the_day(day: bytes, expected: int) -> None:
    assert year(parse_date(b"Friday, %b-77 02:01:18 GMT" % day, NOW)) == expected


def test_D6_near_the_end_of_a_century() -> None:
    assert year(parse_date(b"Friday, 18-Aug-10 02:01:18 GMT", 3_900_000_000.0)) == 2110


@pytest.mark.parametrize(
    "text",
    [b"FRI, 18 AUG 2051 02:01:18 gmt", b"fRIDAY, 18-aUG-51 02:01:18 Gmt", b"fri aug 18 02:01:18 2051"],
)
def test_D7_case_is_ignored(text: bytes) -> None:
    assert parse_date(text, NOW) == AUGUST_2051


@pytest.mark.parametrize("zone", [b"UTC", b"AEST", b"+0000", b"Z", b"", b"GMT+1", b"UT"])
def test_D8_any_other_zone_is_invalid(zone: bytes) -> None:
    assert parse_date(b"Fri, 18 Aug 2051 02:01:18 " + zone, NOW) is None


@pytest.mark.parametrize(
    "text",
    [
        b"Fri 18 Aug 2051 02:01:18 GMT",
        b"Fri, 18  Aug 2051 02:01:18 GMT",
        b"Fri,  18 Aug 2051 02:01:18 GMT",
        b"Fri,18 Aug 2051 02:01:18 GMT",
        b"Fri, 18-Aug-2051 02:01:18 GMT",
        b"Fri, 18 Aug 51 02:01:18 GMT",
        b"Fri, 18 Aug 2051 02.01.18 GMT",
        b"Fri, 18 Aug 2051 2:01:18 GMT",
        b"Fri, 8 Aug 2051 02:01:18 GMT",
        b"Fri, 18 Aug 2051 24:01:18 GMT",
        b"Fri, 18 Aug 2051 02:60:18 GMT",
        b"Fri, 18 Aug 2051 02:01:61 GMT",
        b"Fri, 18 August 2051 02:01:18 GMT",
        b"Friday, 18 Aug 2051 02:01:18 GMT",
        b"Fri, 18-Aug-51 02:01:18 GMT",
        b"Xyz, 18 Aug 2051 02:01:18 GMT",
        b"18 Aug 2051 02:01:18 GMT",
        b"Fri, 18 Aug 2051 02:01 GMT",
        b"Fri, 00 Aug 2051 02:01:18 GMT",
        b"Fri, 30 Feb 2051 02:01:18 GMT",
        b"Fri, 18 Aug 0000 02:01:18 GMT",
        b"Fri, 18 Aug 02051 02:01:18 GMT",
        b"Tue Aug 8 02:01:18 2051",
        b"Tue Aug  8 02:01:18 51",
        b"Tue Aug  8 02:01:18 2051 GMT",
        b" Fri, 18 Aug 2051 02:01:18 GMT",
        b"Fri, 18 Aug 2051 02:01:18 GMT ",
        b"Fri, 18 Aug 2051 02:01:18 GMT\n",
        b"2051-08-18T02:01:18Z",
        b"2575936878",
        b"0",
        b"-1",
        b"",
    ],
)
def test_D9_every_deviation_is_invalid(text: bytes) -> None:
    assert parse_date(text, NOW) is None


def test_D9_a_leap_second_is_no_deviation() -> None:
    assert parse_date(b"Fri, 18 Aug 2051 02:01:60 GMT", NOW) == AUGUST_2051 + 42


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"Thu, 01 Jan 2285 00:00:00 GMT", 9_940_492_800),
        (b"Tue, 19 Jan 2038 03:14:08 GMT", 2**31),
        (b"Fri, 31 Dec 9999 23:59:59 GMT", 253_402_300_799),
        (b"Mon, 01 Jan 0001 00:00:00 GMT", -62_135_596_800),
        (b"Thu, 01 Jan 1970 00:00:00 GMT", 0),
    ],
)
def test_D11_far_dates(text: bytes, expected: int) -> None:
    assert parse_date(text, NOW) == expected
    assert format_date(expected) == text


def test_format_drops_fractions_and_clamps() -> None:
    assert format_date(0.999) == b"Thu, 01 Jan 1970 00:00:00 GMT"
    assert format_date(1e18) == b"Fri, 31 Dec 9999 23:59:59 GMT"
    assert format_date(-1e18) == b"Mon, 01 Jan 0001 00:00:00 GMT"


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.integers(-62_135_596_800, 253_402_300_799))
def test_format_and_parse_are_inverse(timestamp: int) -> None:
    assert parse_date(format_date(timestamp), NOW) == timestamp


LETTERS = st.text("FriTueday, -0123456789:AugJanGMT", max_size=40).map(str.encode)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.binary(max_size=40) | LETTERS, st.floats(-1e12, 1e12))
def test_no_bytes_raise(value: bytes, now: float) -> None:
    assert parse_date(value, now) is None


@settings(deadline=None, derandomize=True, max_examples=200)
@given(
    st.sampled_from([b"Fri, 18 Aug 2051 02:01:18 GMT", b"Friday, 18-Aug-51 02:01:18 GMT", b"Tue Aug  8 02:01:18 2051"]),
    st.integers(0, 29),
    st.binary(min_size=1, max_size=1),
)
def test_one_byte_more_is_never_a_date(text: bytes, place: int, extra: bytes) -> None:
    assert parse_date(text[:place] + extra + text[place:], NOW) is None


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.integers(0, 99), st.integers(1, 31), st.sampled_from([b"Jan", b"Feb", b"Dec"]), st.floats(0, 2.5e11))
def test_two_digit_years_are_near(digits: int, day: int, month: bytes, now: float) -> None:
    found = parse_date(b"Monday, %02d-%b-%02d 00:00:00 GMT" % (day, month, digits), now)
    if found is not None:
        assert -51 * 366 * 86400 < found - now <= 50 * 365.25 * 86400 + 2 * 86400
