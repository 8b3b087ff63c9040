"""Requests on their way to the backend share what their field lines become; nothing else may be shared."""

from __future__ import annotations

from itertools import product

import pytest

from caching_proxy.http.messages import Field, Fields, RequestHead
from caching_proxy.http.outgoing_request import OutgoingRequest
from caching_proxy.rules.forwarding import request_to_backend

PAIRS: tuple[Field, ...] = (
    (b"Host", b"shop.example"),
    (b"Via", b"1.0 fred"),
    (b"X-Forwarded-For", b"10.0.0.1"),
    (b"X-Forwarded-Proto", b"https"),
    (b"X-Request-ID", b"theirs"),
    (b"X-Real-IP", b"10.0.0.1"),
    (b"X-Original-URL", b"/admin"),
    (b"X-HTTP-Method", b"PUT"),
    (b"Max-Forwards", b"3"),
    (b"Accept", b"*/*"),
)


def sent(fields: Fields, trusted: bool = False, method: bytes = b"GET", request_id: bytes = b"ours") -> OutgoingRequest:
    return request_to_backend(
        RequestHead(method, b"/", fields),
        host=b"backend",
        client_ip=b"192.0.2.7",
        scheme=b"http",
        request_id=request_id,
        proxy_name=b"p",
        trusted_peer=trusted,
        base_path=b"",
    )


@pytest.mark.parametrize("method", [b"GET", b"TRACE"])
def test_what_is_remembered_of_fields_depends_on_who_sent_them(method: bytes) -> None:
    shared = Fields(PAIRS)
    alone = [sent(Fields(PAIRS), trusted, method).lines for trusted in (False, True)]
    assert len(set(alone)) == 2
    for _ in range(2):
        assert [sent(shared, trusted, method).lines for trusted in (False, True)] == alone


def test_M6_a_count_is_not_remembered_for_other_methods() -> None:
    shared = Fields(PAIRS)
    hops = [sent(shared, method=method).head.fields.all(b"max-forwards") for method in (b"GET", b"TRACE", b"GET")]
    assert hops == [[b"3"], [b"2"], [b"3"]]


def test_every_line_is_counted() -> None:
    for method, trusted in product((b"GET", b"TRACE"), (False, True)):
        request = sent(Fields(PAIRS), trusted, method=method)
        assert request.lines.count(b"\n") == request.count == len(request.head.fields)
    request = sent(Fields(PAIRS), request_id=b"a\r\nEvil: b")
    assert request.lines.count(b"\n") == request.count + 1, "so that whoever writes it notices"


def test_fields_that_are_sent_as_they_are_do_not_frame_a_body() -> None:
    framed = Fields([(b"Content-Length", b"3"), (b"A", b"b"), (b"transfer-encoding", b"x")])
    request = OutgoingRequest.of(RequestHead(b"PUT", b"/x", framed))
    assert (request.lines, request.count) == (b"A: b\r\n", 1)
    assert request.head == RequestHead(b"PUT", b"/x", Fields([(b"A", b"b")]))
