"""The decision about reuse (HTTP-CACHING.md sections 5, 6, 9, 10; RFC 8246)."""

from __future__ import annotations

import pytest

from caching_proxy.http.dates import format_date
from caching_proxy.http.messages import Field, Fields, RequestHead
from caching_proxy.http.request_directives import parse_request_control
from caching_proxy.rules.entry import NO_FLAGS, CacheEntry, Flag, Selecting
from caching_proxy.rules.outcome import Forward
from caching_proxy.rules.reuse import Lookup, Use, choose, may_serve_disconnected, may_serve_on_error
from caching_proxy.rules.scope import PLAIN_VIEW

T = 1_900_000_000.0
ETAG = (b"ETag", b'"a"')


def entry(
    *pairs: Field,
    lifetime: int = 900,
    received_at: float = T,
    flags: Flag = NO_FLAGS,
    selecting: Selecting = (),
    status: int = 200,
    keep: int = 5000,
    while_revalidate: int = 0,
    if_error: int = 0,
) -> CacheEntry:
    return CacheEntry(
        b"cache:GET:anonymous:/",
        status,
        b"",
        Fields(pairs).encoded(),
        b"abcde",
        received_at,
        lifetime=lifetime,
        keep=keep,
        flags=flags,
        selecting=selecting,
        stale_while_revalidate=while_revalidate,
        stale_if_error=if_error,
        part=(0, 10) if Flag.PARTIAL in flags else None,
    )


def ask(*entries: CacheEntry, after: float = 0, wish: bytes = b"", fields: tuple[Field, ...] = ()) -> Lookup:
    pairs = ((b"Cache-Control", wish), *fields) if wish else fields
    request = RequestHead(b"GET", b"/", Fields(pairs))
    return choose(request, parse_request_control(request.fields, True), entries, T + after, PLAIN_VIEW)


def test_fresh_is_a_hit_and_stale_is_validated() -> None:
    held = entry(ETAG)
    assert ask(held, after=899) == Lookup(Use.HIT, held)
    assert ask(held, after=900) == Lookup(Use.VALIDATE, held, Forward.STALE)
    assert ask() == Lookup(Use.FETCH, None, Forward.URI_MISS)


def test_V2_nothing_to_validate_with_is_fetched() -> None:
    bare, error = entry(lifetime=5), entry(ETAG, lifetime=5, status=404)
    assert ask(bare, after=9) == Lookup(Use.FETCH, bare, Forward.STALE)
    assert ask(error, after=9) == Lookup(Use.FETCH, error, Forward.STALE)


def test_Z5_nothing_outlives_its_keep() -> None:
    assert ask(entry(ETAG, keep=1000), after=999).use is Use.VALIDATE
    assert ask(entry(ETAG, keep=1000), after=1000) == Lookup(Use.FETCH, None, Forward.URI_MISS)


@pytest.mark.parametrize("pair", [(b"Last-Modified", format_date(T - 99)), ETAG], ids=["date", "tag"])
def test_Q1_no_cache_validates_what_is_fresh(pair: Field) -> None:
    held = entry(pair)
    assert ask(held, wish=b"no-cache") == Lookup(Use.VALIDATE, held, Forward.REQUEST)


def test_Q1_no_cache_without_validator_fetches() -> None:
    held = entry()
    assert ask(held, wish=b"no-cache") == Lookup(Use.FETCH, held, Forward.REQUEST)


def test_K2_a_stale_response_is_the_reason_not_the_request() -> None:
    assert ask(entry(ETAG, lifetime=5), after=9, wish=b"no-cache").forward is Forward.STALE


@pytest.mark.parametrize(
    ("wish", "use"),
    [(b"max-age=60", Use.VALIDATE), (b"max-age=300", Use.HIT), (b"max-age=0", Use.VALIDATE)],
    ids=["too-old", "just-young-enough", "zero"],
)
def test_Q2_max_age(wish: bytes, use: Use) -> None:
    assert ask(entry(ETAG), after=300, wish=wish).use is use


def test_Q2_zero_validates_even_at_age_zero() -> None:
    held = entry(ETAG)
    assert ask(held, wish=b"max-age=0") == Lookup(Use.VALIDATE, held, Forward.REQUEST)


def test_Q2_max_age_alone_wants_nothing_stale() -> None:
    held = entry(ETAG, lifetime=100, while_revalidate=600)
    assert ask(held, after=110, wish=b"max-age=500").use is Use.VALIDATE
    assert ask(held, after=110, wish=b"max-age=500, max-stale").use is Use.STALE_WHILE_REVALIDATE
    assert ask(held, after=110, wish=b"max-age=105, max-stale").use is Use.VALIDATE


@pytest.mark.parametrize(("need", "use"), [(b"400", Use.HIT), (b"401", Use.VALIDATE)])
def test_Q3_min_fresh(need: bytes, use: Use) -> None:
    assert ask(entry(ETAG), after=500, wish=b"min-fresh=" + need).use is use


def test_Q3_min_fresh_wants_nothing_stale() -> None:
    assert ask(entry(ETAG), after=901, wish=b"min-fresh=0, max-stale").use is Use.VALIDATE


