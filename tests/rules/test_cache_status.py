"""The Cache-Status field (HTTP-CACHING.md section 15)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caching_proxy.rules.cache_status import append, member
from caching_proxy.rules.outcome import Forward

NAME = b"caching-proxy"


def test_K1_append_to_what_came() -> None:
    ours = member(NAME, forward=Forward.URI_MISS, stored=True)
    assert append([b"Inner; hit"], ours) == b"Inner; hit, caching-proxy; fwd=uri-miss; stored"
    assert append([b"A; hit", b" ", b"B; hit"], ours).startswith(b"A; hit, B; hit, caching-proxy;")
    assert append([], ours) == ours


@pytest.mark.parametrize("reason", list(Forward), ids=lambda reason: reason.value.decode())
def test_K2_reasons(reason: Forward) -> None:
    assert member(NAME, forward=reason) == b"caching-proxy; fwd=" + reason.value


def test_K2_hit_and_forward_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="either"):
        member(NAME, hit=True, forward=Forward.STALE)


def test_K3_forward_status() -> None:
    text = member(NAME, forward=Forward.STALE, forward_status=304, ttl=900)
    assert text == b"caching-proxy; fwd=stale; fwd-status=304; ttl=900"


@pytest.mark.parametrize(
    ("ttl", "text"), [(60, b"60"), (-2, b"-2"), (0, b"0"), (10**20, b"9" * 15)], ids=["fresh", "stale", "zero", "huge"]
)
def test_K4_ttl(ttl: int, text: bytes) -> None:
    assert member(NAME, hit=True, ttl=ttl) == b"caching-proxy; hit; ttl=" + text


def test_K5_a_hit() -> None:
    assert member(NAME, hit=True) == b"caching-proxy; hit"


def test_K6_booleans_and_strings() -> None:
    assert member(NAME, forward=Forward.URI_MISS, collapsed=False) == b"caching-proxy; fwd=uri-miss; collapsed=?0"
    assert member(NAME, forward=Forward.URI_MISS, collapsed=True) == b"caching-proxy; fwd=uri-miss; collapsed"
    assert member(NAME, hit=True, key=b'cache:"\\x') == b'caching-proxy; hit; key="cache:\\"\\\\x"'
    assert member(NAME, hit=True, key=b"/\xe9%41") == b'caching-proxy; hit; key="/%E9%41"'
    assert member(NAME, hit=True, detail=b"timeout") == b"caching-proxy; hit; detail=timeout"
    assert member(NAME, hit=True, detail=b"no answer") == b'caching-proxy; hit; detail="no answer"'


def test_K6_name_that_is_no_token() -> None:
    assert member(b"my proxy", hit=True) == b'"my proxy"; hit'
    assert member(b"1proxy", hit=True) == b'"1proxy"; hit'


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.binary(max_size=30))
def test_no_bytes_break_the_line(value: bytes) -> None:
    text = member(NAME, hit=True, key=value, detail=value)
    assert all(0x20 <= byte < 0x7F for byte in text)
    assert text.replace(b"\\\\", b"").replace(b'\\"', b"").count(b'"') in (2, 4)
