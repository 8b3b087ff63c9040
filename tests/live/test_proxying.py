"""Requests through a real proxy to a real backend: what each side sees of the other."""

from __future__ import annotations

import gzip
import json
import socket
import threading

import pytest
from support.live_backend import Exchange, LiveBackend, answer
from support.proxy_process import ProxyProcess, StartProxy, free_port

pytestmark = pytest.mark.live

ODD_JSON = b'{ "b" : 1.0,\r\n "a": "\\u00e9\xc3\xa9" }\n'


@pytest.fixture(scope="module")
def proxy(start_shared: StartProxy, backend: LiveBackend) -> ProxyProcess:
    return start_shared(BACKEND_URL=backend.url, BACKEND_TIMEOUT="1")


def talk(proxy: ProxyProcess, *lines: str, body: bytes = b"") -> tuple[list[str], bytes]:
    """Send a request of these head lines, and the answer: its head's lines and its body."""
    head = "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1")
    answered = proxy.raw(head + body)
    received, _, rest = answered.partition(b"\r\n\r\n")
    return received.decode("latin-1").split("\r\n"), rest


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "X-FROB", "PURGE"])
def test_every_method_passes(proxy: ProxyProcess, backend: LiveBackend, method: str) -> None:
    answered = proxy.request(method, "/method", {"Content-Type": "text/plain"}, b"payload")
    assert (answered.status, answered.cache) == (200, "N/A")
    assert answered.json()["method"] == method
    assert backend.seen("/method", method)[0].body == b"payload"


def test_bodies_pass_byte_for_byte(proxy: ProxyProcess, backend: LiveBackend) -> None:
    backend.on("/echo", lambda exchange: exchange.reply(exchange.read(), 201, [("Content-Type", "application/json")]))
    answered = proxy.request("POST", "/echo", {"Content-Type": "application/json; charset=x"}, ODD_JSON)
    assert (answered.status, answered.body) == (201, ODD_JSON)
    assert backend.seen("/echo")[0]["Content-Type"] == "application/json; charset=x"
    assert backend.seen("/echo")[0]["Content-Length"] == str(len(ODD_JSON))


@pytest.mark.parametrize("target", ["/a%2Fb/../c?x=%20+&y&&=", "//double//slash", "/;p=1/.", "/?", "/%e2%98%83?q=%F6"])
def test_targets_are_not_touched(proxy: ProxyProcess, backend: LiveBackend, target: str) -> None:
    lines, _ = talk(proxy, f"GET {target} HTTP/1.1", "Host: x")
    assert lines[0] == "HTTP/1.1 200 OK"
    assert len(backend.seen(target)) == 1


def test_repeated_fields_keep_their_order_and_bytes(proxy: ProxyProcess, backend: LiveBackend) -> None:
    cookies = [f"c{n}=a, b; Path=/; Expires=Wed, 21 Oct 2099 07:28:00 GMT" for n in range(3)]
    fields = [("X-Two", "1"), ("x-other", "-"), ("X-two", "2,3"), *(("Set-Cookie", cookie) for cookie in cookies)]
    backend.on("/fields", answer(b"", 200, *fields))
    lines, _ = talk(proxy, "GET /fields HTTP/1.1", "Host: x", "A-b: 1", "Z: 0", "a-B: 2,  3", "X-Bytes: \xff\xe9")
    assert [line for line in lines if line.lower().startswith("set-cookie")] == [f"Set-Cookie: {c}" for c in cookies]
    assert [line for line in lines if line.lower().startswith("x-two")] == ["X-Two: 1", "X-two: 2,3"]
    [seen] = backend.seen("/fields")
    assert [f for f in seen.fields if f[0].lower() == "a-b"] == [("A-b", "1"), ("a-B", "2,  3")]
    assert seen["X-Bytes"] == "\xff\xe9"


def test_encoded_bodies_pass_and_are_stored_as_they_came(proxy: ProxyProcess, backend: LiveBackend) -> None:
    packed = gzip.compress(b"text " * 100, mtime=0)
    backend.on("/gzip", answer(packed, 200, ("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")))
    for expected in ("MISS", "HOT_HIT"):
        answered = proxy.get("/gzip", Accept_Encoding="gzip, br")
        assert (answered.cache, answered.body, answered["Content-Encoding"]) == (expected, packed, "gzip")
    assert backend.seen("/gzip")[0]["Accept-Encoding"] == "gzip, br"
    assert proxy.get("/gzip", Accept_Encoding="identity").cache == "MISS"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_passed_on(proxy: ProxyProcess, backend: LiveBackend, status: int) -> None:
    backend.on(f"/to{status}", answer(b"there", status, ("Location", "http://elsewhere.test/x")))
    answered = proxy.get(f"/to{status}")
    assert (answered.status, answered["Location"], answered.body) == (status, "http://elsewhere.test/x", b"there")


