"""Whatever requests say, in whatever order they come: the hot path writes what the full path would have written."""

from __future__ import annotations

from ipaddress import ip_network

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hot_and_full import Served
from support.many_requests import ANSWERS, CODINGS, LINES
from twisted.internet.defer import Deferred

from caching_proxy.cache.plan import resolve
from caching_proxy.cache.requests import CacheResponse, ClientRequest, Plan
from caching_proxy.rules.request_traits import traits_under
from caching_proxy.web.hosts import HostPolicy
from caching_proxy.web.peers import TrustedPeers

RULES = (
    (),
    ({"match": "^/x", "share": "everyone", "mode": "override", "ttl": 5},),
    ({"match": "^/x", "share": "token"}, {"match": "^/y", "ignore_params": ["z"]}),
    ({"match": "^/x/$", "share": "none"}, {"match": "^/x", "vary": ["Accept-Language", "Foo"], "collapse": False}),
    ({"match": r"\?z", "share": "none"}, {"match": "^/", "ttl": 1, "stale_while_revalidate": 3}),
)

NEAR = (ip_network("192.168.1.0/24"),)

NOTHING, HOT, MEMORY = "nothing", "the hot tier", "all but the store"  # what is forgotten before it

requests = st.tuples(
    st.sampled_from(("GET", "GET", "GET", "HEAD")),
    st.sampled_from(("/x", "/x", "/x", "/x/", "/y?z", "/y/..//x", "http://proxy.test/x")),
    st.sampled_from(("Host: proxy.test", "Host: proxy.test", "Host: Other.test:81")),
    st.lists(st.sampled_from(LINES), max_size=4),
    st.sampled_from((0, 0, 0, 0.4, 1, 2.5)),
    st.sampled_from((NOTHING, NOTHING, HOT, MEMORY)),
)


def forget(served: Served, what: str) -> None:
    if what == HOT:
        served.proxy.hot.clear()
    elif what == MEMORY:
        served.proxy.cache.forget()


def reads(served: Served) -> tuple[object, ...]:
    """What was asked of each tier, and what that came to."""
    hot, burst, reader = served.proxy.hot, served.proxy.burst, served.proxy.cache.reader
    return hot.hits, hot.misses, burst.hits, burst.misses, reader.asked, reader.found, served.proxy.lookups


def plans_of(served: Served) -> list[Plan]:
    """Those that the hot path hands on from now on; each is what the resolver says of the same request."""
    pipeline, plans = served.proxy.pipeline, list[Plan]()
    traits, handle = traits_under(served.proxy.policy), pipeline.handle

    def checked(client_request: ClientRequest) -> CacheResponse | Deferred[CacheResponse]:
        if client_request.plan is not None:
            head = client_request.head
            identity = pipeline.parts.verifier.identify(head)
            expected = resolve(client_request, identity, traits(head.fields), served.proxy.terms)
            assert attrs.asdict(client_request.plan, recurse=False, filter=_resolved) == attrs.asdict(
                expected, recurse=False, filter=_resolved
            )
            plans.append(client_request.plan)
        return handle(client_request)

    pipeline.handle = checked  # type: ignore[method-assign]
    return plans


def _resolved(attribute: attrs.Attribute[object], value: object) -> bool:
    return attribute.name not in ("wanted", "found")


def text(method: str, target: str, *lines: str) -> str:
    return "\r\n".join((f"{method} {target} HTTP/1.1", *lines, "", ""))


@settings(max_examples=250, deadline=None, derandomize=True)
@given(
    st.lists(requests, min_size=2, max_size=12),
    st.sampled_from(ANSWERS),
    st.booleans(),
    st.sampled_from((HostPolicy(), HostPolicy(frozenset((b"proxy.test", b"other.test")), preserve=True))),
    st.booleans(),
    st.sampled_from(RULES),
    st.sampled_from(RULES),
    st.sampled_from(CODINGS),
)
@pytest.mark.slow
def test_hot_and_full_are_alike(sent, answer, trusting, hosts, cookies, rules, later, codings):
    peers = TrustedPeers(NEAR if trusting else ())
    pair = [
        Served(
            hot,
            hosts=hosts,
            peers=peers,
            ignored_cookies=(b"_ga*",),
            cookie_bypass=cookies,
            compress=codings,
        )
        for hot in (True, False)
    ]
    for served in pair:
        served.proxy.says(*answer, body=b"0123456789" * (30 if codings else 1))
        served.ruled(*rules)
    plans_of(pair[0])
    for at, (method, target, host, lines, wait, forgotten) in enumerate(sent):
        if at == len(sent) // 2:
            for served in pair:
                served.ruled(*later)
        for served in pair:
            forget(served, forgotten)
        for _ in range(3):  # once each for the store, for the first time in a second, and from what was kept
            written = [served.send(text(method, target, host, *lines)) for served in pair]
            assert written[0] == written[1]
        for served in pair:
            served.proxy.advance(wait)
    for served in pair:
        served.access.flush()
    assert pair[0].log.getvalue() == pair[1].log.getvalue()
    assert pair[0].proxy.count == pair[1].proxy.count
    assert reads(pair[0]) == reads(pair[1])
    for served in pair:
        served.close()


def test_a_head_that_is_declined_is_not_worked_out_again():
    served = Served(True)
    plans = plans_of(served)
    served.proxy.says("Cache-Control: max-age=1, stale-while-revalidate=9")
    for wait in (2, 2, 0):  # a miss, then something stale
        served.send(text("GET", "/x", "Host: a"))
        served.proxy.advance(wait)
    served.send(text("GET", "/y", "Host: a", "Range: bytes=0-1,3-4"))
    served.send(text("GET", "/x", "Host: a", "Cache-Control: no-cache"))
    served.send(text("GET", "/z", "Host: a", "Authorization: Basic eDp5"))
    assert [plan.key[-2:] for plan in plans] == [b"/x", b"/x", b"/x", b"/y", b"/x", b"/z"]
    served.close()


def test_what_differs_in_every_request_does_not_decline():
    served = Served(True, peers=TrustedPeers(NEAR), ignored_cookies=(b"_ga*",))
    served.proxy.says("Cache-Control: max-age=900", 'ETag: "a"', "Vary: Accept-Encoding")
    for n in range(20):
        lines = (
            *(f"X-Request-ID: id-{n}", f"traceparent: 00-{n}", f"X-Forwarded-For: 192.0.2.{n}", f"Cookie: _ga={n}"),
            *(f"X-New-{n}: {n}", f'If-None-Match: "{n}"', f"User-Agent: {n}", f"Forwarded: for=192.0.2.{n}"),
        )
        for accepted in ("gzip", "br"):
            served.send(
                text("GET", "/x", "Host: a", "X-Forwarded-Proto: https", f"Accept-Encoding: {accepted}", *lines)
            )
    assert served.answered == 38
    served.access.flush()
    assert '"requestId":"id-19"' in served.log.getvalue().splitlines()[-1], "as the trusted proxy has it"
    served.close()
