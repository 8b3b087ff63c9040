"""The look that suffices for ordinary responses never decides otherwise than the checks do."""

from __future__ import annotations

from itertools import product

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.judged import ETAG, FRESH, MODIFIED, NOW, PLAIN, cc

from caching_proxy.http.dates import format_date
from caching_proxy.http.messages import Field, Fields, RequestHead, ResponseHead
from caching_proxy.http.targeted_control import select_control
from caching_proxy.rules import glance, storability
from caching_proxy.rules.glance import AGES, POLICIES, fast_verdict
from caching_proxy.rules.make_entry import make_entry, plain_entry, plain_lines
from caching_proxy.rules.policy import CachePolicy, Override
from caching_proxy.rules.storability import Verdict, judge
from caching_proxy.rules.storability_checks import fast_is_clear, telling_of
from caching_proxy.rules.variance import asked_of, selecting_of
from caching_proxy.upstream.head_lines import HeadLines

DIRECTIVES = (
    *(b"max-age=900", b"max-age=0", b"max-age=x", b"max-age", b"s-maxage=9", b"s-maxage=0", b"public", b"private"),
    *(b'private="x-u"', b'private="set-cookie"', b"no-cache", b'no-cache="x-u, etag"', b"no-cache=", b"no-store"),
    *(b"No-Store", b"no-store=1", b"must-understand", b"must-revalidate", b"proxy-revalidate", b"immutable"),
    *(b"stale-while-revalidate=60", b"stale-if-error=x", b"no-transform", b"x-unknown=1", b'"max-age=1', b""),
    *(b"no-store; max-age=0", b"private;max-age=60", b'x="no-cache"', b"no_store"),
)
ANSWERED: tuple[Field, ...] = (
    *(cc(value) for value in DIRECTIVES),
    *(MODIFIED, ETAG, (b"etag", b""), (b"Vary", b"Foo"), (b"vary", b"*"), (b"Vary", b""), (b"X-U", b"1")),
    *((b"Set-Cookie", b"a=b"), (b"set-cookie2", b"a=b"), (b"Date", b"soon"), (b"Date", format_date(NOW - 60))),
    *((b"Age", b"7"), (b"Age", b"1000"), (b"Expires", b"0"), (b"Expires", format_date(NOW + 60))),
    *((b"Content-Length", value) for value in (b"0", b"100", b"101", b"9" * 40, b"x", b"")),
    *((b"Content-Range", b"bytes 0-1/2"), (b"Content-Type", b"multipart/byteranges"), (b"Location", b"/")),
)
ASKED: tuple[Field, ...] = (
    *((b"Authorization", b"x"), (b"Cookie", b"sid=1"), (b"cookie", b"_ga=1"), (b"Cookie", b""), (b"Foo", b"1")),
    *((b"Cache-Control", b"no-cache"), (b"cache-control", b"max-age=0, no-store"), (b"Range", b"bytes=0-1")),
    *((b"Accept-Encoding", b"gzip"), (b"Expect", b"100-continue"), (b"X", b"y" * 3000)),
)
STATUSES = (200, 206, 301, 302, 304, 404, 416, 500, 600)

controls = st.lists(st.sampled_from(DIRECTIVES), max_size=3).map(b", ".join)
answered = st.one_of(
    controls.map(cc),
    st.builds(lambda value: (b"CDN-Cache-Control", value), controls),
    st.sampled_from(ANSWERED),
)
policies = st.builds(
    CachePolicy,
    default_ttl=st.sampled_from([0, 60]),
    cookie_bypass=st.booleans(),
    ignored_cookies=st.sampled_from([(), (b"_ga*",)]),
    stale_while_revalidate=st.sampled_from([0, 5]),
    stale_if_error=st.sampled_from([0, 5]),
    targets=st.sampled_from([(), (b"cdn-cache-control",)]),
    max_body=st.just(100),
)


def both_ways(
    request: RequestHead,
    response: ResponseHead,
    policy: CachePolicy,
    established: bool,
    has_body: bool = False,
    requested_at: float = NOW,
) -> tuple[Verdict, Verdict]:
    """What is decided with and without the glance."""

    def decide() -> Verdict:
        return judge(
            request,
            response,
            policy=policy,
            established=established,
            has_body=has_body,
            requested_at=requested_at,
            received_at=NOW,
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storability, "fast_is_clear", lambda *_: False)
        by_the_checks = decide()
    return decide(), by_the_checks


