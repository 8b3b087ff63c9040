"""What passes and what ends at this hop: section 12 of the caching rules, and the fields that steer a backend."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caching_proxy.http.framing import connection_options
from caching_proxy.http.hop_by_hop import (
    FORWARD_CLIENT_DROP,
    end_to_end,
    hop_by_hop,
    incoming_request_id,
    is_loop,
    max_forwards,
    response_to_client,
)
from caching_proxy.http.messages import Field, Fields, RequestHead
from caching_proxy.rules.forwarding import request_to_backend, upgrade_to_backend


def sent(
    *pairs: Field,
    method: bytes = b"GET",
    target: bytes = b"/a%7Eb?x",
    minor: int = 1,
    trusted: bool = False,
    base_path: bytes = b"",
) -> RequestHead:
    return request_to_backend(
        RequestHead(method, target, Fields(pairs), minor),
        host=b"backend:8080",
        client_ip=b"192.0.2.7",
        scheme=b"https",
        request_id=b"fresh-id",
        proxy_name=b"caching-proxy",
        trusted_peer=trusted,
        base_path=base_path,
    ).head


ADDED = (
    (b"Via", b"1.1 caching-proxy"),
    (b"X-Forwarded-For", b"192.0.2.7"),
    (b"X-Forwarded-Proto", b"https"),
    (b"X-Request-ID", b"fresh-id"),
)


def passed(*pairs: Field, trusted: bool = False) -> list[Field]:
    """Which of ``pairs`` go on to the backend."""
    fields = sent(*pairs, trusted=trusted).fields
    return [pair for pair in fields if pair in pairs]


def test_request_is_written_anew() -> None:
    pairs = ((b"Accept", b"*/*"), (b"COOKIE", b"a=1"), (b"Cookie", b"b=2"), (b"Authorization", b"x"))
    head = sent((b"Host", b"evil"), *pairs, (b"Content-Length", b"3"))
    assert head.fields.pairs == ((b"Host", b"backend:8080"), *pairs, *ADDED)


def test_H11_path_and_query_are_unchanged() -> None:
    assert sent().target == b"/a%7Eb?x"
    assert sent(base_path=b"/base").target == b"/base/a%7Eb?x"
    assert sent(method=b"OPTIONS", target=b"*", base_path=b"/base").target == b"*"


def test_H2_same_named_lines_keep_their_order() -> None:
    pairs = ((b"Set-Cookie", b"a=1"), (b"X", b"1"), (b"set-cookie", b"b=2"))
    assert response_to_client(Fields(pairs)).pairs == pairs


CONNECTED = ((b"Connection", b"p, Q"), (b"connection", b",close"), (b"P", b"1"), (b"q", b"2"), (b"Z", b"3"))


def test_H3_connection_and_what_it_names_go_both_ways() -> None:
    assert response_to_client(Fields(CONNECTED)).pairs == ((b"Z", b"3"),)
    assert passed(*CONNECTED) == [(b"Z", b"3")]
    assert end_to_end(Fields(CONNECTED)).pairs == ((b"Z", b"3"),)


def test_H3_connection_options_are_tokens() -> None:
    assert connection_options(Fields(CONNECTED)) == (b"p", b"q", b"close")
    assert connection_options(Fields([(b"Connection", b'"a", b c, ,d')])) == (b"d",)


def test_H3_connection_cannot_name_away_what_we_add() -> None:
    head = sent((b"Connection", b"via, x-forwarded-for, x-request-id"))
    assert head.fields.pairs[1:] == ADDED


@pytest.mark.parametrize(
    "name",
    [b"Connection", b"Keep-Alive", b"Proxy-Connection", b"TE", b"Trailer", b"Transfer-Encoding", b"Upgrade"],
)
def test_H4_hop_by_hop_fields_go_both_ways(name: bytes) -> None:
    assert name.lower() in hop_by_hop(Fields())
    assert response_to_client(Fields([(name, b"x")])).pairs == ()
    assert passed((name, b"x")) == []


def test_H6_no_trailer_field_is_sent_on() -> None:
    assert b"trailer" in FORWARD_CLIENT_DROP


def test_own_response_fields_of_an_inner_proxy_are_replaced() -> None:
    inner = [(b"X-Cache-Status", b"HIT"), (b"x-cache-expires-in", b"1s"), (b"X-Cache-Expires-At", b"x")]
    other = (b"X-Cache-Hits", b"3")
    assert response_to_client(Fields([*inner, other])).pairs == (other,)


def test_X1_transfer_encoding_governs() -> None:
    length = (b"Content-Length", b"5")
    assert response_to_client(Fields([length])).pairs == (length,)
    assert response_to_client(Fields([length, (b"Transfer-Encoding", b"chunked")])).pairs == ()


def test_H10_via_is_appended() -> None:
    assert sent().fields.first(b"via") == b"1.1 caching-proxy"
    head = sent((b"Via", b"1.0 fred"), (b"via", b"1.1 p (x)"))
    assert head.fields.all(b"via") == [b"1.0 fred, 1.1 p (x), 1.1 caching-proxy"]
    assert sent(minor=0).fields.first(b"via") == b"1.0 caching-proxy"


@pytest.mark.parametrize(
    ("lines", "loop"),
    [
        ([b"1.1 caching-proxy"], True),
        ([b"1.0 fred", b"HTTP/1.1  Caching-Proxy (v1, x)"], True),
        ([b"1.0 fred (a, b (c)), 1.1 caching-proxy"], True),
        ([b"1.1 caching-proxy2, 1.1 my-caching-proxy"], False),
        ([b"1.0 fred (x, 1.1 caching-proxy)"], False),
        ([rb"1.0 fred (\), 1.1 caching-proxy)"], False),
        ([b"caching-proxy", b"", b","], False),
        ([], False),
    ],
)
def test_H10_own_name_is_a_loop(lines: list[bytes], loop: bool) -> None:
    assert is_loop(Fields((b"Via", line) for line in lines), b"caching-proxy") is loop


@pytest.mark.parametrize(
    ("value", "number"),
    [(b"3", 3), (b"0", 0), (b"007", 7), (b"x", None), (b"-1", None), (b"", None), (b"9" * 50, 2**31)],
)
def test_M6_max_forwards(value: bytes, number: int | None) -> None:
    assert max_forwards(Fields([(b"Max-Forwards", value)])) == number


@pytest.mark.parametrize(
    ("method", "value", "out"),
    [(b"OPTIONS", b"3", b"2"), (b"TRACE", b"1", b"0"), (b"GET", b"3", b"3"), (b"OPTIONS", b"x", b"x")],
)
def test_M6_counted_down_for_options_and_trace(method: bytes, value: bytes, out: bytes) -> None:
    assert sent((b"Max-Forwards", value), method=method).fields.all(b"max-forwards") == [out]


def test_M3_expect_is_left_to_the_backend() -> None:
    assert passed((b"Expect", b"100-continue")) == [(b"Expect", b"100-continue")]


FORWARDING = (
    (b"X-Forwarded-For", b"10.0.0.1"),
    (b"x-forwarded-for", b"10.0.0.2"),
    (b"X-Forwarded-Proto", b"gopher"),
    (b"X-Request-ID", b"theirs"),
)


def test_forwarding_fields_of_a_stranger_are_replaced() -> None:
    assert sent(*FORWARDING).fields.pairs[1:] == ADDED


def test_forwarding_fields_of_a_trusted_peer_are_extended() -> None:
    fields = sent(*FORWARDING, trusted=True).fields
    assert fields.all(b"x-forwarded-for") == [b"10.0.0.1, 10.0.0.2, 192.0.2.7"]
    assert fields.all(b"x-forwarded-proto") == [b"gopher"]
    assert fields.all(b"x-request-id") == [b"theirs"]


@pytest.mark.parametrize("value", [b"", b"a b", b"\xff", b"x" * 129])
def test_an_odd_request_id_is_not_kept(value: bytes) -> None:
    assert incoming_request_id(Fields([(b"X-Request-ID", value)]), True) is None


SPOOFED = [
    b"Forwarded",
    b"X-Forwarded-Host",
    b"X-Forwarded-Port",
    b"X-Forwarded-Prefix",
    b"X-Forwarded-Server",
    b"X-Forwarded-Scheme",
    b"X-Forwarded-SSL",
    b"X-Host",
    b"X-Original-URL",
    b"X-Original-Host",
    b"X-Rewrite-URL",
    b"X-Wap-Profile",
]
METHODS = [
    b"X-HTTP-Method-Override",
    b"X-HTTP-Method",
    b"X-Method-Override",
]


@pytest.mark.parametrize("name", SPOOFED + METHODS)
def test_steering_fields_are_dropped(name: bytes) -> None:
    for spelling in (name, name.lower(), name.upper().replace(b"-", b"_")):
        assert passed((spelling, b"x")) == []
    assert passed((name, b"x"), trusted=True) == [(name, b"x")]


@pytest.mark.parametrize("name", [b"X_Forwarded_Host", b"X_Forwarded_For", b"Transfer_Encoding", b"Content_Length"])
@pytest.mark.parametrize("trusted", [True, False])
def test_underscored_aliases_never_pass(name: bytes, trusted: bool) -> None:
    assert passed((name, b"x"), trusted=trusted) == []


@pytest.mark.parametrize("name", [b"Cache-Refresh", b"X-Cache-Refresh", b"HTTP2-Settings", b"Proxy"])
def test_fields_for_this_proxy_alone_are_dropped(name: bytes) -> None:
    assert passed((name, b"true"), trusted=True) == []


def test_upgrade_is_kept_where_asked_for() -> None:
    pairs = ((b"Connection", b"keep-alive, Upgrade, x"), (b"Upgrade", b"websocket"), (b"X", b"1"), (b"Y", b"2"))
    head = upgrade_to_backend(
        RequestHead(b"GET", b"/ws", Fields(pairs)),
        host=b"backend:8080",
        client_ip=b"192.0.2.7",
        scheme=b"https",
        request_id=b"fresh-id",
        proxy_name=b"caching-proxy",
        trusted_peer=False,
        base_path=b"/b",
    ).head
    assert head.target == b"/b/ws"
    assert head.fields.pairs == (
        (b"Host", b"backend:8080"),
        (b"Y", b"2"),
        *ADDED,
        (b"Connection", b"upgrade"),
        (b"Upgrade", b"websocket"),
    )


NAMES = st.sampled_from([b"Connection", b"Via", b"Max-Forwards", b"X-Forwarded-For", b"Host", b"TE"])
VALUES = st.binary(max_size=30) | st.text("via, ()\\1.1caching-proxy", max_size=30).map(str.encode)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.lists(st.tuples(NAMES, VALUES), max_size=5), st.booleans())
def test_no_bytes_raise(pairs: list[Field], trusted: bool) -> None:
    fields = sent(*pairs, trusted=trusted, method=b"TRACE").fields
    assert fields.pairs[0] == (b"Host", b"backend:8080")
    assert len(fields.all(b"host")) == len(fields.all(b"via")) == len(fields.all(b"x-forwarded-for")) == 1
    assert b"connection" not in fields
    assert not is_loop(Fields(pairs), b"two words")
    assert not FORWARD_CLIENT_DROP & set(response_to_client(Fields(pairs)).index)


def test_a_peer_without_an_address_is_not_named() -> None:
    head = RequestHead(b"GET", b"/", Fields([(b"Host", b"x"), (b"X-Forwarded-For", b"1.2.3.4")]))
    sent = request_to_backend(
        head,
        host=b"backend",
        client_ip=b"",
        scheme=b"http",
        request_id=b"id",
        proxy_name=b"p",
        trusted_peer=False,
        base_path=b"",
    ).head
    assert b"x-forwarded-for" not in sent.fields