@pytest.mark.parametrize(
    ("wish", "use"),
    [
        pytest.param(b"max-stale=60", Use.STALE_HIT, id="within"),
        pytest.param(b"max-stale=5", Use.STALE_HIT, id="exactly"),
        pytest.param(b"max-stale=2", Use.VALIDATE, id="beyond"),
        pytest.param(b"max-stale", Use.STALE_HIT, id="any"),
        pytest.param(b"max-stale, no-cache", Use.VALIDATE, id="but-no-cache"),
    ],
)
def test_Q4_max_stale(wish: bytes, use: Use) -> None:
    assert ask(entry(ETAG), after=905, wish=wish).use is use


def test_Q5_only_if_cached() -> None:
    held = entry(ETAG)
    assert ask(wish=b"only-if-cached").use is Use.UNSATISFIABLE
    assert ask(held, wish=b"only-if-cached") == Lookup(Use.HIT, held)
    assert ask(held, after=901, wish=b"only-if-cached").use is Use.UNSATISFIABLE
    assert ask(held, after=901, wish=b"only-if-cached, max-stale").use is Use.STALE_HIT
    assert ask(held, wish=b"only-if-cached", fields=((b"If-Match", b"*"),)).use is Use.UNSATISFIABLE


def test_Q5_only_if_cached_starts_no_validation() -> None:
    assert ask(entry(ETAG, while_revalidate=60), after=901, wish=b"only-if-cached").use is Use.STALE_HIT


@pytest.mark.parametrize(
    ("wish", "after", "use"),
    [
        pytest.param(b"max-age=0", 1, Use.HIT, id="zero"),
        pytest.param(b"max-age=5", 9, Use.HIT, id="too-old"),
        pytest.param(b"no-cache", 1, Use.VALIDATE, id="no-cache"),
        pytest.param(b"max-age=0", 901, Use.VALIDATE, id="once-stale"),
    ],
)
def test_F10_immutable(wish: bytes, after: float, use: Use) -> None:
    assert ask(entry(ETAG, flags=Flag.IMMUTABLE), after=after, wish=wish).use is use


def test_B11_no_cache_validates_every_use() -> None:
    held = entry(ETAG, flags=Flag.NO_CACHE | Flag.STRICT)
    assert ask(held) == Lookup(Use.VALIDATE, held, Forward.STALE)
    assert ask(held, wish=b"max-stale").use is Use.VALIDATE
    assert not may_serve_disconnected(held, T)


def test_V12_strict_is_free_while_fresh() -> None:
    held = entry(ETAG, lifetime=2, flags=Flag.STRICT)
    assert ask(held, after=1).use is Use.HIT
    assert ask(held, after=3).use is Use.VALIDATE


@pytest.mark.parametrize("name", [b"If-Match", b"If-Unmodified-Since"])
def test_V13_other_preconditions_are_forwarded(name: bytes) -> None:
    assert ask(entry(ETAG), fields=((name, b'"a"'),)) == Lookup(Use.FETCH, None, Forward.BYPASS)


@pytest.mark.parametrize("after", [3, 9])
def test_M4_V14_head(after: float) -> None:
    held = entry(ETAG, lifetime=5)
    head = RequestHead(b"HEAD", b"/")
    found = choose(head, parse_request_control(head.fields, True), [held], T + after, PLAIN_VIEW)
    assert found == (Lookup(Use.HIT, held) if after < 5 else Lookup(Use.FETCH, held, Forward.STALE))


# -- variants ------------------------------------------------------------------------------------


def test_Y9_latest_date_then_latest_receipt() -> None:
    older = entry((b"Date", format_date(T)), received_at=T + 9, selecting=((b"foo", None),))
    newer = entry((b"Date", format_date(T + 5)), received_at=T + 6, selecting=((b"bar", None),))
    later = entry((b"Date", format_date(T + 5)), received_at=T + 7, selecting=((b"baz", None),))
    assert ask(older, newer, after=10).entry is newer
    assert ask(newer, older, later, after=10).entry is later


def test_Y9_without_date_the_receipt_counts() -> None:
    older = entry((b"Date", format_date(T + 1)), selecting=((b"foo", None),))
    newer = entry(received_at=T + 4, selecting=((b"bar", None),))
    assert ask(newer, older, after=10).entry is newer


def test_Y10_never_falls_back_to_one_without_vary() -> None:
    plain, varied = entry(received_at=T + 5), entry(selecting=((b"foo", b"1"),))
    assert ask(plain, varied, after=9, fields=((b"Foo", b"1"),)).entry is varied
    assert ask(plain, varied, after=9, fields=((b"Foo", b"2"),)) == Lookup(Use.FETCH, None, Forward.VARY_MISS)
    assert ask(plain, after=9, fields=((b"Foo", b"2"),)).entry is plain


