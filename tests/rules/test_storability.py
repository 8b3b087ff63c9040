"""Section 4 of the caching rules: which responses are stored, and what is kept of them."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.judged import DEFAULT, ETAG, FRESH, MODIFIED, NOW, PLAIN, cc, verdict

from caching_proxy.http.dates import format_date
from caching_proxy.http.messages import Field, Fields, RequestHead, ResponseHead
from caching_proxy.rules.entry import Flag
from caching_proxy.rules.freshness import HEURISTIC_STATUSES
from caching_proxy.rules.make_entry import make_entry
from caching_proxy.rules.outcome import Refusal
from caching_proxy.rules.policy import CachePolicy
from caching_proxy.rules.storability import judge_post


@pytest.mark.parametrize("method", [b"HEAD", b"POST", b"PUT", b"OPTIONS", b"get", b"X-FROB"])
def test_B1_only_get(method: bytes) -> None:
    assert verdict(FRESH, method=method).refusal is Refusal.METHOD
    assert verdict(FRESH).storable


@pytest.mark.parametrize("status", [100, 103, 199, 304, 600, 999])
def test_B2_only_final_statuses(status: int) -> None:
    assert verdict(FRESH, cc(b"public"), status=status).refusal is Refusal.STATUS


@pytest.mark.parametrize("status", [201, 202, 403, 502, 503, 504, 599])
def test_B3_something_must_allow_it(status: int) -> None:
    assert verdict(MODIFIED, status=status).refusal is Refusal.NO_FRESHNESS
    assert verdict(MODIFIED, ETAG, cc(b"no-cache"), status=status).refusal is Refusal.NO_FRESHNESS


@pytest.mark.parametrize("status", [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501])
def test_B4_heuristic_statuses(status: int) -> None:
    found = verdict(MODIFIED, status=status)
    assert found.storable
    assert found.freshness.lifetime == 86_400


def test_B4_a_part_may_be_heuristic_too() -> None:
    assert verdict(MODIFIED, (b"Content-Range", b"bytes 0-1/5"), status=206).freshness.lifetime == 86_400
    assert 206 in HEURISTIC_STATUSES


@pytest.mark.parametrize("status", [204, 299, 302, 303, 307, 400, 401, 404, 416, 451, 499, 500, 502, 503, 504, 599])
@pytest.mark.parametrize(
    "stated", [FRESH, cc(b"s-maxage=900"), (b"Expires", format_date(NOW + 900))], ids=["cc", "shared", "expires"]
)
def test_B5_explicit_freshness_makes_any_status_storable(status: int, stated: Field) -> None:
    found = verdict(stated, status=status)
    assert found.storable
    assert found.freshness.remaining == 900


@pytest.mark.parametrize(
    ("status", "sent"),
    [(416, (b"Range", b"bytes=9-")), (412, (b"If-Match", b'"z"')), (417, (b"Expect", b"x")), (431, (b"A", b"1"))],
)
def test_B5_but_no_error_that_one_clients_fields_provoked(status: int, sent: Field) -> None:
    assert verdict(FRESH, status=status, sent=(sent,)).refusal is Refusal.STATUS


@pytest.mark.parametrize("status", [428, 429, 431, 511])
@pytest.mark.parametrize(
    "stated", [b"max-age=900", b"public, s-maxage=900", b"no-cache", b"stale-if-error=9, max-age=0"]
)
@pytest.mark.parametrize("policy", [PLAIN, CachePolicy(stale_if_error=900, stale_while_revalidate=900)])
def test_B5_answers_to_one_client_at_one_moment_are_never_stored(
    status: int, stated: bytes, policy: CachePolicy
) -> None:
    for more in ((), (ETAG,), (MODIFIED,), ((b"CDN-Cache-Control", b"max-age=900"),)):
        assert verdict(cc(stated), *more, status=status, policy=policy).refusal is Refusal.STATUS


def test_B6_public_lets_any_status_use_heuristics() -> None:
    found = verdict(MODIFIED, cc(b"public"), status=599)
    assert found.storable
    assert found.freshness.lifetime == 86_400


@pytest.mark.parametrize("value", [b"max-age=900, no-store", b"public, No-Store", b"s-maxage=9, no-store=1"])
def test_B7_no_store(value: bytes) -> None:
    expires = (b"Expires", format_date(NOW + 900))
    assert verdict(cc(value), expires, ETAG).refusal is Refusal.NO_STORE


@pytest.mark.parametrize(
    ("status", "refusal"),
    [(200, None), (404, None), (302, None), (403, None), (451, None), (599, Refusal.MUST_UNDERSTAND)],
)
def test_B8_must_understand(status: int, refusal: Refusal | None) -> None:
    assert verdict(cc(b"max-age=900, no-store, must-understand"), status=status).refusal is refusal
    assert verdict(cc(b"max-age=900, must-understand"), status=status).refusal is refusal


@pytest.mark.parametrize("pair", [ETAG, MODIFIED], ids=["etag", "modified"])
@pytest.mark.parametrize("value", [b"no-cache", b"max-age=900, No-Cache", b"no-cache="])
@pytest.mark.parametrize("policy", [PLAIN, DEFAULT], ids=["plain", "default"])
def test_B11_no_cache_is_stored_to_be_validated(pair: Field, value: bytes, policy: CachePolicy) -> None:
    found = verdict(cc(value), pair, policy=policy)
    assert found.storable
    assert found.flags == Flag.NO_CACHE | Flag.STRICT


@pytest.mark.parametrize("value", [b"no-cache", b"max-age=900, no-cache", b"no-cache, stale-if-error=9"])
def test_B11_without_a_validator_it_is_of_no_use(value: bytes) -> None:
    assert verdict(cc(value)).refusal is Refusal.NO_FRESHNESS


def test_B12_qualified_no_cache() -> None:
    found = verdict(cc(b'no-cache="f, G"'), FRESH)
    assert found.storable
    assert found.drop == {b"f", b"g"}
    assert Flag.NO_CACHE not in found.flags
    assert Flag.STRICT not in found.flags


def test_B15_pragma_in_responses_is_ignored() -> None:
    found = verdict((b"Pragma", b"no-cache"), FRESH)
    assert found.storable
    assert not found.flags


def test_B16_a_switch_to_no_store_is_a_refusal() -> None:
    assert verdict(cc(b"no-store"), ETAG).refusal is Refusal.NO_STORE


def test_B19_requests_with_a_body() -> None:
    assert verdict(FRESH, has_body=True).refusal is Refusal.REQUEST_BODY


@pytest.mark.parametrize("value", [b"no-store", b"max-age=0, No-Store", b"no-store=1"])
def test_Q6_request_no_store(value: bytes) -> None:
    assert verdict(FRESH, sent=(cc(value),)).refusal is Refusal.REQUEST_NO_STORE


def test_P14_request_directives_say_nothing_about_the_response() -> None:
    assert verdict(FRESH, sent=(cc(b"private, max-age=0, no-cache"),)).freshness.lifetime == 900


@pytest.mark.parametrize(
    "lines", [(b"*",), (b"*, *",), (b", *",), (b"Foo, *",), (b"*, Foo",), (b"*", b"*"), (b"", b"*")]
)
def test_Y4_vary_star(lines: tuple[bytes, ...]) -> None:
    vary = tuple((b"Vary", line) for line in lines)
    assert verdict(FRESH, *vary).refusal is Refusal.VARY_STAR


def test_Y1_selecting_values_are_recorded() -> None:
    found = verdict(FRESH, (b"Vary", b"Foo, Bar"), sent=((b"foo", b"1"),))
    assert dict(found.selecting) == {b"foo": b"1", b"bar": None}


@pytest.mark.parametrize(
    ("pairs", "refusal"),
    [
        (((b"Content-Range", b"bytes 0-4/10"),), None),
        (((b"Content-Range", b"bytes 0-4/*"),), None),
        ((), Refusal.RANGE),
        (((b"Content-Range", b"bytes 4-0/10"),), Refusal.RANGE),
        (((b"Content-Range", b"bytes 0-9/9"),), Refusal.RANGE),
        (((b"Content-Range", b"lines 0-4/10"),), Refusal.RANGE),
        (((b"Content-Range", b"bytes 0-4/10"), (b"Content-Range", b"bytes 5-9/10")), Refusal.RANGE),
        (((b"Content-Type", b"Multipart/ByteRanges; boundary=x"),), Refusal.RANGE),
        (((b"Content-Type", b"multipart/byteranges"), (b"Content-Range", b"bytes 0-4/10")), Refusal.RANGE),
    ],
)
def test_R5_single_parts_in_bytes(pairs: tuple[Field, ...], refusal: Refusal | None) -> None:
    found = verdict(FRESH, *pairs, status=206, sent=((b"Range", b"bytes=0-4"),))
    assert found.refusal is refusal
    assert (Flag.PARTIAL in found.flags) is (refusal is None)


def test_R12_content_range_on_a_200_means_nothing() -> None:
    found = verdict(FRESH, (b"Content-Range", b"junk"))
    assert found.storable
    assert Flag.PARTIAL not in found.flags


@pytest.mark.parametrize(
    ("value", "strict"),
    [
        (b"max-age=2, must-revalidate", True),
        (b"max-age=2, proxy-revalidate", True),
        (b"s-maxage=2", True),
        (b'max-age=2, no-cache="a"', False),
        (b"max-age=2", False),
    ],
)
def test_E1_what_may_never_be_stale(value: bytes, strict: bool) -> None:
    assert (Flag.STRICT in verdict(cc(value)).flags) is strict


@pytest.mark.parametrize(
    ("pairs", "status", "refusal"),
    [
        ((), 200, Refusal.NO_FRESHNESS),
        ((ETAG,), 200, None),
        ((cc(b"max-age=0"),), 200, Refusal.NO_FRESHNESS),
        ((cc(b"max-age=0"), ETAG), 200, None),
        ((cc(b"max-age=0"), ETAG), 404, Refusal.NO_FRESHNESS),
        ((cc(b"max-age=0, stale-while-revalidate=9"),), 200, None),
        ((cc(b"max-age=0, stale-if-error=9"),), 200, None),
        ((cc(b"max-age=0, must-revalidate, stale-if-error=9"),), 200, Refusal.NO_FRESHNESS),
        ((cc(b"max-age=9"), (b"Age", b"50")), 200, None),
        ((cc(b'max-age=0, private="ETag"'), ETAG), 200, Refusal.NO_FRESHNESS),
    ],
    ids=["bare", "etag", "zero", "zero-etag", "404", "swr", "sie", "strict", "over", "no-etag-kept"],
)
def test_F9_only_what_can_be_of_use(pairs: tuple[Field, ...], status: int, refusal: Refusal | None) -> None:
    assert verdict(*pairs, status=status).refusal is refusal


def test_announced_length_beyond_the_bound() -> None:
    policy = attrs.evolve(PLAIN, max_body=10)
    assert verdict(FRESH, (b"Content-Length", b"11"), policy=policy).refusal is Refusal.TOO_LARGE
    assert verdict(FRESH, (b"Content-Length", b"10"), policy=policy).storable


def posted(*pairs: Field, status: int = 201, describes: bool = True, method: bytes = b"POST") -> Refusal | None:
    return judge_post(
        RequestHead(method, b"/a"),
        ResponseHead(status, b"", Fields(pairs)),
        policy=DEFAULT,
        established=True,
        describes_target=describes,
        requested_at=NOW,
        received_at=NOW,
    ).refusal


def test_M8_post_with_freshness_about_its_target() -> None:
    assert posted(FRESH) is None
    assert posted(FRESH, describes=False) is Refusal.METHOD
    assert posted(FRESH, status=206) is Refusal.METHOD
    assert posted(FRESH, status=404) is Refusal.METHOD
    assert posted(FRESH, method=b"PUT") is Refusal.METHOD
    assert posted() is Refusal.NO_FRESHNESS
    assert posted(cc(b"max-age=0"), ETAG) is Refusal.NO_FRESHNESS
    assert posted(cc(b"max-age=9, private")) is Refusal.PRIVATE


NAMES = st.sampled_from(
    [b"Cache-Control", b"CDN-Cache-Control", b"Vary", b"Content-Range", b"Content-Length", b"ETag", b"Set-Cookie"]
)
LINES = st.lists(st.tuples(NAMES, st.binary(max_size=20) | st.sampled_from([b"max-age=9", b"public", b"bytes 0-1/2"])))


@settings(deadline=None, derandomize=True, max_examples=200)
@given(LINES, st.integers(0, 999), st.lists(st.tuples(st.sampled_from([b"Cookie", b"Range"]), st.binary(max_size=9))))
def test_no_bytes_raise(pairs: list[Field], status: int, sent: list[Field]) -> None:
    found = verdict(*pairs, status=status, sent=tuple(sent), policy=DEFAULT)
    if found.storable:
        request, response = RequestHead(b"GET", b"/", Fields(sent)), ResponseHead(status, b"", Fields(pairs))
        assert make_entry(b"k", request, response, b"", found, DEFAULT, NOW).keep >= DEFAULT.keep_stale
