"""Nothing but the lines said to be read decides about a request before anything stored is looked at."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caching_proxy.http.framing import BadMessage, connection_options, keeps_alive, request_framing
from caching_proxy.http.messages import Fields, RequestHead
from caching_proxy.rules.policy import CachePolicy
from caching_proxy.rules.relevance import is_read
from caching_proxy.rules.request_traits import traits_of
from caching_proxy.rules.scope import scope_of

NAMES = (
    *("Accept", "Authorization", "Cache-Control", "Cache-Refresh", "Connection", "Content-Length", "Content_Length"),
    *("Cookie", "Expect", "Forwarded", "Front-End-Https", "Host", "If-Match", "If-Modified-Since", "If-None-Match"),
    *("If-Range", "If-Unmodified-Since", "Max-Forwards", "Pragma", "Range", "TE", "Trailer", "Transfer-Encoding"),
    *("Transfer_Encoding", "Upgrade", "Via", "X-Cache-Refresh", "X-Forwarded-For", "X-Forwarded-Proto", "X-Request-ID"),
    *("X-Forwarded-Port", "X-Forwarded-Anything", "X-Original-URL", "X-HTTP-Method-Override", "User-Agent", "X_Host"),
)
VALUES = (b"1", b"chunked", b"close", b"a=b", b"no-cache", b"true", b"1.1 us", b"host=x;proto=https", b"100-continue")


def framing(fields: Fields) -> object:
    try:
        return request_framing(RequestHead(b"GET", b"/", fields))
    except BadMessage as problem:
        return problem.status


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.sampled_from([name.encode() for name in NAMES]), st.sampled_from(VALUES)), max_size=6),
    st.booleans(),
)
def test_other_lines_decide_nothing(pairs, cookies):
    fields, policy = Fields(pairs), CachePolicy(cookie_bypass=cookies, proxy_name=b"us")
    read = Fields([(name, value) for name, value in pairs if is_read(name.lower())])
    ours, theirs = traits_of(fields, policy), traits_of(read, policy)
    assert (ours.loop, ours.bypass, ours.control, ours.conditional, ours.plain) == (
        *(theirs.loop, theirs.bypass, theirs.control, theirs.conditional, theirs.plain),
    )
    assert (ours.passing is None) == (theirs.passing is None)
    for trusted in (False, True):
        assert scope_of(b"/x/", fields, b"http", trusted) == scope_of(b"/x/", read, b"http", trusted)
    assert framing(fields) == framing(read)
    assert (keeps_alive(1, fields), connection_options(fields)) == (keeps_alive(1, read), connection_options(read))
    assert fields.all(b"authorization") == read.all(b"authorization")


@pytest.mark.parametrize("name", [b"accept", b"user-agent", b"x-forwarded-for", b"traceparent", b"sec-fetch-mode"])
def test_lines_that_differ_in_every_request_are_not_read(name):
    assert not is_read(name)
