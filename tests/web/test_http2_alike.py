"""Whatever requests say: HTTP/2 gets what HTTP/1.1 gets, from the hot path and from the full one."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from support.h2_client import Answer, Client
from support.hot_and_full import Served
from support.many_requests import ANSWERS, CODINGS, LINES
from twisted.internet.testing import StringTransport

from caching_proxy.server.http2.connection import HTTP2Channel

OF_HTTP1 = ("connection:", "te:", "host_:")

requests = st.tuples(
    st.sampled_from(("GET", "GET", "GET", "HEAD", "POST")),
    st.sampled_from(("/x", "/x", "/x", "/x/", "/y?z", "/y/..//x")),
    st.lists(st.sampled_from([line for line in LINES if not line.lower().startswith(OF_HTTP1)]), max_size=4),
    st.sampled_from((0, 0, 0, 0.4, 1, 2.5)),
)


class Both:
    """The same proxy twice, one asked by HTTP/1.1, the other by HTTP/2."""

    def __init__(self, **more: Any) -> None:
        self.old, self.new = Served(True, **more), Served(True, **more)
        transport = StringTransport()
        channel = HTTP2Channel(self.new.site)
        channel.makeConnection(transport)
        self.client = Client(channel, transport)

    def ask(self, method: str, target: str, lines: list[str]) -> tuple[Answer, Answer]:
        length = ["Content-Length: 0"] if method == "POST" else []
        text = "\r\n".join((f"{method} {target} HTTP/1.1", "Host: a", *lines, *length, "", ""))
        head, _, body = self.old.send(text).partition(b"\r\n\r\n")
        start, *rest = head.split(b"\r\n")
        pairs = [(b":status", start[9:12]), *((n.lower(), v) for n, _, v in (one.partition(b": ") for one in rest))]
        split = [(name.lower(), value) for name, _, value in (line.partition(":") for line in lines + length)]
        fields = [(name.encode(), value.strip().encode()) for name, value in split]
        return Answer(pairs, [], body, True), self.client.get(target.encode(), *fields, method=method.encode())


@settings(max_examples=120, deadline=None, derandomize=True)
@given(st.lists(requests, min_size=1, max_size=8), st.sampled_from(ANSWERS), st.sampled_from(CODINGS))
def test_both_versions_are_answered_alike(
    sent: list[tuple[str, str, list[str], float]], answer: tuple[str, ...], codings: tuple[bytes, ...]
) -> None:
    both = Both(compress=codings)
    for served in (both.old, both.new):
        served.proxy.says(*answer, body=b"0123456789" * 30)
    for method, target, lines, wait in sent:
        if len([line for line in lines if line.lower().startswith("cookie")]) > 1:
            continue  # HTTP/2 joins them, as RFC 9113 §8.2.3 says
        for _ in range(3):
            old, new = both.ask(method, target, lines)
            assert new.fields == [pair for pair in old.fields if pair[0] not in (b"connection", b"transfer-encoding")]
            assert new.body == old.body
            assert new.ended
        for served in (both.old, both.new):
            served.proxy.advance(wait)
    assert both.old.proxy.count == both.new.proxy.count
    assert both.old.answered == both.new.answered
    for served in (both.old, both.new):
        served.close()
