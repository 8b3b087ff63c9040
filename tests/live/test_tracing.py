"""A real proxy that is told of a collector: what arrives there, what the backend is told, and what a request costs when
nobody takes its spans."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support.live_backend import Exchange, LiveBackend, answer
from support.proxy_over_h2 import ProxyOverHTTP2
from support.proxy_process import ProxyProcess, StartProxy, free_port, wait_for
from support.redis_server import RedisServer
from support.trace_collector import Collector, attributes

pytestmark = pytest.mark.live

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"
SERVER, CLIENT, INTERNAL = 2, 3, 1
STORED = answer(b"x" * 100, 200, ("Cache-Control", "max-age=100"))


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.stop()


def traced(start_proxy: StartProxy, backend: LiveBackend, collector: Collector, **settings: str) -> ProxyProcess:
    return start_proxy(
        BACKEND_URL=backend.url,
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_BSP_SCHEDULE_DELAY="50",
        ADMIN_TOKEN="a-token-of-some-length",
        **settings,
    )


def told(exchange: Exchange) -> tuple[str, str, str]:
    """Trace and parent that the backend was told, and whether it is sampled."""
    found = re.fullmatch(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})", exchange["traceparent"])
    assert found is not None
    return found[1], found[2], "sampled" if int(found[3], 16) & 1 else "not sampled"


def test_a_miss_and_what_it_is_made_of(
    start_proxy: StartProxy, backend: LiveBackend, collector: Collector, redis_server: RedisServer
) -> None:
    backend.on("/miss?a=1", STORED)
    proxy = traced(start_proxy, backend, collector, CACHE_URL=redis_server.url)
    assert proxy.get("/miss?a=1", traceparent=PARENT, tracestate="a=1,b=2").cache == "MISS"
    spans = {span.name: span for span in collector.wait_for(5)}
    whole, look, asked, fetch, store = (
        *(span for span in collector.spans if span.kind == SERVER),
        spans["lookup"],
        spans["redis lookup"],
        *(span for span in collector.spans if span.kind == CLIENT and span.name == "GET"),
        spans["store"],
    )
    assert {span.trace_id.hex() for span in collector.spans} == {TRACE}
    assert whole.parent_span_id.hex() == "b7ad6b7169203331"
    assert {span.parent_span_id for span in (look, asked, fetch, store)} == {whole.span_id}
    assert attributes(whole) == {
        "http.request.method": "GET",
        "url.path": "/miss",
        "url.query": "a=1",
        "url.scheme": "http",
        "client.address": "127.0.0.1",
        "http.response.status_code": 200,
        "cachingproxy.cache_status": "MISS",
        "cachingproxy.role": "anonymous",
    }
    host, _, port = backend.url.removeprefix("http://").partition(":")
    assert attributes(fetch) == {
        "http.request.method": "GET",
        "server.address": host,
        "server.port": int(port),
        "http.response.status_code": 200,
    }
    assert attributes(asked) == {"db.system.name": "redis", "db.operation.name": "lookup"}
    assert attributes(store) == {"db.system.name": "redis", "db.operation.name": "put"}
    assert whole.start_time_unix_nano <= look.start_time_unix_nano <= look.end_time_unix_nano
    assert fetch.start_time_unix_nano >= asked.end_time_unix_nano
    assert told(backend.seen("/miss?a=1")[0]) == (TRACE, fetch.span_id.hex(), "sampled")
    assert backend.seen("/miss?a=1")[0]["tracestate"] == "a=1,b=2"
    assert collector.services == {"caching-proxy"}


def test_hits_are_one_span_and_a_trace_is_begun(
    start_proxy: StartProxy, backend: LiveBackend, collector: Collector
) -> None:
    backend.on("/hit", STORED)
    proxy = traced(start_proxy, backend, collector, OTEL_SERVICE_NAME="shop-cache")
    assert [proxy.get("/hit").cache for _ in range(3)] == ["MISS", "HOT_HIT", "HOT_HIT"]
    collector.wait_for(7)
    hits = [span for span in collector.spans if attributes(span).get("cachingproxy.cache_status") == "HOT_HIT"]
    assert len(hits) == 2
    assert len({span.trace_id for span in hits}) == 2
    assert {span.parent_span_id for span in hits} == {b""}
    assert attributes(hits[0])["http.response.status_code"] == 200
    trace, _, flags = told(backend.seen("/hit")[0])
    assert flags == "sampled"
    assert trace not in {span.trace_id.hex() for span in hits}
    assert collector.services == {"shop-cache"}


def test_what_is_not_sampled_is_passed_on_and_not_sent(
    start_proxy: StartProxy, backend: LiveBackend, collector: Collector
) -> None:
    backend.on("/quiet", STORED)
    proxy = traced(start_proxy, backend, collector)
    assert proxy.get("/quiet", traceparent=f"00-{TRACE}-b7ad6b7169203331-00").status == 200
    assert proxy.get("/quiet", traceparent=f"00-{TRACE}-b7ad6b7169203331-00").cache == "HOT_HIT"
    trace, parent, flags = told(backend.seen("/quiet")[0])
    assert (trace, flags) == (TRACE, "not sampled")
    assert parent != "b7ad6b7169203331"
    assert proxy.stop() == 0
    assert collector.spans == []


HOSTILE = {
    "version ff": f"ff-{TRACE}-b7ad6b7169203331-01",
    "no trace": f"00-{'0' * 32}-b7ad6b7169203331-01",
    "no parent": f"00-{TRACE}-{'0' * 16}-01",
    "upper case": PARENT.upper(),
    "longer": PARENT + "-x",
    "short": "00-1-2-01",
    "huge": "00-" + "a" * 6000,
    "not ASCII": "00-\xe4\xe4-1-1",
    "braces": "{traceparent} %s %(x)s",
}


def test_traceparents_that_are_none_begin_a_trace(
    start_proxy: StartProxy, backend: LiveBackend, collector: Collector
) -> None:
    proxy = traced(start_proxy, backend, collector, CACHE_URL="memory:")
    for number, value in enumerate(HOSTILE.values()):
        assert proxy.get(f"/hostile/{number}", traceparent=value).status == 200
        trace, _, flags = told(backend.seen(f"/hostile/{number}")[0])
        assert trace != TRACE
        assert flags == "sampled"
    two = f"GET /hostile/two HTTP/1.1\r\nHost: x\r\ntraceparent: {PARENT}\r\nTraceParent: {PARENT}\r\n"
    assert b" 200 " in proxy.raw(f"{two}Connection: close\r\n\r\n".encode())
    assert backend.seen("/hostile/two")[0].all("traceparent") != [PARENT, PARENT]
    assert told(backend.seen("/hostile/two")[0])[0] != TRACE
    assert proxy.get("/hostile/state", traceparent=PARENT, tracestate="x=" + "y" * 5000).status == 200
    seen = backend.seen("/hostile/state")[0]
    assert told(seen)[0] == TRACE
    assert seen.all("tracestate") == []


def test_a_collector_that_refuses_disturbs_nobody(
    start_proxy: StartProxy, backend: LiveBackend, collector: Collector
) -> None:
    collector.status = 400
    backend.on("/refused", STORED)
    proxy = traced(start_proxy, backend, collector)
    assert [proxy.get("/refused").status for _ in range(3)] == [200] * 3
    wait_for(lambda: collector.batches >= 1, "a batch that is refused")
    assert proxy.get("/refused").cache == "HOT_HIT"
    wait_for(lambda: "takes no spans" in proxy.log, "a line about it")
    collector.status = 200
    assert proxy.get("/refused").cache == "HOT_HIT"
    wait_for(lambda: "takes spans again" in proxy.log, "the other line")
    assert proxy.stop() == 0
    lines = [str(line["msg"]) for line in proxy.log_lines() if "spans" in str(line)]
    assert len(lines) == 2


ENDLESS = {
    "its body never ends": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"2000\r\n%b\r\n" % (b"x" * 0x2000),
    ),
    "its body drips": (b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n", b"x"),
    "its head drips": (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
    "it is elsewhere": (b"HTTP/1.1 307 Go\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", b""),
}


def telling(collector: socket.socket, backend: LiveBackend) -> dict[str, str]:
    """Settings of a proxy that soon sends its spans to ``collector``, and does not wait long for it at the end."""
    return {
        "BACKEND_URL": backend.url,
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.getsockname()[1]}",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
        "SHUTDOWN_GRACE_SECONDS": "1",
    }


@pytest.mark.parametrize(("head", "piece"), ENDLESS.values(), ids=ENDLESS)
def test_a_collector_whose_answer_does_not_end_is_told_of(
    start_proxy: StartProxy, backend: LiveBackend, head: bytes, piece: bytes
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as drips:
        proxy = start_proxy(**telling(drips, backend))
        assert proxy.get("/drips").status == 200
        asked, _ = drips.accept()
        with asked:
            asked.recv(1 << 16)
            asked.sendall(head)

            def heard() -> bool:
                with suppress(OSError):  # it has hung up
                    asked.sendall(piece)
                return "takes no spans" in proxy.log

            wait_for(heard, "a line about it", 30)
        assert proxy.get("/drips").status == 200
        assert proxy.stop() == 0


def test_nobody_listens_there(start_proxy: StartProxy, backend: LiveBackend, collector: Collector) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nowhere = taken.getsockname()[1]
    proxy = start_proxy(BACKEND_URL=backend.url, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{nowhere}/")
    assert [proxy.get("/nobody").status for _ in range(3)] == [200] * 3
    assert proxy.stop() == 0


def test_a_collector_that_never_answers_keeps_nobody_from_stopping(
    start_proxy: StartProxy, backend: LiveBackend
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        proxy = start_proxy(**telling(mute, backend))
        assert proxy.get("/mute").status == 200
        asked, _ = mute.accept()
        with asked:
            assert proxy.get("/mute").status == 200
            assert proxy.stop() == 0
    told = [line["msg"] for line in proxy.log_lines()]
    assert told[-2:] == ["stopping without waiting any longer for the trace collector", "stopped"]


def test_the_last_spans_are_sent_before_the_end(
    start_proxy: StartProxy, backend: LiveBackend, collector: Collector
) -> None:
    proxy = start_proxy(
        BACKEND_URL=backend.url, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_BSP_SCHEDULE_DELAY="600000"
    )
    assert proxy.get("/last").status == 200
    assert collector.spans == []
    assert proxy.stop() == 0
    assert [span.name for span in collector.spans if span.kind == SERVER] == ["GET"]


def test_exemplars_stand_beside_the_buckets(
    start_proxy: StartProxy, backend: LiveBackend, collector: Collector
) -> None:
    backend.on("/example", STORED)
    proxy = traced(start_proxy, backend, collector)
    for _ in range(2):
        proxy.get("/example", traceparent=PARENT)
    field = {"Accept": "application/openmetrics-text", "Authorization": "Bearer a-token-of-some-length"}
    lines = proxy.request("GET", "/metrics", field).body.decode().splitlines()
    beside = [line for line in lines if " # {" in line]
    assert beside
    assert all(line.startswith("http_request_duration_seconds_bucket{") for line in beside)
    assert all(f'# {{trace_id="{TRACE}"}} ' in line for line in beside)
    plain = proxy.request("GET", "/metrics", {"Authorization": "Bearer a-token-of-some-length"}).body
    assert b"trace_id" not in plain


def test_hits_over_http_2_are_traced_too(tmp_path: Path, backend: LiveBackend, collector: Collector) -> None:
    backend.on("/streams", STORED)
    settings = {"BACKEND_URL": backend.url, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    proxy = ProxyOverHTTP2(tmp_path, {"PORT": str(free_port()), "HOST": "127.0.0.1", **settings})
    try:
        proxy.wait_until_serving()
        assert [proxy.get("/streams", traceparent=PARENT).cache for _ in range(2)] == ["MISS", "HOT_HIT"]
    finally:
        assert proxy.stop() == 0
    whole = [attributes(span) for span in collector.spans if span.kind == SERVER]
    assert [span["cachingproxy.cache_status"] for span in whole] == ["MISS", "HOT_HIT"]
    assert {span["url.scheme"] for span in whole} == {"https"}
    assert {span.trace_id.hex() for span in collector.spans} == {TRACE}


def test_two_workers_tell_of_their_requests(
    start_proxy: StartProxy, backend: LiveBackend, collector: Collector
) -> None:
    backend.on("/both", STORED)
    proxy = traced(start_proxy, backend, collector, WORKERS="2")
    for _ in range(20):
        assert proxy.get("/both", traceparent=PARENT).status == 200
    field = {"Accept": "application/openmetrics-text", "Authorization": "Bearer a-token-of-some-length"}
    assert TRACE in proxy.request("GET", "/metrics", field).body.decode()
    assert proxy.stop() == 0
    assert len([span for span in collector.spans if span.kind == SERVER]) >= 20


def test_without_a_collector_the_context_passes_as_it_is(start_proxy: StartProxy, backend: LiveBackend) -> None:
    proxy = start_proxy(BACKEND_URL=backend.url)
    proxy.get("/passing", traceparent=PARENT, tracestate="a=1")
    seen = backend.seen("/passing")[0]
    assert (seen["traceparent"], seen["tracestate"]) == (PARENT, "a=1")