@pytest.mark.slow
@pytest.mark.parametrize("established", [True, False])
@pytest.mark.parametrize("policy", [PLAIN, CachePolicy(default_ttl=60)], ids=["plain", "default"])
@pytest.mark.parametrize("base", [(), (FRESH,)], ids=["nothing", "lifetime"])
def test_a_glance_and_the_checks_agree_whatever_one_thing_is_odd(
    base: tuple[Field, ...], policy: CachePolicy, established: bool
) -> None:
    """One in the request, one in the response, and the status."""
    policy = attrs.evolve(policy, max_body=100)
    for sent, extra, status in product(((), *zip(ASKED)), ((), *zip(ANSWERED)), STATUSES):
        pairs = (*base, *extra)
        if extra and base and extra[0][0] == b"Cache-Control":
            pairs = (cc(b"%b, %b" % (base[0][1], extra[0][1])),)
        request, response = RequestHead(b"GET", b"/x", Fields(sent)), ResponseHead(status, b"", Fields(pairs))
        glanced, checked = both_ways(request, response, policy, established)
        assert glanced == checked, (sent, pairs, status)


@settings(deadline=None, derandomize=True, max_examples=300)
@given(
    st.sampled_from([b"GET", b"GET", b"GET", b"HEAD", b"get"]),
    st.lists(st.sampled_from(ASKED), max_size=2),
    st.sampled_from([200, *STATUSES]),
    st.lists(answered, max_size=4),
    policies,
    st.booleans(),
    st.booleans(),
    st.sampled_from([NOW, NOW - 3]),
)
def test_a_glance_and_the_checks_agree(
    method: bytes,
    sent: list[Field],
    status: int,
    pairs: list[Field],
    policy: CachePolicy,
    established: bool,
    has_body: bool,
    requested_at: float,
) -> None:
    request, response = RequestHead(method, b"/x", Fields(sent)), ResponseHead(status, b"", Fields(pairs))
    glanced, checked = both_ways(request, response, policy, established, has_body, requested_at)
    assert glanced == checked


def clear(*pairs: Field, sent: tuple[Field, ...] = (), status: int = 200, established: bool = False) -> bool:
    control, _ = select_control(Fields(pairs), PLAIN.targets)
    return fast_is_clear(
        RequestHead(b"GET", b"/x", Fields(sent)),
        ResponseHead(status, b"", Fields(pairs)),
        PLAIN,
        control,
        established,
        False,
    )


@pytest.mark.parametrize(
    "pairs",
    [
        (),
        (FRESH, ETAG, MODIFIED, (b"Content-Length", b"12")),
        (cc(b"public, s-maxage=9, must-revalidate, immutable"),),
        (cc(b"no-store"), (b"CDN-Cache-Control", b"max-age=9")),
    ],
    ids=["nothing", "plain", "strict", "targeted"],
)
def test_most_responses_are_clear_at_a_glance(pairs: tuple[Field, ...]) -> None:
    assert clear(*pairs)
    assert clear(*pairs, status=301)
    assert clear(*pairs, sent=((b"Cache-Control", b"no-cache"), (b"Accept", b"*/*")))
    assert clear(*pairs, sent=((b"Authorization", b"x"),), established=True)


@pytest.mark.parametrize(
    ("pairs", "sent"),
    [
        *(((cc(value),), ()) for value in (b"no-store", b"private", b'no-cache="a"', b"must-understand")),
        *(((FRESH, (name, b"a")), ()) for name in (b"Vary", b"Set-Cookie", b"Set-Cookie2")),
        *(((FRESH,), ((name, b"no-store"),)) for name in (b"Authorization", b"Cookie", b"Cache-Control", b"Range")),
    ],
)
def test_what_a_check_may_refuse_is_not(pairs: tuple[Field, ...], sent: tuple[Field, ...]) -> None:
    assert not clear(*pairs, sent=sent)


HEADS_READ = HeadLines()
ORDINARY_LINES = (
    *(
        b"Content-Type: text/html",
        b"Content-Type: text/event-stream",
        b"Vary: Foo, accept-encoding",
        b"Vary: *",
        b"Vary: a b",
        b"Vary:",
        b"Set-Cookie: a=b",
        b"Age: 7",
    ),
    *(b"ETag: x", b"Last-Modified: " + format_date(NOW - 864_000), b"Expires: " + format_date(NOW + 90), b"Expires: 0"),
    *(b"Surrogate-Key: a", b"Proxy-Authenticate: x", b"Location: /", b"Connection: close", b"Connection: foo", b"X: y"),
    *(
        b"CDN-Cache-Control: max-age=7",
        b"CDN-Cache-Control: no-store",
        b"CDN-Cache-Control: x",
        b"Cache-Status: a; hit",
    ),
)
DATES = (format_date(NOW), format_date(NOW - 7), format_date(NOW - 5000), format_date(NOW + 3), b"soon")
SECOND = CachePolicy(default_ttl=60, stale_while_revalidate=5, stale_if_error=9, max_body=100)
OTHERS = (
    *(CachePolicy(default_ttl=0, max_body=100), SECOND, CachePolicy(vary=(b"foo",)), CachePolicy(tags=(b"t",))),
    *(CachePolicy(override=Override(ttl=4)), CachePolicy(targets=(b"x",)), CachePolicy(targets=(), max_body=4)),
)


