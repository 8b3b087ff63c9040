"""Validation of stored responses (HTTP-CACHING.md section 7)."""

from __future__ import annotations

import attrs
import pytest

from caching_proxy.http.dates import format_date
from caching_proxy.http.messages import Field, Fields, RequestHead, ResponseHead
from caching_proxy.rules.entry import NO_FLAGS, CacheEntry, Flag, Selecting
from caching_proxy.rules.policy import CachePolicy
from caching_proxy.rules.validation import (
    can_validate,
    client_named,
    conditions,
    freshen,
    head_update,
    marked_stale,
    merged,
    selected,
    strip_conditions,
    updated,
    vary_fields,
)

T = 1_900_000_000.0
LATER = T + 1000
POLICY = CachePolicy(default_ttl=0)
LM = format_date(T - 5000)
GET = RequestHead(b"GET", b"/")


def entry(
    *pairs: Field,
    status: int = 200,
    body: bytes = b"stored",
    selecting: Selecting = (),
    received_at: float = T,
    flags: Flag = NO_FLAGS,
) -> CacheEntry:
    place = (0, 20) if Flag.PARTIAL in flags else None
    head = Fields(pairs).encoded()
    return CacheEntry(
        b"k", status, b"OK", head, body, received_at, 7, 2, 0, 0, 600, flags=flags, selecting=selecting, part=place
    )


def response(*pairs: Field, status: int = 304) -> ResponseHead:
    return ResponseHead(status, b"", Fields(pairs))


def renewed(held: CacheEntry, *pairs: Field, request: RequestHead = GET, policy: CachePolicy = POLICY) -> CacheEntry:
    fresh = freshen(held, request, response(*pairs), policy, LATER, LATER)
    assert fresh is not None
    return fresh


CC = (b"Cache-Control", b"max-age=900")
ETAG = (b"ETag", b'"a"')


# -- the conditions sent -------------------------------------------------------------------------


def test_V1_tag_byte_for_byte() -> None:
    assert conditions(entry((b"ETag", b'W/"k"'))) == ((b"If-None-Match", b'W/"k"'),)


def test_V2_last_modified_verbatim() -> None:
    assert conditions(entry((b"Last-Modified", LM))) == ((b"If-Modified-Since", LM),)
    assert conditions(entry(ETAG, (b"Last-Modified", LM))) == ((b"If-None-Match", b'"a"'), (b"If-Modified-Since", LM))


@pytest.mark.parametrize("held", [entry(ETAG, status=404), entry()], ids=["not-2xx", "no-validator"])
def test_V2_unconditional(held: CacheEntry) -> None:
    assert conditions(held) == ()
    assert not can_validate(held)


def test_V3_our_conditions_replace_the_clients() -> None:
    fields = Fields([(b"If-None-Match", b"x"), (b"Abc", b"7"), (b"IF-MODIFIED-SINCE", LM), (b"Range", b"bytes=0-2")])
    assert strip_conditions(fields) == Fields([(b"Abc", b"7")])


def test_V3_background_validation_copies_what_vary_names() -> None:
    assert vary_fields(entry(selecting=((b"abc", b"7"), (b"def", None)))) == ((b"abc", b"7"),)


def test_R11_ranges_go_only_for_a_complete_response() -> None:
    fields = Fields([(b"Range", b"bytes=0-2"), (b"If-Range", b'"a"'), (b"If-None-Match", b'"a"')])
    assert strip_conditions(fields) == Fields()
    assert strip_conditions(fields, keep_range=True) == Fields(fields.pairs[:2])


def test_Y11_tags_of_other_variants() -> None:
    others = (
        entry((b"ETag", b'"b"')),
        entry(ETAG),
        entry((b"Last-Modified", LM)),
        entry((b"ETag", b'"e"'), status=404),
    )
    assert conditions(entry(ETAG), others) == ((b"If-None-Match", b'"a", "b"'),)
    assert conditions(None, others) == ((b"If-None-Match", b'"b", "a"'),)


# -- what a 304 names ----------------------------------------------------------------------------


def test_V5_bare_304_names_the_one_asked_about() -> None:
    held = entry(ETAG)
    assert selected([held], response(CC)) == [held]
    assert selected([held, entry()], response(CC)) is None


def test_V6_strong_tag_names_all_that_have_it() -> None:
    one, two, other = entry(ETAG), entry(ETAG, selecting=((b"foo", b"1"),)), entry((b"ETag", b'"b"'))
    assert selected([one, two, other], response(ETAG)) == [one, two]


@pytest.mark.parametrize("pair", [(b"ETag", b'W/"k"'), (b"Last-Modified", LM)], ids=["tag", "date"])
def test_V6_weak_validator_names_the_newest(pair: Field) -> None:
    older, newer = entry(pair), entry(pair, received_at=T + 5)
    assert selected([newer, older], response(pair)) == [newer]
    assert selected([older, newer, entry(received_at=T + 9)], response(pair)) == [newer]