def test_fields_of_one_hop_end_there(proxy: ProxyProcess, backend: LiveBackend) -> None:
    own = [("Keep-Alive", "timeout=5"), ("X-Inner", "1"), ("Proxy-Connection", "x"), ("Upgrade", "foo/2")]
    backend.on("/hop", answer(b"", 200, ("Connection", "X-Inner, keep-alive"), *own))
    lines, _ = talk(
        proxy, "GET /hop HTTP/1.1", "Host: x", "Connection: X-Mine", "X-Mine: 1", "TE: trailers", "Keep-Alive: 1"
    )
    [seen] = backend.seen("/hop")
    got = {name.lower() for name, _ in seen.fields}
    assert got.isdisjoint({"x-mine", "te", "keep-alive", "upgrade", "proxy-connection", "transfer-encoding"})
    answered = {line.partition(":")[0].lower() for line in lines}
    assert answered.isdisjoint({"keep-alive", "x-inner", "proxy-connection", "upgrade"})


def test_forwarding_fields(proxy: ProxyProcess, backend: LiveBackend) -> None:
    spoofed = {"X-Forwarded-For": "6.6.6.6", "X-Request-ID": "mine", "X-Forwarded-Proto": "https", "Via": "1.0 fred"}
    proxy.request("POST", "/forwarded", {**spoofed, "Host": "client.test"})
    [seen] = backend.seen("/forwarded")
    assert seen["Host"] == f"127.0.0.1:{backend.port}"
    assert seen["X-Forwarded-For"] == "127.0.0.1"
    assert seen["X-Forwarded-Proto"] == "http"
    assert seen["Via"] == "1.0 fred, 1.1 caching-proxy"
    assert len(seen["X-Request-ID"]) > 10
    proxy.request("POST", "/forwarded")
    assert backend.seen("/forwarded")[1]["X-Request-ID"] != seen["X-Request-ID"]


def test_a_trusted_proxy_is_believed(start_shared: StartProxy, backend: LiveBackend) -> None:
    inner = start_shared(BACKEND_URL=f"{backend.url}/base/", TRUSTED_PROXIES="127.0.0.0/8", PROXY_NAME="inner")
    fields = {"X-Forwarded-For": "6.6.6.6", "X-Request-ID": "mine", "X-Forwarded-Proto": "https"}
    assert inner.request("GET", "/t?q", fields).status == 200
    [seen] = backend.seen("/base/t?q")
    assert seen["X-Forwarded-For"] == "6.6.6.6, 127.0.0.1"
    assert (seen["X-Forwarded-Proto"], seen["X-Request-ID"], seen["Via"]) == ("https", "mine", "1.1 inner")


def test_a_dropped_reused_connection_repeats_a_get_once(proxy: ProxyProcess, backend: LiveBackend) -> None:
    backend.on("/once", lambda exchange: exchange.hang_up() if exchange.nth == 1 else exchange.reply(b"second"))
    proxy.get("/warm")
    answered = proxy.get("/once")
    assert (answered.status, answered.body) == (200, b"second")
    first, second = backend.seen("/once")
    assert first.connection != second.connection


def test_a_get_is_not_repeated_twice(proxy: ProxyProcess, backend: LiveBackend) -> None:
    backend.on("/never", Exchange.hang_up)
    proxy.get("/warm2")
    answered = proxy.get("/never")
    assert (answered.status, answered.cache) == (502, "ERROR")
    assert len(backend.seen("/never")) == 2


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_a_post_is_never_repeated(proxy: ProxyProcess, backend: LiveBackend, method: str) -> None:
    backend.on("/post-once", Exchange.hang_up)
    proxy.get(f"/warm-{method}")
    assert proxy.request(method, "/post-once", {}, b"x").status == 502
    assert proxy.request(method, "/post-once").status == 502
    assert [seen.method for seen in backend.seen("/post-once", method)] == [method, method]


