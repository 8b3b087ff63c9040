"""Sections 2 (Age, Expires, Date) and 3 of the caching rules: lifetime and age."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caching_proxy.http.cache_control import SATURATED
from caching_proxy.http.dates import format_date
from caching_proxy.http.hop_by_hop import with_date
from caching_proxy.http.messages import Field, Fields, RequestHead, ResponseHead
from caching_proxy.http.targeted_control import select_control
from caching_proxy.rules.entry import Flag
from caching_proxy.rules.freshness import Freshness, age_field, assess
from caching_proxy.rules.make_entry import make_entry
from caching_proxy.rules.policy import CachePolicy
from caching_proxy.rules.storability import judge

NOW = 1_800_000_000.25
NEVER_GUESS = CachePolicy(default_ttl=0)
TEN_DAYS = 864_000


def cc(value: bytes) -> Field:
    return b"Cache-Control", value


def date(name: bytes, offset: float) -> Field:
    return name, format_date(NOW + offset)


def assessed(
    *pairs: Field, status: int = 200, policy: CachePolicy = NEVER_GUESS, delay: float = 0.0, guess: bool = True
) -> Freshness:
    response = ResponseHead(status, b"", Fields(pairs))
    control, use_expires = select_control(response.fields, policy.targets)
    return assess(response, control, use_expires, policy, NOW - delay, NOW, guess=guess)


def is_fresh(found: Freshness, after: int = 0) -> bool:
    """Whether an entry made of this would be fresh ``after`` seconds in store."""
    return found.lifetime > found.initial_age + after


# -- section 2 -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "age"),
    [
        ([b"5000, 0"], 5000),
        ([b"5000", b"0"], 5000),
        ([b"0, 5000"], 0),
        ([b"9", b"9"], 9),
        ([b"7 ,x"], 7),
        ([], 0),
    ],
)
def test_D1_first_member_of_the_first_line(lines: list[bytes], age: int) -> None:
    assert age_field(Fields((b"Age", line) for line in lines)) == age


@pytest.mark.parametrize("value", [b"old", b"-5000", b"5000.0", b"5000;p=1", b"", b", 5000", b"+9", b'"9"'])
def test_D2_otherwise_age_is_ignored(value: bytes) -> None:
    assert is_fresh(assessed(cc(b"max-age=900"), (b"Age", value)))


@pytest.mark.parametrize("value", [b"2147483647", b"2147483648", b"2147483649", b"9" * 5000])
def test_D3_huge_ages_saturate(value: bytes) -> None:
    found = assessed(cc(b"max-age=900"), (b"Age", value))
    assert not is_fresh(found)
    assert found.initial_age <= SATURATED


def test_D3_saturated_age_beats_saturated_lifetime() -> None:
    assert not is_fresh(assessed(cc(b"max-age=99999999999"), (b"Age", b"99999999999")))


@pytest.mark.parametrize("value", [b"0", b"", b"-1", b"never", b"Fri 18 Aug 2051 02:01:18 GMT"])
def test_D9_invalid_expires_is_already_expired(value: bytes) -> None:
    found = assessed((b"Expires", value), date(b"Last-Modified", -TEN_DAYS))
    assert found.lifetime == 0
    assert found.explicit


def test_D10_two_expires_lines_are_expired() -> None:
    assert assessed(date(b"Expires", 900), date(b"Expires", 900)).lifetime == 0


def test_D11_expires_far_ahead() -> None:
    assert assessed((b"Expires", b"Thu, 01 Jan 2285 00:00:00 GMT")).lifetime == SATURATED


@pytest.mark.parametrize("pairs", [(), ((b"Date", b"soon"),), ((b"Date", b""),)], ids=["none", "invalid", "empty"])
def test_D12_without_a_valid_date_receipt_counts(pairs: tuple[Field, ...]) -> None:
    found = assessed(*pairs, date(b"Expires", 30))
    assert (found.lifetime, found.initial_age) == (30, 0)
    assert with_date(Fields(pairs), NOW).all(b"date") == [format_date(NOW)]


def test_D12_a_valid_date_stays() -> None:
    fields = Fields([date(b"Date", -9), (b"A", b"1")])
    assert with_date(fields, NOW) is fields


# -- section 3 -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pairs", [(cc(b"max-age=0"),), (date(b"Expires", 0), date(b"Date", 0))], ids=["max-age", "expires"]
)
def test_F1_equal_is_stale(pairs: tuple[Field, ...]) -> None:
    assert not is_fresh(assessed(*pairs))


def test_F1_fresh_while_lifetime_exceeds_age() -> None:
    found = assessed(cc(b"max-age=3"), (b"Age", b"1"))
    assert is_fresh(found, 1)
    assert not is_fresh(found, 2)


@pytest.mark.parametrize(
    "pairs",
    [
        (cc(b"max-age=900, s-maxage=2"),),
        (cc(b"s-maxage=2, max-age=900"),),
        (cc(b"max-age=900"), cc(b"s-maxage=2")),
        (cc(b"s-maxage=2"), date(b"Expires", 900)),
        (cc(b"max-age=2"), date(b"Expires", 900)),
        (date(b"Expires", 2), date(b"Last-Modified", -TEN_DAYS)),
    ],
)
def test_F2_first_present_counts(pairs: tuple[Field, ...]) -> None:
    assert assessed(*pairs).lifetime == 2


def test_F2_shared_lifetime_beats_zero_and_the_past() -> None:
    assert is_fresh(assessed(cc(b"max-age=0, s-maxage=900"), date(b"Expires", -900)))


@pytest.mark.parametrize("expires", [date(b"Expires", -900), (b"Expires", b"0")], ids=["past", "invalid"])
def test_F3_max_age_ignores_expires(expires: Field) -> None:
    assert assessed(cc(b"max-age=900"), expires).lifetime == 900


def test_F3_zero_ignores_a_future_expires() -> None:
    assert assessed(cc(b"max-age=0"), date(b"Expires", 900)).lifetime == 0


def test_P8_malformed_lifetime_falls_back_on_nothing() -> None:
    found = assessed(cc(b"max-age=9x, public"), date(b"Expires", 900), date(b"Last-Modified", -TEN_DAYS))
    assert found.lifetime == 0
    assert assessed(cc(b"s-maxage=9x, max-age=900")).lifetime == 0


def test_F4_the_origins_date_is_subtracted() -> None:
    assert assessed(date(b"Date", 500), date(b"Expires", 450)).lifetime == 0
    assert assessed(date(b"Date", -500), date(b"Expires", -450)).lifetime == 50


@pytest.mark.parametrize("skew", [-20, 20])
def test_F5_age_field_counts_whatever_the_date(skew: int) -> None:
    pairs = (date(b"Date", skew), date(b"Expires", skew + 25), (b"Age", b"30"))
    found = assessed(*pairs)
    assert (found.lifetime, found.initial_age) == (25, 30)


def test_F5_field_plus_delay_plus_time_in_store() -> None:
    assert not is_fresh(assessed(cc(b"max-age=900"), (b"Age", b"1000")))
    assert assessed(cc(b"max-age=900"), (b"Age", b"10"), delay=2.5).initial_age == 12
    assert not is_fresh(assessed(cc(b"max-age=2")), 3)


def test_F5_a_clock_set_back_adds_no_youth() -> None:
    assert assessed(cc(b"max-age=900"), (b"Age", b"10"), delay=-50).initial_age == 10


def test_F6_the_larger_of_both_ages() -> None:
    assert assessed(date(b"Date", -5000), cc(b"max-age=900")).initial_age == 5000
    assert assessed(date(b"Date", -50), (b"Age", b"60"), delay=2).initial_age == 62
    assert assessed(date(b"Date", 5000), cc(b"max-age=900")).initial_age == 0


def test_F7_a_tenth_of_the_time_since_modification() -> None:
    assert assessed(date(b"Last-Modified", -TEN_DAYS)).lifetime == TEN_DAYS // 10
    found = assessed(date(b"Date", -100), date(b"Last-Modified", -1100))
    assert (found.lifetime, found.explicit) == (100, False)


def test_F7_is_capped() -> None:
    assert assessed(date(b"Last-Modified", -100 * TEN_DAYS)).lifetime == NEVER_GUESS.heuristic_cap


@pytest.mark.parametrize("value", [b"yesterday", format_date(NOW + 9000)], ids=["invalid", "future"])
def test_F7_needs_a_valid_last_modified(value: bytes) -> None:
    assert assessed((b"Last-Modified", value)).lifetime == 0


@pytest.mark.parametrize(("status", "public", "lifetime"), [(404, b"", 100), (201, b"", 0), (599, b"public", 100)])
def test_F7_status_or_public(status: int, public: bytes, lifetime: int) -> None:
    assert assessed(cc(public), date(b"Last-Modified", -1000), status=status).lifetime == lifetime


@pytest.mark.parametrize(
    "stated",
    [date(b"Expires", -900), (b"Expires", b"0"), cc(b"max-age=0"), cc(b"max-age"), cc(b"s-maxage=x")],
    ids=["past", "invalid", "zero", "nothing", "malformed"],
)
@pytest.mark.parametrize("policy", [NEVER_GUESS, CachePolicy()], ids=["heuristics", "default"])
def test_F8_any_explicit_expiry_rules_out_guesses(stated: Field, policy: CachePolicy) -> None:
    found = assessed(stated, date(b"Last-Modified", -TEN_DAYS), policy=policy)
    assert (found.lifetime, found.explicit) == (0, True)


def test_F9_nothing_stated_is_zero() -> None:
    assert assessed().lifetime == 0
    assert assessed((b"ETag", b'"a"')).lifetime == 0


@pytest.mark.parametrize(
    ("value", "immutable"), [(b"max-age=900, immutable", True), (b"immutable=0", True), (b"max-age=900", False)]
)
def test_F10_immutable_is_recorded(value: bytes, immutable: bool) -> None:
    response = ResponseHead(200, b"OK", Fields([cc(value)]))
    verdict = judge(
        RequestHead(b"GET", b"/"),
        response,
        policy=CachePolicy(),
        established=True,
        has_body=False,
        requested_at=NOW,
        received_at=NOW,
    )
    assert (Flag.IMMUTABLE in verdict.flags) is immutable


# -- how the settings meet the rules -------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "lifetime"), [(200, 1800), (201, 1800), (204, 1800), (299, 1800), (206, 0), (301, 0), (404, 0), (500, 0)]
)
def test_Z1_default_is_for_successes_that_state_nothing(status: int, lifetime: int) -> None:
    found = assessed(status=status, policy=CachePolicy())
    assert (found.lifetime, found.explicit) == (lifetime, False)


@pytest.mark.parametrize(
    ("pairs", "lifetime"),
    [
        ((date(b"Last-Modified", -TEN_DAYS),), 1800),
        ((cc(b"public"),), 1800),
        ((cc(b"must-revalidate"),), 1800),
        ((cc(b'no-cache="a"'),), 1800),
        ((cc(b"no-cache"),), 0),
        ((cc(b"max-age=5"),), 5),
    ],
)
def test_Z1_default_replaces_other_guesses_only(pairs: tuple[Field, ...], lifetime: int) -> None:
    assert assessed(*pairs, policy=CachePolicy()).lifetime == lifetime


def test_Z1_other_statuses_keep_the_heuristic() -> None:
    assert assessed(date(b"Last-Modified", -1000), status=404, policy=CachePolicy()).lifetime == 100
    assert assessed(date(b"Last-Modified", -1000), status=206, policy=CachePolicy()).lifetime == 100


def test_Z1_no_guess_about_what_may_be_personal() -> None:
    modified = date(b"Last-Modified", -TEN_DAYS)
    assert assessed(modified, policy=CachePolicy(), guess=False).lifetime == 0
    assert assessed(cc(b"max-age=5"), policy=CachePolicy(), guess=False).lifetime == 5


WINDOWS = CachePolicy(default_ttl=0, stale_while_revalidate=10, stale_if_error=20)


@pytest.mark.parametrize(
    ("value", "windows"),
    [
        (b"max-age=5", (10, 20)),
        (b"max-age=5, stale-while-revalidate=1, stale-if-error=2", (1, 2)),
        (b"max-age=5, stale-while-revalidate=0, stale-if-error=x", (0, 0)),
        (b"max-age=0", (0, 0)),
        (b"max-age=0, stale-while-revalidate=1, stale-if-error=2", (1, 2)),
    ],
)
def test_Z1_stale_windows_are_defaults(value: bytes, windows: tuple[int, int]) -> None:
    found = assessed(cc(value), policy=WINDOWS)
    assert (found.stale_while_revalidate, found.stale_if_error) == windows


def test_an_entry_carries_its_freshness() -> None:
    response = ResponseHead(200, b"OK", Fields([cc(b"max-age=5"), (b"Age", b"2")]))
    request = RequestHead(b"GET", b"/")
    verdict = judge(
        request,
        response,
        policy=NEVER_GUESS,
        established=True,
        has_body=False,
        requested_at=NOW,
        received_at=NOW,
    )
    entry = make_entry(b"k", request, response, b"", verdict, NEVER_GUESS, NOW)
    assert entry.fresh(NOW + 2.9)
    assert not entry.fresh(NOW + 3)


ANY = st.binary(max_size=30) | st.text('max-age="s901, no-cache', max_size=30).map(str.encode)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(
    st.lists(st.tuples(st.sampled_from([b"Cache-Control", b"Age", b"Expires", b"Date", b"Last-Modified"]), ANY)),
    st.integers(100, 999),
    st.floats(-1e10, 1e12),
    st.floats(0, 1e6),
)
def test_no_bytes_raise(pairs: list[Field], status: int, received: float, delay: float) -> None:
    response = ResponseHead(status, b"", Fields(pairs))
    control, use_expires = select_control(response.fields, ())
    found = assess(response, control, use_expires, CachePolicy(), received - delay, received)
    assert 0 <= found.lifetime <= SATURATED
    assert 0 <= found.initial_age <= SATURATED
    assert 0 <= found.remaining <= found.lifetime