@pytest.mark.parametrize(
    "pair",
    [(b"ETag", b'"b"'), (b"ETag", b'W/"b"'), (b"Last-Modified", format_date(T))],
    ids=["strong", "weak", "date"],
)
def test_V7_names_nothing_stored(pair: Field) -> None:
    assert selected([entry(ETAG, (b"Last-Modified", LM))], response(pair)) is None


def test_V7_strong_tag_does_not_name_a_weak_one() -> None:
    assert selected([entry((b"ETag", b'W/"a"'))], response(ETAG)) is None


def test_V7_what_the_client_itself_named() -> None:
    own = RequestHead(b"GET", b"/", Fields([(b"If-None-Match", b'"x", "b"')]))
    assert client_named(own, response((b"ETag", b'"b"')))
    assert not client_named(own, response((b"ETag", b'"c"')))
    assert not client_named(own, response())
    dated = RequestHead(b"GET", b"/", Fields([(b"If-Modified-Since", LM)]))
    assert client_named(dated, response((b"Last-Modified", LM)))
    assert not client_named(dated, response())
    assert not client_named(GET, response())


# -- what a 304 changes --------------------------------------------------------------------------


def test_V8_each_field_replaces_all_of_its_name() -> None:
    held = entry(CC, ETAG, (b"A", b"1"), (b"A", b"2"), (b"B", b"1"), (b"Content-Type", b"a/b"), (b"Set-Cookie", b"old"))
    fresh = renewed(
        held,
        (b"a", b"3"),
        (b"Content-Type", b"c/d"),
        (b"Set-Cookie", b"x"),
        (b"Set-Cookie", b"y"),
        (b"Cache-Control", b"max-age=50, public"),
        (b"X-New", b"n"),
        policy=CachePolicy(default_ttl=0, store_set_cookie=True),
    )
    assert fresh.fields.all(b"a") == [b"3"]
    assert fresh.fields.all(b"b") == [b"1"]
    assert fresh.fields.all(b"content-type") == [b"c/d"]
    assert fresh.fields.all(b"set-cookie") == [b"x", b"y"]
    assert fresh.fields.all(b"x-new") == [b"n"]
    assert fresh.fields.all(b"etag") == [b'"a"']
    assert (fresh.status, fresh.reason, fresh.body, fresh.lifetime) == (200, b"OK", b"stored", 50)


