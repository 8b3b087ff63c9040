"""Conditions of the client answered from the store (HTTP-CACHING.md section 8)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caching_proxy.http.dates import format_date
from caching_proxy.http.messages import Field, Fields, RequestHead
from caching_proxy.rules.conditional import (
    entity_tags,
    has_precondition,
    not_modified,
    not_modified_fields,
    weakly_equal,
)
from caching_proxy.rules.entry import CacheEntry

T = 1_900_000_000.0
LM = T - 5000


def entry(*pairs: Field, status: int = 200) -> CacheEntry:
    return CacheEntry(b"k", status, b"OK", Fields(pairs).encoded(), b"body", T, lifetime=900, keep=900)


def says_304(held: CacheEntry, *pairs: Field) -> bool:
    return not_modified(RequestHead(b"GET", b"/", Fields(pairs)), held, T + 10)


def none_match(value: bytes) -> Field:
    return b"If-None-Match", value


def since(moment: float) -> Field:
    return b"If-Modified-Since", format_date(moment)


@pytest.mark.parametrize(
    ("stored", "sent", "match"),
    [
        pytest.param(b'"k"', b'"k"', True, id="N1-same"),
        pytest.param(b'"k"', b'"K"', False, id="N1-other"),
        pytest.param(b'W/"k"', b'"j", "k", "l"', True, id="N2-weak-in-list"),
        pytest.param(b'"k"', b'"j",W/"k"', True, id="N2-weak-sent"),
        pytest.param(b'"k"', b" * ", True, id="N2-star"),
        pytest.param(b'"k"', b'"j", *', False, id="N2-star-in-list"),
        pytest.param(b'"a,b"', b'"x", "a,b"', True, id="N2-comma-inside"),
        pytest.param(b'"b"', b'"a, "b"', False, id="N2-quote-inside"),
        pytest.param(b"k", b"k", True, id="N7-bare-same"),
        pytest.param(b"k", b'"k"', False, id="N7-bare-quoted"),
        pytest.param(b'"k"', b"k", False, id="N7-quoted-bare"),
        pytest.param(b'w/"k"', b'"k"', False, id="N7-lower-case-weak"),
        pytest.param(b"a,b", b"a,b", True, id="N7-bare-comma"),
        pytest.param(b'"\xe9"', b'"\xe9"', True, id="N7-high-bytes"),
        pytest.param(b"W/k", b"k", False, id="N7-weak-bare"),
    ],
)
def test_N1_N2_N7_tags(stored: bytes, sent: bytes, match: bool) -> None:
    assert says_304(entry((b"ETag", stored)), none_match(sent)) is match


def test_N2_over_several_lines() -> None:
    assert says_304(entry((b"ETag", b'"k"')), none_match(b'"j"'), none_match(b'"k"'))


def test_N2_without_a_stored_tag() -> None:
    assert says_304(entry(), none_match(b"*"))
    assert not says_304(entry(), none_match(b'"k"'))


def test_N3_tags_go_before_dates() -> None:
    held = entry((b"ETag", b'"k"'), (b"Last-Modified", format_date(LM)))
    assert says_304(held, none_match(b'"k"'), since(LM - 60))
    assert not says_304(held, none_match(b'"j"'), since(LM))


@pytest.mark.parametrize(
    ("value", "match"),
    [
        pytest.param(format_date(LM), True, id="equal"),
        pytest.param(format_date(LM + 60), True, id="later"),
        pytest.param(format_date(LM - 60), False, id="earlier"),
        pytest.param(b"Friday, 18-Aug-51 02:01:18 GMT", True, id="second-form"),
        pytest.param(b"Fri Aug 18 02:01:18 2051", True, id="third-form"),
        pytest.param(b"tomorrow", False, id="invalid"),
    ],
)
def test_N4_last_modified(value: bytes, match: bool) -> None:
    assert says_304(entry((b"Last-Modified", format_date(LM))), (b"If-Modified-Since", value)) is match


def test_N4_several_dates_are_ignored() -> None:
    assert not says_304(entry((b"Last-Modified", format_date(LM))), since(LM), since(LM))


@pytest.mark.parametrize("pairs", [[(b"Date", format_date(T))], []], ids=["date", "receipt"])
def test_N5_without_last_modified(pairs: list[Field]) -> None:
    held = entry(*pairs)
    assert says_304(held, since(T + 5))
    assert says_304(held, since(T))
    assert not says_304(held, since(T - 60))


def test_N6_fields_of_a_304() -> None:
    kept = [
        (b"Cache-Control", b"max-age=900"),
        (b"Content-Location", b"/x"),
        (b"Date", format_date(T)),
        (b"ETag", b'"k"'),
        (b"Expires", b"0"),
        (b"Vary", b"Foo"),
        (b"Access-Control-Allow-Origin", b"*"),
        (b"Strict-Transport-Security", b"max-age=1"),
    ]
    names = (b"Content-Type", b"content-length", b"Content-Encoding", b"Content-Language", b"Content-Range")
    assert not_modified_fields(entry(*kept, *((name, b"x") for name in names))) == Fields(kept)


@pytest.mark.parametrize("status", [301, 404, 500])
def test_N8_only_2xx(status: int) -> None:
    held = entry((b"ETag", b'"k"'), (b"Last-Modified", format_date(LM)), status=status)
    assert not says_304(held, none_match(b'"k"'))
    assert not says_304(held, since(LM))


def test_no_condition_no_304() -> None:
    assert not says_304(entry((b"ETag", b'"k"')))


def test_V13_preconditions_for_the_backend() -> None:
    assert has_precondition(Fields([(b"IF-MATCH", b"*")]))
    assert has_precondition(Fields([(b"If-Unmodified-Since", b"x")]))
    assert not has_precondition(Fields([(b"If-None-Match", b"*"), (b"If-Modified-Since", b"x")]))


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.binary(max_size=40), st.binary(max_size=40))
def test_no_bytes_raise(stored: bytes, sent: bytes) -> None:
    entity_tags([sent])
    not_modified(RequestHead(b"GET", b"/", Fields([(b"If-Modified-Since", sent)])), entry((b"ETag", b"k")), T)
    assert weakly_equal(stored, sent) == weakly_equal(sent, stored)


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.lists(st.text('a,W/ "', max_size=6).map(lambda text: b'"%b"' % text.replace('"', "").encode()), min_size=1))
def test_N2_every_well_formed_tag_is_found(tags: list[bytes]) -> None:
    assert entity_tags([b" , ".join(tags)]) == tags