def test_silence_is_504_in_json(proxy: ProxyProcess, backend: LiveBackend) -> None:
    over = threading.Event()
    backend.on("/silent", lambda exchange: over.wait(10) and exchange.hang_up())
    answered = proxy.get("/silent")
    over.set()
    assert (answered.status, answered.cache, answered["Content-Type"]) == (504, "ERROR", "application/json")
    assert set(answered.json()) == {"error"}


def test_a_body_that_breaks_off_breaks_off(proxy: ProxyProcess, backend: LiveBackend) -> None:
    def half(exchange: Exchange) -> None:
        exchange.head(200, [("Content-Length", "10")])
        exchange.send(b"12345")
        exchange.hang_up()

    backend.on("/half", half)
    lines, body = talk(proxy, "GET /half HTTP/1.1", "Host: x")
    assert "Content-Length: 10" in lines
    assert body == b"12345"
    backend.on("/half", answer(b"1234567890"))
    assert proxy.get("/half").cache == "MISS"


def test_continue_comes_from_the_backend(proxy: ProxyProcess, backend: LiveBackend) -> None:
    backend.on("/continue", lambda exchange: exchange.reply(exchange.read()))
    head = (
        b"PUT /continue HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as connection, connection.makefile("rb") as file:
        connection.sendall(head)
        assert file.readline() == b"HTTP/1.1 100 Continue\r\n"
        assert file.readline() == b"\r\n"
        connection.sendall(b"body")
        assert file.read().endswith(b"\r\n\r\nbody")


def test_a_refusal_comes_in_place_of_a_100(proxy: ProxyProcess, backend: LiveBackend) -> None:
    backend.on("/refuse", answer(b"no", 401, ("WWW-Authenticate", "Basic")))
    head = b"PUT /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n"
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as connection, connection.makefile("rb") as file:
        connection.sendall(head)
        assert file.readline() == b"HTTP/1.1 401 OK\r\n"


def test_early_hints_pass(proxy: ProxyProcess, backend: LiveBackend) -> None:
    def hint(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 103 Early Hints\r\nLink: </s.css>; rel=preload\r\n\r\n")
        exchange.reply(b"page")

    backend.on("/hints", hint)
    lines, rest = talk(proxy, "GET /hints HTTP/1.1", "Host: x")
    assert lines == ["HTTP/1.1 103 Early Hints", "Link: </s.css>; rel=preload"]
    assert rest.startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_chunked_body_streams_before_its_end(proxy: ProxyProcess, backend: LiveBackend) -> None:
    go_on = threading.Event()

    def chunks(exchange: Exchange) -> None:
        exchange.head(200, [("Transfer-Encoding", "chunked"), ("Cache-Control", "max-age=60")])
        exchange.send(b"5\r\nfirst\r\n")
        assert go_on.wait(10)
        exchange.send(b"6\r\nsecond\r\n0\r\n\r\n")

    backend.on("/chunks", chunks)
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as connection:
        connection.sendall(b"GET /chunks HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received = b""
        while b"first" not in received:
            received += connection.recv(65536)
        go_on.set()
        while data := connection.recv(65536):
            received += data
    assert received.endswith(b"second\r\n0\r\n\r\n")
    assert proxy.get("/chunks").body == b"firstsecond"


def test_pipelined_requests_are_answered_in_order(proxy: ProxyProcess, backend: LiveBackend) -> None:
    targets = [f"/pipe{n % 3}" for n in range(9)]
    data = b"".join(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for target in targets)
    answered = proxy.raw(data + b"GET /pipe-end HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    found = [json.loads(part[: part.index(b"}") + 1])["target"] for part in answered.split(b"\r\n\r\n")[1:]]
    assert found == [*targets, "/pipe-end"]


def test_refused_and_unresolved_backends_are_502(start_shared: StartProxy) -> None:
    for url in (f"http://127.0.0.1:{free_port()}", "http://does-not-exist.invalid"):
        lost = start_shared(BACKEND_URL=url)
        for method in ("GET", "POST"):
            answered = lost.request(method, "/x", {}, b"body" if method == "POST" else None)
            assert (answered.status, answered.cache, answered["Content-Type"]) == (502, "ERROR", "application/json")
            assert set(answered.json()) == {"error"}
            assert "127.0.0.1" not in answered.body.decode()


def test_development_shows_why(start_shared: StartProxy) -> None:
    lost = start_shared(BACKEND_URL=f"http://127.0.0.1:{free_port()}", APP_ENV="development")
    assert "UpstreamUnreachable" in lost.get("/x").body.decode()
    lost.stop()
    assert "\x1b[" in lost.log
    assert "GET /x 502 ERROR" in lost.log
