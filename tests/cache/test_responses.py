"""The heads of answers: those of ordinary ones, made of encoded lines, say what any other way of making them would."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caching_proxy.cache.requests import CacheRequest, ClientRequest, Plan
from caching_proxy.cache.responses import Responses
from caching_proxy.http.body import Body
from caching_proxy.http.messages import Field, Fields, RequestHead, ResponseHead
from caching_proxy.interfaces import Identity, UpstreamResponse
from caching_proxy.rules.explain import with_explanation
from caching_proxy.rules.key import KeyPolicy
from caching_proxy.rules.make_entry import make_entry
from caching_proxy.rules.outcome import CacheStatus, Forward
from caching_proxy.rules.policy import CachePolicy
from caching_proxy.rules.request_traits import traits_under
from caching_proxy.rules.reuse import Lookup, Use
from caching_proxy.rules.scope import PLAIN_VIEW
from caching_proxy.rules.storability import judge
from caching_proxy.rules.stored_response import answer
from caching_proxy.rules.terms import Terms

NOW = 1_700_000_000.0
KEY = b"cache:GET:anonymous:/x"
BODY = b"content"
POLICY = CachePolicy()
FETCH = Lookup(Use.FETCH, forward=Forward.URI_MISS)
REQUEST = RequestHead(b"GET", b"/x", Fields([(b"Host", b"a")]))
LENGTH: Field = (b"Content-Length", b"%d" % len(BODY))
LINES: list[Field] = [
    (b"Date", b"Tue, 14 Nov 2023 22:13:20 GMT"),
    (b"Date", b"nonsense"),
    LENGTH,
    (b"Transfer-Encoding", b"chunked"),
    (b"Age", b"5"),
    (b"Connection", b"keep-alive"),
    (b"Connection", b"x-hop, date"),
    (b"Connection", b"content-length"),
    (b"X-Hop", b"1"),
    (b"Keep-Alive", b"timeout=5"),
    (b"X-Cache-Status", b"HIT"),
    (b"Cache-Status", b"other; hit"),
    (b"Proxy-Authenticate", b"Basic"),
    (b"Cache-Control", b'max-age=60, no-cache="x-hop"'),
    (b"Cache-Control", b"max-age=60"),
    (b"ETag", b'"a"'),
    (b"X-More", b"1"),
    (b"X-More", b"2"),
]


def cache_request() -> CacheRequest:
    client_request = ClientRequest(REQUEST, Body.of(b""), b"", b"id")
    traits, terms = traits_under(POLICY)(REQUEST.fields), Terms(POLICY, KeyPolicy())
    plan = Plan(traits, Identity(b"anonymous", "anonymous"), terms, KEY, PLAIN_VIEW)
    return CacheRequest(client_request, plan)


def by_name(fields: Fields) -> dict[bytes, list[bytes]]:
    """What a client reads: fields of different names have no order among them (RFC 9110 §5.3)."""
    return fields.index


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    name=st.sampled_from([b"us", None]),
    pairs=st.lists(st.sampled_from(LINES), unique=True, max_size=8),
    status=st.sampled_from([200, 204, 404]),
)
def test_lines_that_are_stored_serve_the_client(name: bytes | None, pairs: list[Field], status: int) -> None:
    body = b"" if status == 204 else BODY
    head = ResponseHead(status, b"Said", Fields(pairs))
    verdict = judge(REQUEST, head, policy=POLICY, established=True, has_body=False, requested_at=NOW, received_at=NOW)
    if verdict.refusal is not None or verdict.drop:
        return
    made = make_entry(KEY, REQUEST, head, body, verdict, POLICY, NOW)
    response, responses = UpstreamResponse(head, Body.of(body), len(body)), Responses(name)
    whole = responses.fast_fetched(cache_request(), FETCH, response, made, NOW)
    lines = responses.fetched(cache_request(), FETCH, response, body, made, NOW)
    found, expected = by_name(whole.head.fields), by_name(lines.head.fields)
    if whole.framed and not lines.framed:  # the other leaves it to whoever sends it
        expected = {**expected, b"content-length": [b"%d" % len(body)]}
    assert found == expected
    assert (whole.head.status, whole.head.reason, whole.body) == (status, b"Said", body)
    assert not whole.framed or status != 204


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    st.sampled_from([b"us", None]),
    st.lists(st.sampled_from(LINES), unique=True, max_size=8),
    st.sampled_from([200, 204, 404]),
)
def test_the_short_way_from_the_store_says_what_the_long_one_does(
    name: bytes | None, pairs: list[Field], status: int
) -> None:
    head, body = ResponseHead(status, b"Said", Fields(pairs)), b"" if status == 204 else BODY
    verdict = judge(REQUEST, head, policy=POLICY, established=True, has_body=False, requested_at=NOW, received_at=NOW)
    if verdict.refusal is not None:
        return
    made = make_entry(KEY, REQUEST, head, body, verdict, POLICY, NOW)
    short = Responses(name).stored(cache_request(), made, CacheStatus.HIT, NOW + 1)
    long = answer(REQUEST, made, NOW + 1)
    fields = with_explanation(long.head.fields, made, CacheStatus.HIT, NOW + 1, name)
    assert (short.head.status, short.head.reason, short.head.fields) == (long.head.status, long.head.reason, fields)
    assert (short.body, short.length, short.framed) == (long.body, len(body), status != 204)


@pytest.mark.parametrize(
    ("method", "status", "lines", "framed"),
    [
        (b"POST", 200, [LENGTH], True),
        (b"POST", 200, [], False),
        (b"POST", 200, [(b"Content-Length", b"8")], False),
        (b"POST", 200, [LENGTH, (b"Transfer-Encoding", b"chunked")], False),
        (b"POST", 200, [LENGTH, (b"Connection", b"close, content-length")], False),
        (b"POST", 304, [LENGTH], False),
        (b"HEAD", 200, [LENGTH], False),
    ],
    ids=["said", "unsaid", "wrong", "chunked", "named-by-connection", "no-content", "head"],
)
def test_a_relayed_answer_is_framed_only_if_its_length_goes_with_it(
    method: bytes, status: int, lines: list[Field], framed: bool
) -> None:
    response = UpstreamResponse(ResponseHead(status, b"", Fields(lines)), Body.of(BODY), len(BODY))
    identity = Identity(b"anonymous", "anonymous")
    found = Responses(b"us").passed(method, identity, response, CacheStatus.NOT_APPLICABLE, NOW)
    assert found.framed is framed
    assert not framed or found.head.fields.all(b"content-length") == [b"%d" % len(BODY)]
