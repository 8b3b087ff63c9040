"""Finding the variant that a request selects (HTTP-CACHING.md section 6): by name, whatever their number."""

from __future__ import annotations

import pytest

from caching_proxy.http import negotiation
from caching_proxy.http.messages import Fields
from caching_proxy.rules import variance
from caching_proxy.rules.entry import Asked, CacheEntry, Flag, Selecting
from caching_proxy.rules.scope import PLAIN_VIEW, view_of
from caching_proxy.rules.variance import asked_of, outline_of
from caching_proxy.rules.variants import Variants


def asking(*lines: str) -> Fields:
    pairs = (line.partition(": ") for line in lines)
    return Fields((name.encode(), value.encode()) for name, _, value in pairs)


def entry(
    selecting: Selecting = (),
    *,
    language: bytes = b"",
    scope: bytes = b"",
    shared: bool = False,
    asked: Asked | None = None,
) -> CacheEntry:
    head = b"Content-Language: %b\r\n" % language if language else b""
    flags = Flag.SHARED if shared else Flag(0)
    return CacheEntry(b"k", 200, b"", head, b"x", 1.0, flags=flags, selecting=selecting, scope=scope, asked=asked)


def foo(value: bytes | None, **more: bytes) -> CacheEntry:
    return entry(((b"foo", value),), **more)  # type: ignore[arg-type]


def test_Y1_each_request_finds_its_own() -> None:
    held = [foo(b"%d" % number) for number in range(64)]
    variants = Variants(held)
    for number in range(64):
        assert variants.matching(asking(f"Foo: {number}"), PLAIN_VIEW) == [held[number]]
    assert variants.matching(asking("Foo: 64"), PLAIN_VIEW) == []
    assert variants.matching(asking(), PLAIN_VIEW) == []


def test_Y1_outlines_are_found_like_entries() -> None:
    held = [outline_of(foo(b"1")), outline_of(entry(((b"accept-language", b"de, en"),), language=b"de"))]
    variants = Variants(held)
    assert variants.matching(asking("Foo: 1"), PLAIN_VIEW) == [held[0]]
    assert variants.matching(asking("Accept-Language: fr;q=0.1, de"), PLAIN_VIEW) == [held[1]]


def test_Y9_each_is_judged_by_its_own_vary() -> None:
    one, other = foo(b"1"), entry(((b"bar", b"2"),))
    variants = Variants([one, other])
    assert variants.matching(asking("Foo: 1", "Bar: 2"), PLAIN_VIEW) == [one, other]
    assert variants.matching(asking("Foo: 1"), PLAIN_VIEW) == [one]


def test_a_value_is_normalised_once_however_many_variants_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(name: bytes, value: bytes) -> bytes:
        calls.append(name)
        return negotiation.normal_form(name, value)

    held = [entry(((b"accept-language", b"de;q=0.%d" % number),)) for number in range(64)]
    for each in held:
        variance.variant_of(each)
    monkeypatch.setattr(variance, "normal_form", counted)
    variants, fields = Variants(held), asking("Accept-Language: " + "de;q=0.5, " * 200)
    for _ in range(5):
        variants.matching(fields, PLAIN_VIEW)
    assert calls == [b"accept-language"]


# -- Y7


@pytest.mark.parametrize(
    ("stored", "language", "offered", "fits"),
    [
        pytest.param(b"en, it", b"it", "es;q=0.3, it;q=0.9", True, id="both-follow"),
        pytest.param(b"en;q=0.9, <script>;q=0.1", b"en", "en", False, id="stored-does-not"),
        pytest.param(b"en;q=0.9, fr;q=0.10000", b"en", "en", False, id="stored-weight"),
        pytest.param(b"en, it", b"it", "it, <script>;q=0.1", False, id="offered-does-not"),
        pytest.param(b"en, it", b"it", "i t", False, id="blank-inside"),
        pytest.param(b"en, it", b"*", "*", False, id="star"),
        pytest.param(b"en, it", b"it", "it" + ",it;q=0.1" * 500, False, id="long"),
    ],
)
def test_Y7_only_where_both_values_follow_the_grammar(stored: bytes, language: bytes, offered: str, fits: bool) -> None:
    held = entry(((b"accept-language", stored),), language=language)
    assert bool(Variants([held, foo(b"1")]).matching(asking(f"Accept-Language: {offered}"), PLAIN_VIEW)) is fits