def test_V9_never_updated() -> None:
    fresh = renewed(
        entry(CC, ETAG, (b"P", b"1")),
        (b"Content-Length", b"8"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Connection", b"p, close"),
        (b"P", b"2"),
        (b"Keep-Alive", b"x"),
        (b"Proxy-Authenticate", b"x"),
    )
    assert fresh.fields.all(b"p") == [b"1"]
    assert {name.lower() for name, _ in fresh.fields} == {b"cache-control", b"etag", b"p", b"date"}


def test_V9_content_range_of_a_part_stays() -> None:
    held = entry(CC, ETAG, (b"Content-Range", b"bytes 0-5/20"), status=206, flags=Flag.PARTIAL)
    fresh = renewed(held, (b"Content-Range", b"bytes 3-4/20"))
    assert fresh.fields.all(b"content-range") == [b"bytes 0-5/20"]
    assert (fresh.part, fresh.status, Flag.PARTIAL in fresh.flags) == ((0, 20), 206, True)


def test_V9_fields_excluded_by_private() -> None:
    fresh = renewed(entry(CC, ETAG), (b"Cache-Control", b'max-age=900, private="a"'), (b"A", b"2"))
    assert b"a" not in fresh.fields


def test_V10_age_clock_restarts() -> None:
    fresh = renewed(entry(CC, ETAG, (b"Date", format_date(T))), (b"Date", format_date(LATER)))
    assert (fresh.received_at, fresh.age(LATER + 3), fresh.ttl(LATER + 3)) == (LATER, 3, 897)
    assert fresh.keep >= 900


def test_V10_date_is_that_of_the_304_else_of_receipt() -> None:
    held = entry(CC, ETAG, (b"Date", format_date(T)))
    assert renewed(held, (b"Date", format_date(LATER - 1))).fields.all(b"date") == [format_date(LATER - 1)]
    fresh = renewed(held)
    assert fresh.fields.all(b"date") == [format_date(LATER)]
    assert fresh.age(LATER) == 0


def test_V10_age_of_the_304_counts() -> None:
    fresh = renewed(entry(CC, ETAG), (b"Age", b"40"))
    assert (fresh.age(LATER), b"age" in fresh.fields) == (40, False)


def test_V10_vary_that_changed_is_recorded_anew() -> None:
    request = RequestHead(b"GET", b"/", Fields([(b"Foo", b"1"), (b"Bar", b"2")]))
    held = entry(CC, ETAG, (b"Vary", b"Foo"), selecting=((b"foo", b"1"),))
    assert renewed(held, request=request).selecting == ((b"foo", b"1"),)
    assert renewed(held, (b"Vary", b"Bar"), request=request).selecting == ((b"bar", b"2"),)


def test_V10_equal_variant_keeps_its_recorded_values() -> None:
    request = RequestHead(b"GET", b"/", Fields([(b"Foo", b"a,b")]))
    held = entry(CC, ETAG, (b"Vary", b"Foo"), selecting=((b"foo", b"a, b"),))
    assert renewed(held, request=request).selecting == ((b"foo", b"a, b"),)


def test_Y11_other_variant_is_recorded_for_the_new_request() -> None:
    request = RequestHead(b"GET", b"/", Fields([(b"Foo", b"2")]))
    held = entry(CC, ETAG, (b"Vary", b"Foo"), selecting=((b"foo", b"1"),))
    assert renewed(held, ETAG, request=request).selecting == ((b"foo", b"2"),)


@pytest.mark.parametrize("said", [b"no-store", b"private"])
def test_B16_what_may_no_longer_be_stored(said: bytes) -> None:
    held = entry(CC, ETAG)
    refusal = response((b"Cache-Control", said), (b"Age", b"3"))
    assert freshen(held, GET, refusal, POLICY, LATER, LATER) is None
    answerable = updated(held, refusal)
    assert answerable.fields == Fields([ETAG, (b"Cache-Control", said)])
    assert answerable.body == b"stored"


def test_Z2_role_that_was_not_established() -> None:
    request = RequestHead(b"GET", b"/", Fields([(b"Authorization", b"Basic x")]))
    held, bare = entry(CC, ETAG), response()
    assert freshen(held, request, bare, POLICY, LATER, LATER, established=False) is None
    assert freshen(held, request, bare, POLICY, LATER, LATER, established=True) is not None


def test_R11_range_request_freshens_the_complete_response() -> None:
    request = RequestHead(b"GET", b"/", Fields([(b"Range", b"bytes=0-2")]))
    fresh = freshen(entry(ETAG), request, response(), CachePolicy(default_ttl=60), LATER, LATER)
    assert fresh is not None
    assert (fresh.status, fresh.lifetime) == (200, 60)


def test_merged_keeps_the_date_of_nobody() -> None:
    assert merged(entry((b"Date", format_date(T))), response()) == ResponseHead(200, b"OK")
    assert updated(entry((b"Date", format_date(T))), response()).fields.all(b"date") == [format_date(T)]


# -- HEAD ----------------------------------------------------------------------------------------

HEAD = RequestHead(b"HEAD", b"/")


def headed(held: CacheEntry, *pairs: Field, status: int = 200) -> CacheEntry | None:
    return head_update(held, HEAD, response(*pairs, status=status), POLICY, LATER, LATER)


@pytest.mark.parametrize(
    "pairs",
    [[CC], [CC, ETAG, (b"Last-Modified", LM), (b"Content-Length", b"6")]],
    ids=["nothing-said", "all-equal"],
)
def test_V14_same_representation_is_freshened(pairs: list[Field]) -> None:
    fresh = headed(entry(ETAG, (b"Last-Modified", LM)), *pairs, (b"A", b"1"))
    assert fresh is not None
    assert (fresh.body, fresh.ttl(LATER + 1), fresh.fields.all(b"a")) == (b"stored", 899, [b"1"])


@pytest.mark.parametrize(
    "pair",
    [(b"ETag", b'"b"'), (b"ETag", b'W/"a"'), (b"Last-Modified", format_date(T)), (b"Content-Length", b"7")],
    ids=["tag", "weak-tag", "date", "length"],
)
def test_V14_mismatch_marks_stale(pair: Field) -> None:
    held = attrs.evolve(entry(ETAG, (b"Last-Modified", LM)), lifetime=9000, keep=9000, stale_while_revalidate=50)
    stale = headed(held, CC, pair)
    assert stale is not None
    assert (stale.fresh(LATER), stale.stale_while_revalidate, stale.fields) == (False, 0, held.fields)
    assert can_validate(stale)


@pytest.mark.parametrize("status", [204, 304, 404, 500])
def test_V14_other_statuses_change_nothing(status: int) -> None:
    held = entry(ETAG)
    assert headed(held, CC, (b"ETag", b'"b"'), status=status) is held


def test_V14_what_may_no_longer_be_stored() -> None:
    assert headed(entry(ETAG), (b"Cache-Control", b"no-store")) is None


def test_marked_stale_does_not_make_fresh() -> None:
    held = entry(ETAG)
    assert marked_stale(held, LATER).ttl(LATER) == held.ttl(LATER)
