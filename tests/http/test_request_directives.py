"""What a client asks of the cache (HTTP-CACHING.md section 5, SPEC section 6)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caching_proxy.http.messages import Fields
from caching_proxy.http.request_directives import ANY_STALENESS, NO_DIRECTIVES, RequestControl, parse_request_control


def wishes(*pairs: tuple[bytes, bytes], client_refresh: bool = True) -> RequestControl:
    return parse_request_control(Fields(pairs), client_refresh)


@pytest.mark.parametrize(
    "pair",
    [
        pytest.param((b"Cache-Control", b"no-cache"), id="no-cache"),
        pytest.param((b"Cache-Control", b"x, No-Cache"), id="no-cache-case"),
        pytest.param((b"Pragma", b"no-cache"), id="pragma"),
        pytest.param((b"Pragma", b"NO-CACHE"), id="pragma-case"),
        pytest.param((b"Cache-Refresh", b"true"), id="cache-refresh"),
        pytest.param((b"X-Cache-Refresh", b" TRUE "), id="x-cache-refresh-case"),
    ],
)
def test_Q1_refresh(pair: tuple[bytes, bytes]) -> None:
    assert wishes(pair) == RequestControl(refresh=True, explicit_no_cache=True)
    assert wishes(pair, client_refresh=False) == NO_DIRECTIVES


def test_Q1_refresh_field_beside_cache_control() -> None:
    control = wishes((b"Cache-Control", b"max-stale=5"), (b"X-Cache-Refresh", b"true"))
    assert (control.refresh, control.explicit_no_cache, control.max_stale) == (True, True, 5)


def test_Q2_max_age() -> None:
    assert wishes((b"Cache-Control", b"max-age=60")) == RequestControl(max_age=60)
    zero = wishes((b"Cache-Control", b"max-age=0"))
    assert (zero.refresh, zero.explicit_no_cache, zero.max_age) == (True, False, 0)
    assert wishes((b"Cache-Control", b"max-age=0"), client_refresh=False) == NO_DIRECTIVES


def test_Q2_limit_that_is_no_number_is_no_wish() -> None:
    assert wishes((b"Cache-Control", b"max-age=soon, min-fresh=-1, max-stale=x, stale-if-error=")) == NO_DIRECTIVES


def test_Q3_min_fresh() -> None:
    assert wishes((b"Cache-Control", b"min-fresh=500")) == RequestControl(min_fresh=500)
    assert wishes((b"Cache-Control", b"min-fresh=500"), client_refresh=False) == NO_DIRECTIVES


@pytest.mark.parametrize(("text", "limit"), [(b"max-stale", ANY_STALENESS), (b"max-stale=60", 60), (b"other", None)])
def test_Q4_max_stale(text: bytes, limit: int | None) -> None:
    assert wishes((b"Cache-Control", text), client_refresh=False).max_stale == limit


def test_Q5_other_directives_are_combined_over_lines() -> None:
    control = wishes((b"Cache-Control", b"only-if-cached"), (b"cache-control", b"no-store, stale-if-error=30"))
    assert control == RequestControl(only_if_cached=True, stale_if_error=30)


@pytest.mark.parametrize(
    "pairs",
    [
        pytest.param([(b"Pragma", b"zzz")], id="unknown"),
        pytest.param([(b"Pragma", b"no-cache"), (b"Cache-Control", b"zebra")], id="beside-cache-control"),
        pytest.param([(b"Cache-Refresh", b"false")], id="refresh-false"),
        pytest.param([(b"Accept", b"no-cache")], id="another-field"),
    ],
)
def test_Q7_no_wish(pairs: list[tuple[bytes, bytes]]) -> None:
    assert wishes(*pairs) == NO_DIRECTIVES


@settings(deadline=None, derandomize=True, max_examples=150)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"Cache-Control", b"Pragma", b"Cache-Refresh", b"X-Cache-Refresh"]), st.binary(max_size=40)
        )
    )
)
def test_no_bytes_raise(pairs: list[tuple[bytes, bytes]]) -> None:
    control = parse_request_control(Fields(pairs), True)
    assert control.refresh or not control.explicit_no_cache