# -- Y10


def plain(*lines: str, worth: tuple[bytes, ...] = ()) -> CacheEntry:
    return entry(asked=asked_of(asking(*lines), worth))


def test_Y10_a_request_without_what_others_vary_by_gets_the_plain_one() -> None:
    held = plain("Accept: */*")
    variants = Variants([held, foo(b"1")])
    assert variants.matching(asking("Accept: text/html"), PLAIN_VIEW) == [held]
    assert variants.matching(asking("Foo: 2"), PLAIN_VIEW) == []
    assert variants.matching(asking("Foo: 1"), PLAIN_VIEW) != [held]


def test_Y10_a_request_with_the_same_value_gets_the_plain_one_where_it_is_known() -> None:
    known, unknown = plain("Foo: 2", worth=(b"foo", b"bar")), plain("Foo: 2")
    assert Variants([known, foo(b"1")]).matching(asking("Foo: 2"), PLAIN_VIEW) == [known]
    assert Variants([known, foo(b"1")]).matching(asking("Foo: 3"), PLAIN_VIEW) == []
    assert Variants([known, foo(b"1")]).matching(asking(), PLAIN_VIEW) == []
    assert Variants([unknown, foo(b"1")]).matching(asking("Foo: 2"), PLAIN_VIEW) == []


def test_Y10_every_field_that_any_other_names_counts() -> None:
    held = plain("Bar: 1", worth=(b"bar",))
    variants = Variants([held, foo(b"1"), entry(((b"bar", b"2"), (b"baz", None)))])
    assert variants.matching(asking("Bar: 1"), PLAIN_VIEW) == [held]
    for lines in (["Bar: 1", "Foo: 2"], ["Bar: 3"], [], ["Bar: 1", "Baz: 1"]):
        assert variants.matching(asking(*lines), PLAIN_VIEW) == [], lines


def test_Y10_long_values_are_remembered_as_digests() -> None:
    long = "v" * 5000
    held = plain(f"Foo: {long}", worth=(b"foo",))
    assert held.asked is not None
    assert len(held.asked.values[0][1] or b"") < 64
    variants = Variants([held, foo(b"1")])
    assert variants.matching(asking(f"Foo: {long}"), PLAIN_VIEW) == [held]
    assert variants.matching(asking(f"Foo: {long}w"), PLAIN_VIEW) == []


def test_Y10_what_is_remembered_is_bounded() -> None:
    assert asked_of(asking(*(f"{'n' * 40}{number}: 1" for number in range(60)))) is None


def test_Y10_names_are_shared_by_requests_of_one_program() -> None:
    assert asked_of(asking("A: 1", "B: 2")) is asked_of(asking("a: 3", "b: 4"))


# -- scope and credentials


def test_B18_scopes_do_not_answer_for_one_another() -> None:
    slash, bare, https = entry(scope=b"/"), entry(), entry(scope=b"s")
    variants = Variants([slash, bare, https])
    assert variants.matching(asking(), PLAIN_VIEW) == [bare]
    assert variants.matching(asking(), view_of(b"/", False)) == [slash]
    assert variants.matching(asking(), view_of(b"other", False)) == []


def test_Y10_what_varies_in_another_scope_disables_nothing() -> None:
    bare = entry()
    assert Variants([bare, foo(b"1", scope=b"/")]).matching(asking("Foo: 2"), PLAIN_VIEW) == [bare]


def test_B13_credentials_see_only_what_may_be_shared() -> None:
    own, shared = foo(b"1"), entry(((b"bar", None),), shared=True)
    view = view_of(b"", True)
    assert Variants([own, shared]).matching(asking("Foo: 1"), view) == [shared]
    assert Variants([own]).within(view) == []