def test_Y11_tags_of_other_variants_are_candidates() -> None:
    tagged = entry(ETAG, selecting=((b"foo", b"1"),))
    bare = entry(selecting=((b"foo", b"3"),))
    error = entry(ETAG, selecting=((b"foo", b"4"),), status=404)
    found = ask(tagged, bare, error, fields=((b"Foo", b"2"),))
    assert found == Lookup(Use.FETCH, None, Forward.VARY_MISS, (tagged,))


@pytest.mark.parametrize("name", [b"accept-encoding", b"origin"])
def test_Y11_one_tag_may_stand_for_several_codings(name: bytes) -> None:
    other = entry((b"ETag", b'W/"a"'), selecting=((name, b"br"), (b"foo", b"1")))
    same = entry((b"ETag", b'W/"a"'), selecting=((name, b"gzip"), (b"foo", b"1")))
    found = ask(other, same, fields=((name, b" gzip"), (b"Foo", b"2")))
    assert found == Lookup(Use.FETCH, None, Forward.VARY_MISS, (same,))


# -- parts ---------------------------------------------------------------------------------------

PART = (b"Content-Range", b"bytes 0-4/10")


def test_R6_part_answers_what_lies_inside() -> None:
    part = entry(PART, flags=Flag.PARTIAL, status=206)
    assert ask(part, fields=((b"Range", b"bytes=1-3"),)) == Lookup(Use.HIT, part)


@pytest.mark.parametrize("fields", [(), ((b"Range", b"bytes=3-7"),)], ids=["no-range", "beyond"])
def test_R8_R9_part_answers_nothing_else(fields: tuple[Field, ...]) -> None:
    part = entry(PART, ETAG, flags=Flag.PARTIAL, status=206)
    assert ask(part, fields=fields) == Lookup(Use.FETCH, None, Forward.PARTIAL, part=part)
    assert ask(part, fields=fields, after=901) == Lookup(Use.FETCH, None, Forward.PARTIAL)


def test_R8_complete_response_goes_before_a_part() -> None:
    part, whole = entry(PART, flags=Flag.PARTIAL, status=206, received_at=T + 5), entry()
    assert ask(part, whole, after=9, fields=((b"Range", b"bytes=1-3"),)).entry is whole
    assert ask(part, whole, after=9).entry is whole


# -- stale ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("flags", [Flag.STRICT, Flag.NO_CACHE | Flag.STRICT], ids=["strict", "no-cache"])
def test_E1_never_stale(flags: Flag) -> None:
    held = entry(ETAG, lifetime=2, flags=flags, while_revalidate=600, if_error=600)
    control = parse_request_control(Fields([(b"Cache-Control", b"max-stale, stale-if-error=600")]), True)
    assert ask(held, after=3).use is Use.VALIDATE
    assert ask(held, after=3, wish=b"max-stale").use is Use.VALIDATE
    assert not may_serve_disconnected(held, T + 3)
    assert not may_serve_on_error(held, control, T + 3)


def test_E2_stale_is_validated_while_the_origin_is_there() -> None:
    assert ask(entry(ETAG, if_error=600), after=901).use is Use.VALIDATE


def test_E3_disconnected() -> None:
    held = entry(lifetime=2, keep=602)
    assert may_serve_disconnected(held, T + 3)
    assert may_serve_disconnected(entry(flags=Flag.STRICT), T + 3)
    assert not may_serve_disconnected(held, T + 602)


@pytest.mark.parametrize(
    ("after", "use"),
    [(1, Use.HIT), (4, Use.STALE_WHILE_REVALIDATE), (602, Use.STALE_WHILE_REVALIDATE), (603, Use.VALIDATE)],
)
def test_E4_stale_while_revalidate(after: float, use: Use) -> None:
    assert ask(entry(ETAG, lifetime=2, while_revalidate=600), after=after).use is use


def test_E4_no_window_no_staleness() -> None:
    assert ask(entry(ETAG, lifetime=0)).use is Use.VALIDATE


@pytest.mark.parametrize(("after", "allowed"), [(4, True), (62, True), (63, False)])
def test_E5_window_of_the_response(after: float, allowed: bool) -> None:
    held = entry(lifetime=2, if_error=60)
    assert may_serve_on_error(held, parse_request_control(Fields(), True), T + after) is allowed


@pytest.mark.parametrize(("after", "allowed"), [(4, True), (62, True), (63, False)])
def test_E5_window_of_the_request(after: float, allowed: bool) -> None:
    control = parse_request_control(Fields([(b"Cache-Control", b"no-cache, stale-if-error=60")]), True)
    assert may_serve_on_error(entry(lifetime=2), control, T + after) is allowed


def test_E5_not_for_who_insists() -> None:
    control = parse_request_control(Fields([(b"Cache-Control", b"no-cache")]), True)
    assert not may_serve_on_error(entry(lifetime=2, if_error=60), control, T + 4)


def test_E6_no_window_relays_the_error() -> None:
    assert not may_serve_on_error(entry(lifetime=2), parse_request_control(Fields(), True), T + 3)


def test_E7_a_stale_answer_has_its_true_age() -> None:
    found = ask(entry(lifetime=2, while_revalidate=600), after=4).entry
    assert found is not None
    assert (found.age(T + 4), found.ttl(T + 4)) == (4, -2)
