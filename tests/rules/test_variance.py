"""Which stored response fits which request (HTTP-CACHING.md section 6)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caching_proxy.http.messages import Field, Fields, RequestHead
from caching_proxy.rules.entry import CacheEntry, Selecting
from caching_proxy.rules.variance import matches, normal_form, selecting_of, variant_id


def get(*pairs: Field) -> RequestHead:
    return RequestHead(b"GET", b"/", Fields(pairs))


def stored(selecting: Selecting, *pairs: Field) -> CacheEntry:
    return CacheEntry(b"k", 200, b"OK", Fields(pairs).encoded(), b"", 1000.0, keep=900, selecting=selecting)


def stored_for(request: RequestHead, *vary: bytes) -> CacheEntry:
    selecting = selecting_of(request, Fields((b"Vary", line) for line in vary))
    assert selecting is not None
    return stored(selecting)


FOO_BAR = get((b"Foo", b"1"), (b"Bar", b"2"))


@pytest.mark.parametrize(
    ("request_", "fits"),
    [
        pytest.param(get((b"Bar", b"2"), (b"foo", b"1")), True, id="equal-other-order"),
        pytest.param(get((b"Foo", b"2"), (b"Bar", b"2")), False, id="foo-differs"),
        pytest.param(get((b"Foo", b"1"), (b"Bar", b"3")), False, id="bar-differs"),
    ],
)
@pytest.mark.parametrize("vary", [(b"Foo, Bar",), (b"FOO", b"bar")], ids=["one-line", "two-lines"])
def test_Y1(vary: tuple[bytes, ...], request_: RequestHead, fits: bool) -> None:
    assert matches(stored_for(FOO_BAR, *vary), request_) is fits


def test_Y1_selecting_is_sorted_and_unique() -> None:
    assert selecting_of(FOO_BAR, Fields([(b"Vary", b"foo, Bar,, FOO")])) == ((b"bar", b"2"), (b"foo", b"1"))
    assert selecting_of(FOO_BAR, Fields()) == ()


def test_Y2_absent_matches_only_absent() -> None:
    assert not matches(stored_for(get(), b"Foo"), get((b"Foo", b"1")))
    assert not matches(stored_for(get(), b"Foo"), get((b"Foo", b"")))
    assert not matches(stored_for(get((b"Foo", b"")), b"Foo"), get())
    assert matches(stored_for(get(), b"Foo"), get((b"Bar", b"1")))


def test_Y3_unnamed_fields_play_no_part() -> None:
    assert matches(stored_for(get((b"Foo", b"1"), (b"Other", b"a")), b"Foo"), get((b"Foo", b"1"), (b"Other", b"b")))


@pytest.mark.parametrize(
    "lines",
    [(b"*",), (b"*, *",), (b", *",), (b"Foo, *",), (b"*, Foo",), (b"*", b"*"), (b"", b"*")],
    ids=["alone", "twice", "after-empty", "last", "first", "two-lines", "empty-line"],
)
def test_Y4_star(lines: tuple[bytes, ...]) -> None:
    assert selecting_of(FOO_BAR, Fields((b"Vary", line) for line in lines)) is None


@pytest.mark.parametrize(
    "pairs",
    [[(b"Foo", b"a,b")], [(b"Foo", b" a,  b ")], [(b"Foo", b"a"), (b"Foo", b"b")], [(b"foo", b"a\t, b")]],
    ids=["tight", "loose", "two-lines", "tab"],
)
def test_Y5_whitespace_and_lines(pairs: list[Field]) -> None:
    assert matches(stored_for(get((b"Foo", b"a, b")), b"Foo"), get(*pairs))


@pytest.mark.parametrize(
    ("one", "other"),
    [(b'"a,b"', b'"a, b"'), (b"a,b", b"b,a"), (b"a", b"A"), (b'x"\\", y"', b'x"\\",y"'), (b"a b", b"ab")],
    ids=["quoted-comma", "order", "case", "escaped-quote", "inner-space"],
)
def test_Y5_what_stays_different(one: bytes, other: bytes) -> None:
    assert not matches(stored_for(get((b"Foo", one)), b"Foo"), get((b"Foo", other)))


@pytest.mark.parametrize("name", [b"Accept-Language", b"Accept-Encoding", b"Accept-Charset"])
def test_Y6_negotiation_fields(name: bytes) -> None:
    entry = stored_for(get((name, b"fr, it")), name)
    assert matches(entry, get((name, b"IT ,fr;q=1")))
    assert matches(entry, get((name, b"it; q=1.000,,FR")))
    assert not matches(entry, get((name, b"fr, it;q=0.1")))
    assert not matches(entry, get((name, b"fr, it;q=1.5")))


@pytest.mark.parametrize(
    ("offered", "fits"),
    [
        pytest.param(b"es;q=0.3, it;q=0.9", True, id="preferred"),
        pytest.param(b"IT", True, id="case"),
        pytest.param(b"es;q=0.9, it;q=0.3", False, id="second"),
        pytest.param(b"es, it", False, id="shared-first"),
        pytest.param(b"it;q=0", False, id="refused"),
        pytest.param(b"it;q=high, es;q=0.1", False, id="malformed"),
        pytest.param(b"it-CH", False, id="longer-tag"),
        pytest.param(b"", False, id="empty"),
    ],
)
def test_Y7_language(offered: bytes, fits: bool) -> None:
    entry = stored(((b"accept-language", b"en, it"),), (b"Content-Language", b"it"))
    assert matches(entry, get((b"Accept-Language", offered))) is fits


def test_Y7_other_fields_must_still_match() -> None:
    selecting = ((b"accept-language", b"en, it"), (b"foo", b"1"))
    entry = stored(selecting, (b"Content-Language", b"it"))
    assert matches(entry, get((b"Accept-Language", b"it"), (b"Foo", b"1")))
    assert not matches(entry, get((b"Accept-Language", b"it"), (b"Foo", b"2")))


@pytest.mark.parametrize("languages", [[], [b"it, de"], [b"it", b"it"], [b""]], ids=["none", "list", "lines", "empty"])
def test_Y7_needs_one_stored_language(languages: list[bytes]) -> None:
    entry = stored(((b"accept-language", b"en"),), *((b"Content-Language", value) for value in languages))
    assert not matches(entry, get((b"Accept-Language", b"it")))


def test_Y8_variants_have_places_of_their_own() -> None:
    one, two = (stored_for(get((b"Foo", value)), b"Foo").selecting for value in (b"1", b"2"))
    assert variant_id(()) == b"-"
    assert len({variant_id(()), variant_id(one), variant_id(two), variant_id(((b"foo", None),))}) == 4
    assert variant_id(((b"foo", None),)) != variant_id(((b"foo", b""),))
    assert variant_id(((b"a", b"b"), (b"c", b"d"))) == variant_id(((b"c", b"d"), (b"a", b"b")))


def test_Y8_equal_variants_share_a_place() -> None:
    assert variant_id(((b"foo", b"a, b"),)) == variant_id(((b"foo", b"a,b "),))
    assert variant_id(((b"accept-encoding", b"gzip, br"),)) == variant_id(((b"accept-encoding", b"BR,gzip;q=1.0"),))


def test_Y8_a_part_never_replaces_the_whole() -> None:
    assert variant_id((), partial=True) not in (variant_id(()), variant_id(((b"foo", None),), partial=True))


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.binary(max_size=40), st.sampled_from([b"foo", b"accept-language"]))
def test_no_bytes_raise(value: bytes, name: bytes) -> None:
    once = normal_form(name, value)
    assert matches(stored(((name, value),), (b"Content-Language", b"it")), get((name, once))) or b'"' in value
    assert selecting_of(get((name, value)), Fields([(b"Vary", value)])) is None or b"*" not in value.split(b",")


@settings(deadline=None, derandomize=True, max_examples=100)
@given(st.text('ab,"\\ =;q10.\t', max_size=20), st.text('ab,"\\ =;q10.\t', max_size=20))
def test_Y8_same_place_exactly_when_equal(one: str, other: str) -> None:
    first, second = one.encode(), other.encode()
    equal = normal_form(b"foo", first) == normal_form(b"foo", second)
    assert (variant_id(((b"foo", first),)) == variant_id(((b"foo", second),))) is equal
