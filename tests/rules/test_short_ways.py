"""What the short ways of a hit decide and say is what the general functions decide and say."""

from __future__ import annotations

import attrs
from hypothesis import given
from hypothesis import strategies as st

from caching_proxy.http.messages import Field, Fields, RequestHead
from caching_proxy.http.request_directives import NO_DIRECTIVES
from caching_proxy.rules.entry import CacheEntry, Flag
from caching_proxy.rules.explain import fast_whole_head, with_explanation
from caching_proxy.rules.outcome import CacheStatus
from caching_proxy.rules.reuse import Use, choose, fast_answers
from caching_proxy.rules.scope import PLAIN_VIEW
from caching_proxy.rules.stored_response import answer

RECEIVED = 1_700_000_000.0
LINES: list[Field] = [
    (b"Content-Type", b"text/html"),
    (b"ETag", b'"1"'),
    (b"Vary", b"Accept"),
    (b"CACHE-Status", b"other; hit"),
    (b"X-Odd", b"cache-status"),
    (b"Set-Cookie", b"a=b"),
]
ENTRIES = st.builds(
    CacheEntry,
    key=st.just(b"cache:GET:anonymous:/x"),
    status=st.sampled_from([200, 203, 204, 206, 304, 404]),
    reason=st.sampled_from([b"OK", b"", b"100 %b"]),
    head=st.lists(st.sampled_from(LINES), max_size=4).map(lambda pairs: Fields(pairs).encoded()),
    body=st.sampled_from([b"", b"body"]),
    received_at=st.floats(RECEIVED, RECEIVED + 1),
    initial_age=st.integers(0, 5),
    lifetime=st.one_of(st.integers(0, 20), st.sampled_from([2**31, 2**40])),
    stale_while_revalidate=st.sampled_from([0, 10]),
    keep=st.integers(0, 30),
    flags=st.integers(0, 31).map(Flag),
    selecting=st.sampled_from([(), ((b"accept", b"*/*"),), ((b"accept", None),)]),
    part=st.sampled_from([None, (0, 10)]),
    scope=st.sampled_from([b"", b"/"]),
)
TIMES = st.floats(RECEIVED - 2, RECEIVED + 40)
REQUESTS = st.builds(
    lambda method, pairs: RequestHead(method, b"/x", Fields(pairs)),
    st.sampled_from([b"GET", b"HEAD"]),
    st.lists(st.sampled_from([(b"Accept", b"*/*"), (b"Host", b"h"), (b"Accept-Encoding", b"gzip")]), max_size=3),
)


@given(ENTRIES, TIMES, REQUESTS)
def test_what_answers_plainly_is_chosen(entry: CacheEntry, now: float, asked: RequestHead) -> None:
    wishes = attrs.evolve(NO_DIRECTIVES)  # the same, but another object: the general way
    chosen = choose(asked, wishes, [entry], now, PLAIN_VIEW)
    if fast_answers(entry, now):
        assert (chosen.use, chosen.entry) == (Use.HIT, entry)
    elif not entry.selecting and not entry.scope and Flag.PARTIAL not in entry.flags:
        assert chosen.use is not Use.HIT, "what is short for nobody is no short way"


@given(ENTRIES, TIMES, st.sampled_from([b"us", None]), st.sampled_from([CacheStatus.HIT, CacheStatus.HOT_HIT]))
def test_the_head_of_the_whole_is_that_of_any_answer(
    entry: CacheEntry, now: float, name: bytes | None, status: CacheStatus
) -> None:
    head = fast_whole_head(entry, status, now, name)
    if head is None:
        return
    made = answer(RequestHead(b"GET", b"/x", Fields()), entry, now)
    lines = with_explanation(made.head.fields, entry, status, now, name).encoded()
    assert head == b"HTTP/1.1 %d %b\r\n%b\r\n" % (made.head.status, made.head.reason, lines)
    assert made.body == entry.body