@settings(deadline=None, derandomize=True, max_examples=600)
@given(
    st.sampled_from([(), (), *((field,) for field in ASKED)]),
    st.sampled_from([200, 200, *STATUSES]),
    st.one_of(st.sampled_from([b"max-age=900", None, b"public"]), controls),
    st.lists(st.sampled_from(ORDINARY_LINES), max_size=2),
    st.sampled_from(DATES),
    st.sampled_from([5, 5, 0, 101]),
    st.sampled_from(OTHERS),
    st.booleans(),
    st.sampled_from([NOW, NOW - 3, NOW + 3]),
)
def test_what_the_same_lines_decided_before_is_what_the_rules_decide(
    sent: tuple[Field, ...],
    status: int,
    control: bytes | None,
    lines: list[bytes],
    date: bytes,
    length: int,
    policy: CachePolicy,
    established: bool,
    requested_at: float,
) -> None:
    """Of heads as they come from a backend: the examples share what is remembered of their lines."""
    received = [b"Date: " + date, b"Content-Length: %d" % length, *lines]
    if control is not None:
        received.append(b"Cache-Control: " + control)
    head = HEADS_READ.read(b"HTTP/1.1 %d OK\r\n%b\r\n\r\n" % (status, b"\r\n".join(received)))
    request = RequestHead(b"GET", b"/x", Fields(sent))
    times = {"requested_at": requested_at, "received_at": NOW}
    fields = {"policy": policy, "established": established, "has_body": False}
    remembered = judge(request, head, **fields, **times)  # type: ignore[arg-type]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storability, "fast_verdict", lambda *_: None)
        assert remembered == judge(request, head, **fields, **times)  # type: ignore[arg-type]
    glanced = fast_verdict(telling_of(request.fields), head, policy, established, requested_at, NOW)
    if glanced is not None and not policy.tags:
        entry = make_entry(b"cache:GET:anonymous:/x", request, head, b"", remembered, policy, NOW, b"s")
        selecting = selecting_of(request, head.fields)
        assert selecting is not None
        assert head.fields.lines is not None
        kept, asked = plain_lines(head.fields.lines), asked_of(request.fields)
        plain = plain_entry(
            entry.key, head, kept, b"", glanced, policy, NOW, b"s", None if selecting else asked, selecting
        )
        assert attrs.astuple(plain, recurse=False) == attrs.astuple(entry, recurse=False)


def test_most_verdicts_are_remembered() -> None:
    lines = b"Date: %b\r\nContent-Length: 5\r\nCache-Control: max-age=9\r\nETag: %d"
    heads = [HEADS_READ.read(b"HTTP/1.1 200 OK\r\n" + lines % (format_date(NOW), tag) + b"\r\n\r\n") for tag in (1, 2)]
    verdicts = [fast_verdict(frozenset(), head, PLAIN, True, NOW, NOW) for head in heads]
    assert verdicts[0] is verdicts[1] is not None


@pytest.mark.parametrize("control", [b"", b"Cache-Control: public\r\n"])
def test_the_default_lifetime_is_for_those_that_say_nothing(control: bytes) -> None:
    lines = b"HTTP/1.1 200 OK\r\nDate: %b\r\nContent-Length: 5\r\n%b" % (format_date(NOW), control)
    verdict = fast_verdict(frozenset(), HEADS_READ.read(lines + b"\r\n"), SECOND, True, NOW, NOW)
    assert verdict is not None
    assert (verdict.freshness.lifetime, verdict.freshness.explicit) == (60, False)
    for more in (b"Expires: 0\r\n", b"expires: " + format_date(NOW + 9) + b"\r\n"):
        assert fast_verdict(frozenset(), HEADS_READ.read(lines + more + b"\r\n"), SECOND, True, NOW, NOW) is None
    assert fast_verdict(frozenset(), HEADS_READ.read(lines + b"\r\n"), PLAIN, True, NOW, NOW) is None


def test_what_is_remembered_of_the_same_lines_is_bounded() -> None:
    lines = b"Date: %b\r\nContent-Length: 5\r\nCache-Control: max-age=900"
    head = HEADS_READ.read(b"HTTP/1.1 200 OK\r\n" + lines % format_date(NOW) + b"\r\n\r\n")
    policies = [CachePolicy(default_ttl=number) for number in range(3 * POLICIES)]
    for policy in policies:
        for age in range(3 * AGES):
            verdict = fast_verdict(frozenset(), head, policy, True, NOW, NOW + age)
            assert verdict is not None
            assert verdict.freshness.initial_age == age
    room = head.fields.told(glance._room)
    assert len(room) <= POLICIES
    assert all(len(said.verdicts) <= AGES for said in room.values())
