"""Rules of docs/http-caching.md that only real sockets can show: messages, framing and what ends at a hop.

One proxy process between clients that write bytes by hand and a backend that does the same. The proxy guesses no
lifetimes here: what is stored was told so.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import attrs
import pytest
from support.live_backend import Exchange, Handler, LiveBackend, answer
from support.proxy_process import ProxyProcess, StartProxy, wait_for

pytestmark = pytest.mark.live

FRESH = ("Cache-Control", "max-age=900")


@pytest.fixture(scope="module")
def proxy(start_shared: StartProxy, backend: LiveBackend) -> ProxyProcess:
    return start_shared(BACKEND_URL=backend.url, CACHE_TTL_SECONDS="0", BACKEND_TIMEOUT="5")


@attrs.frozen
class Message:
    """A response as it came: ``body`` is what follows the head, still chunked if it was."""

    start: str
    fields: list[tuple[str, str]]
    body: bytes

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key.lower() == name.lower()]

    @property
    def status(self) -> int:
        return int(self.start.split(" ")[1])


def messages(data: bytes) -> list[Message]:
    """The interim responses and the final one, which has the rest of ``data`` as its body."""
    found = []
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        assert end, f"no whole head: {head!r}"
        start, *lines = head.decode("latin-1").split("\r\n")
        fields = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        interim = start.split(" ")[1].startswith("1")
        found.append(Message(start, fields, b"" if interim else data))
        if not interim:
            break
    return found


def talk(proxy: ProxyProcess, *lines: str, body: bytes = b"") -> Message:
    """Send a request of these head lines; its final response."""
    head = "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1")
    return messages(proxy.raw(head + body))[-1]


def get(proxy: ProxyProcess, target: str, *lines: str) -> Message:
    return talk(proxy, f"GET {target} HTTP/1.1", "Host: x", *lines)


def refused(proxy: ProxyProcess, data: bytes, status: int, backend: LiveBackend, target: str) -> None:
    """``data`` gets ``status``, the connection closes, and nothing reaches the backend: not what follows either."""
    received = proxy.raw(data + b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
    [message] = messages(received)
    assert message.status == status
    assert b"HTTP/1.1" not in message.body
    assert not backend.seen(target)
    assert not backend.seen("/smuggled")


def raw_answer(data: bytes, *, close: bool = False) -> Handler:
    """A handler that sends these bytes."""

    def send(exchange: Exchange) -> None:
        exchange.read()
        exchange.send(data)
        if close:
            exchange.hang_up()

    return send


def hinting(go_on: threading.Event) -> Handler:
    """A 103 at once, the 200 when it is allowed to."""

    def hint(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 103 Early Hints\r\nLink: </s.css>; rel=preload\r\nX-Hint: 1\r\n\r\n")
        assert go_on.wait(10)
        exchange.reply(b"page", fields=[FRESH])

    return hint


@pytest.fixture
def go_on() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


# -- methods and interim responses: section 13 -------------------------------------------------------


def test_M1_an_interim_response_is_relayed_at_once(
    proxy: ProxyProcess, backend: LiveBackend, go_on: threading.Event
) -> None:
    backend.on("/m1", hinting(go_on))
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as client, client.makefile("rb") as file:
        client.sendall(b"GET /m1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        first = [file.readline() for _ in range(4)]
        go_on.set()  # only now does the backend answer
        rest = file.read()
    assert first == [b"HTTP/1.1 103 Early Hints\r\n", b"Link: </s.css>; rel=preload\r\n", b"X-Hint: 1\r\n", b"\r\n"]
    assert rest.startswith(b"HTTP/1.1 200 OK\r\n")


def test_M1_no_interim_response_to_http10(proxy: ProxyProcess, backend: LiveBackend, go_on: threading.Event) -> None:
    go_on.set()
    backend.on("/m1-old", hinting(go_on))
    [only] = messages(proxy.raw(b"GET /m1-old HTTP/1.0\r\nHost: x\r\n\r\n"))
    assert (only.status, only.body, only.all("X-Hint")) == (200, b"page", [])


def test_M2_interim_responses_are_not_stored(proxy: ProxyProcess, backend: LiveBackend, go_on: threading.Event) -> None:
    go_on.set()
    backend.on("/m2", hinting(go_on))
    assert get(proxy, "/m2").all("X-Hint") == []
    [hit] = messages(proxy.raw(b"GET /m2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
    assert (hit.status, hit.all("X-Cache-Status"), hit.all("X-Hint")) == (200, ["HOT_HIT"], [])
    assert len(backend.seen("/m2")) == 1


def test_M3_an_expectation_is_the_backends_to_refuse(proxy: ProxyProcess, backend: LiveBackend) -> None:
    backend.on("/m3", answer(b"", 417))
    head = b"PUT /m3 HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    [only] = messages(proxy.raw(head))
    assert only.status == 417
    assert backend.seen("/m3")[0]["Expect"] == "100-continue"


def test_M3_the_backends_100_is_relayed(proxy: ProxyProcess, backend: LiveBackend) -> None:
    backend.on("/m3-go", lambda exchange: exchange.reply(exchange.read()))
    head = b"PUT /m3-go HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as client, client.makefile("rb") as file:
        client.sendall(head)
        assert [file.readline(), file.readline()] == [b"HTTP/1.1 100 Continue\r\n", b"\r\n"]
        client.sendall(b"body")
        [final] = messages(file.read())
    assert (final.status, final.body) == (200, b"body")


def test_M5_options_is_forwarded_with_its_body_and_not_stored(proxy: ProxyProcess, backend: LiveBackend) -> None:
    backend.on("/m5", answer(b"", 200, FRESH))
    for _ in range(2):
        talk(proxy, "OPTIONS /m5 HTTP/1.1", "Host: x", "Content-Length: 3", body=b"abc")
    assert [seen.body for seen in backend.seen("/m5", "OPTIONS")] == [b"abc", b"abc"]


def test_M6_max_forwards(proxy: ProxyProcess, backend: LiveBackend) -> None:
    for method in ("OPTIONS", "TRACE"):
        assert talk(proxy, f"{method} /m6 HTTP/1.1", "Host: x", "Max-Forwards: 3").status == 200
        assert backend.seen("/m6", method)[0]["Max-Forwards"] == "2"
        talk(proxy, f"{method} /m6-end HTTP/1.1", "Host: x", "Max-Forwards: 0")
    assert not backend.seen("/m6-end")


def test_M7_a_post_is_sent_once(proxy: ProxyProcess, backend: LiveBackend) -> None:
    backend.on("/m7", Exchange.hang_up)
    get(proxy, "/warm")  # so that there is a connection to reuse
    assert talk(proxy, "POST /m7 HTTP/1.1", "Host: x", "Content-Length: 1", body=b"x").status == 502
    assert len(backend.seen("/m7")) == 1


# -- fields that end at this hop: section 12 ---------------------------------------------------------


def test_H3_what_connection_names_ends_here(proxy: ProxyProcess, backend: LiveBackend) -> None:
    backend.on("/h3", answer(b"", 200, FRESH, ("Connection", "p, q"), ("P", "1"), ("Q", "2"), ("Z", "3")))
    for expected in ("MISS", "HOT_HIT"):
        response = get(proxy, "/h3", "Connection: mine", "Mine: 1", "Yours: 2")
        assert response.all("X-Cache-Status") == [expected]
        assert (response.all("P"), response.all("Q"), response.all("Z")) == ([], [], ["3"])
    [seen] = backend.seen("/h3")
    assert (seen.all("Mine"), seen.all("Yours")) == ([], ["2"])


def test_H4_fields_of_one_hop_end_here_unlisted(proxy: ProxyProcess, backend: LiveBackend) -> None:
    names = ("Keep-Alive", "Proxy-Connection", "TE", "Upgrade")
    backend.on("/h4", answer(b"", 200, FRESH, *((name, "x") for name in names)))
    for expected in ("MISS", "HOT_HIT"):
        response = get(proxy, "/h4", "Keep-Alive: x", "Proxy-Connection: x", "TE: trailers")
        assert response.all("X-Cache-Status") == [expected]
        assert [response.all(name) for name in names] == [[], [], [], []]
    [seen] = backend.seen("/h4")
    assert [seen.all(name) for name in names] == [[], [], [], []]


def test_H6_trailers_never_become_fields(proxy: ProxyProcess, backend: LiveBackend) -> None:
    head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=900\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n"
    backend.on("/h6", raw_answer(head + b"4\r\nbody\r\n0\r\nX-T: 1\r\n\r\n"))
    for expected in ("MISS", "HOT_HIT"):
        response = get(proxy, "/h6")
        assert (response.all("X-Cache-Status"), response.all("X-T"), response.all("Trailer")) == ([expected], [], [])
    assert response.body == b"body"


def test_H7_content_length_of_a_hit(proxy: ProxyProcess, backend: LiveBackend) -> None:
    head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=900\r\nTransfer-Encoding: chunked\r\n\r\n"
    backend.on("/h7", raw_answer(head + b"7\r\nseven b\r\n0\r\n\r\n"))
    get(proxy, "/h7")
    hit = get(proxy, "/h7")
    assert (hit.all("Content-Length"), hit.all("Transfer-Encoding"), hit.body) == (["7"], [], b"seven b")


# -- framing: section 14 -----------------------------------------------------------------------------


def test_X1_a_request_with_both_framings_is_refused(proxy: ProxyProcess, backend: LiveBackend) -> None:
    head = b"POST /x1 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    refused(proxy, head + b"0\r\n\r\n", 400, backend, "/x1")


def test_X1_in_a_response_chunks_govern(proxy: ProxyProcess, backend: LiveBackend) -> None:
    head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=900\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
    backend.on("/x1-back", raw_answer(head + b"7\r\nseven b\r\n0\r\n\r\n"))
    first = get(proxy, "/x1-back")
    assert first.all("Content-Length") != ["3"]
    assert get(proxy, "/x1-back").body == b"seven b"
    get(proxy, "/x1-after")
    assert backend.seen("/x1-after")[0].connection != backend.seen("/x1-back")[0].connection


@pytest.mark.parametrize("length", ["5, 6", "+5", "5x", "-1", "0x5", '"5"', "9" * 5000])
def test_X2_a_length_that_is_none_in_a_request(proxy: ProxyProcess, backend: LiveBackend, length: str) -> None:
    head = f"POST /x2 HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\nabcdef"
    refused(proxy, head.encode(), 400, backend, "/x2")


@pytest.mark.parametrize("length", ["5, 6", "5\r\nContent-Length: 6", "five", "+5"])
def test_X2_a_length_that_is_none_in_a_response(proxy: ProxyProcess, backend: LiveBackend, length: str) -> None:
    backend.on("/x2-back", raw_answer(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nabcdef".encode()))
    assert get(proxy, "/x2-back").status == 502


@pytest.mark.parametrize(("coding", "status"), [("chunked, gzip", 400), ("zzz", 501), ("chunked, chunked", 400)])
def test_X3_a_request_that_does_not_end_in_chunks(
    proxy: ProxyProcess, backend: LiveBackend, coding: str, status: int
) -> None:
    head = f"POST /x3 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: {coding}\r\n\r\n0\r\n\r\n"
    refused(proxy, head.encode(), status, backend, "/x3")


def test_X4_an_unknown_coding_runs_until_the_end(proxy: ProxyProcess, backend: LiveBackend) -> None:
    head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=900\r\nTransfer-Encoding: zzz\r\n\r\n"
    backend.on("/x4", raw_answer(head + b"as it is", close=True))
    first = get(proxy, "/x4")
    assert (first.status, first.all("X-Cache-Status")) == (200, ["MISS"])
    assert b"as it is" in first.body
    hit = get(proxy, "/x4")
    assert (hit.all("X-Cache-Status"), hit.body, hit.all("Transfer-Encoding")) == (["HOT_HIT"], b"as it is", [])


def test_X5_bytes_beyond_the_length_are_nobodys(proxy: ProxyProcess, backend: LiveBackend) -> None:
    head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=900\r\nContent-Length: 8\r\n\r\n"
    backend.on("/x5", raw_answer(head + b"8 bytes.HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"))
    assert get(proxy, "/x5").body == b"8 bytes."
    after = get(proxy, "/x5-after")
    assert b"evil" not in after.body
    assert backend.seen("/x5-after")[0].connection != backend.seen("/x5")[0].connection
    assert get(proxy, "/x5").all("X-Cache-Status") == ["HOT_HIT"]


def test_X6_missing_chunks_abort_the_client(proxy: ProxyProcess, backend: LiveBackend) -> None:
    head = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=900\r\nTransfer-Encoding: chunked\r\n\r\n"
    backend.on("/x6", raw_answer(head + b"4\r\nhalf\r\n", close=True))
    assert not get(proxy, "/x6").body.endswith(b"0\r\n\r\n")
    backend.on("/x6", answer(b"whole", 200, FRESH))
    again = get(proxy, "/x6")
    assert (again.all("X-Cache-Status"), again.body) == (["MISS"], b"whole")


def test_X6_a_reset_where_only_the_end_of_the_connection_delimits(proxy: ProxyProcess, backend: LiveBackend) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    backend.on("/x6-old", raw_answer(head + b"4\r\nhalf\r\n", close=True))
    with pytest.raises(ConnectionResetError):
        proxy.raw(b"GET /x6-old HTTP/1.0\r\nHost: x\r\n\r\n")


def test_X6_the_end_of_the_connection_completes(proxy: ProxyProcess, backend: LiveBackend) -> None:
    backend.on("/x6-end", raw_answer(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=900\r\n\r\nall of it", close=True))
    get(proxy, "/x6-end")
    hit = get(proxy, "/x6-end")
    assert (hit.all("X-Cache-Status"), hit.body) == (["HOT_HIT"], b"all of it")


def test_X6_a_request_that_breaks_off_breaks_off(proxy: ProxyProcess, backend: LiveBackend) -> None:
    def read(exchange: Exchange) -> None:
        exchange.read()
        exchange.reply(b"all of it")

    backend.on("/x6-up", read)
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as client:
        client.sendall(b"POST /x6-up HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n" + bytes(2_000_000))
        wait_for(lambda: bool(backend.seen("/x6-up")), "the request")
    wait_for(lambda: backend.seen("/x6-up")[0].socket.fileno() < 0, "the end of the backend's connection")
    assert not backend.seen("/x6-up")[0].answered


def test_X7_no_content_has_no_length(proxy: ProxyProcess, backend: LiveBackend) -> None:
    head = b"HTTP/1.1 204 No Content\r\nCache-Control: max-age=900\r\nContent-Length: 5\r\n\r\n"
    backend.on("/x7", raw_answer(head))
    for expected in ("MISS", "HOT_HIT"):
        response = get(proxy, "/x7")
        assert (response.status, response.all("X-Cache-Status")) == (204, [expected])
        assert (response.all("Content-Length"), response.body) == ([], b"")
    assert len(backend.seen("/x7")) == 1


def test_X8_folded_lines_in_a_request(proxy: ProxyProcess, backend: LiveBackend) -> None:
    refused(proxy, b"GET /x8 HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n", 400, backend, "/x8")


def test_X8_folded_lines_in_a_response(proxy: ProxyProcess, backend: LiveBackend) -> None:
    backend.on("/x8-back", raw_answer(b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n"))
    response = get(proxy, "/x8-back")
    assert (response.status, response.all("X")) == (200, ["a b"])


@pytest.mark.parametrize(
    "lines",
    ["X : a", "X\t: a", "X: a\rb", "X: a\x00b", "X\x00: a", ": a", "no-colon"],
    ids=["space", "tab", "cr", "nul", "nul-in-name", "no-name", "no-colon"],
)
def test_X9_odd_lines_in_a_request(proxy: ProxyProcess, backend: LiveBackend, lines: str) -> None:
    refused(proxy, f"GET /x9 HTTP/1.1\r\nHost: x\r\n{lines}\r\n\r\n".encode(), 400, backend, "/x9")


def test_X9_a_blank_line_after_the_request_line(proxy: ProxyProcess, backend: LiveBackend) -> None:
    refused(proxy, b"GET /x9-blank HTTP/1.1\r\n \r\nHost: x\r\n\r\n", 400, backend, "/x9-blank")


def test_X9_whitespace_before_the_colon_in_a_response(proxy: ProxyProcess, backend: LiveBackend) -> None:
    backend.on("/x9-back", raw_answer(b"HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 0\r\n\r\n"))
    response = get(proxy, "/x9-back")
    assert (response.status, response.all("X")) == (200, ["a"])


@pytest.mark.parametrize("value", ["a\rb", "a\x00b"], ids=["cr", "nul"])
def test_X9_control_bytes_in_a_response(proxy: ProxyProcess, backend: LiveBackend, value: str) -> None:
    backend.on("/x9-odd", raw_answer(f"HTTP/1.1 200 OK\r\nX: {value}\r\nContent-Length: 0\r\n\r\n".encode()))
    assert get(proxy, "/x9-odd").status == 502


@pytest.mark.parametrize(
    "host", ["", "Host: a\r\nHost: a\r\n", "Host: a b\r\n", "Host: a,b\r\n", "Host: a/b\r\n", "Host: u@a\r\n"]
)
def test_X10_host(proxy: ProxyProcess, backend: LiveBackend, host: str) -> None:
    refused(proxy, f"GET /x10 HTTP/1.1\r\n{host}\r\n".encode(), 400, backend, "/x10")


def test_X10_an_absolute_target_beats_host(proxy: ProxyProcess, backend: LiveBackend) -> None:
    own = f"127.0.0.1:{backend.port}"
    talk(proxy, f"GET http://{own}/x10-abs HTTP/1.1", "Host: elsewhere.test")
    [seen] = backend.seen("/x10-abs")
    assert seen["Host"] == own


def test_X11_chunks_are_made_anew(proxy: ProxyProcess, backend: LiveBackend) -> None:
    chunks = b"00005;x=1\r\nfirst\r\nA;y\r\n0123456789\r\n0;z=2\r\n\r\n"
    backend.on("/x11", lambda exchange: exchange.reply(exchange.read()))
    sent = talk(proxy, "POST /x11 HTTP/1.1", "Host: x", "Transfer-Encoding: chunked", body=chunks)
    assert sent.body == b"first0123456789"
    backend.on("/x11-back", raw_answer(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks))
    response = get(proxy, "/x11-back")
    assert (response.all("Transfer-Encoding"), b";" in response.body) == (["chunked"], False)


def test_X11_nothing_is_chunked_to_http10(proxy: ProxyProcess, backend: LiveBackend) -> None:
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=1\r\nfirst\r\n0\r\n\r\n"
    backend.on("/x11-old", raw_answer(data))
    [response] = messages(proxy.raw(b"GET /x11-old HTTP/1.0\r\nHost: x\r\n\r\n"))
    assert (response.all("Transfer-Encoding"), response.body) == ([], b"first")
    backend.on("/x11-old-backend", raw_answer(b"HTTP/1.0 200 OK\r\n\r\nold", close=True))
    answered = get(proxy, "/x11-old-backend")
    assert answered.start == "HTTP/1.1 200 OK"
    assert b"old" in answered.body


def test_the_proxy_said_nothing_of_trouble(proxy: ProxyProcess) -> None:
    """Odd bytes are nobody's bug: no test above may have left a traceback in the log."""
    wait_for(lambda: bool(proxy.log), "the log")
    assert "Traceback" not in proxy.log
