"""Nothing that a request made is left for the cycle collector, however the request ends.

The collector counts objects, not bytes: a cycle that holds a body of ten megabytes waits as long as one that holds a
number. So there must be none: everything dies with its last reference.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from support.memory_proxy import MemoryProxy
from support.whole_proxy import WholeProxy, ok
from twisted.python.failure import Failure

from caching_proxy.http.body import Body
from caching_proxy.interfaces import IncompleteBody, UpstreamTimeout, UpstreamUnreachable
from caching_proxy.upstream import pool

FRESH = "Cache-Control: max-age=900"
LARGE = b"x" * 300_000


@contextmanager
def no_cycles() -> Iterator[None]:
    """Fails if anything of ours, or of Twisted's, could only be freed by the collector."""
    gc.collect()
    gc.disable()
    try:
        yield
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left = [each for each in gc.garbage if type(each).__module__.startswith(("caching_proxy", "twisted"))]
        names = sorted({type(each).__qualname__ for each in left})
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert names == []


def _whole(proxy: MemoryProxy) -> None:
    proxy.says(FRESH)
    proxy.get()


def _hit(proxy: MemoryProxy) -> None:
    _whole(proxy)
    assert proxy.get().cache == "HOT_HIT"
    proxy.forget_memory()
    assert proxy.get().cache == "HIT"


def _refresh(proxy: MemoryProxy) -> None:
    _hit(proxy)
    assert proxy.get("/x", "Cache-Control: no-cache").cache == "REFRESH"


def _validation(proxy: MemoryProxy) -> None:
    proxy.says("Cache-Control: max-age=2", 'ETag: "a"')
    proxy.get()
    proxy.advance(4)
    proxy.says("Cache-Control: max-age=2", 'ETag: "a"', status=304, body=b"")
    assert proxy.get().cache == "REVALIDATED"


def _ranges(proxy: MemoryProxy) -> None:
    _whole(proxy)
    assert proxy.get("/x", "Range: bytes=0-1").status == 206
    assert proxy.get("/x", "Range: bytes=0-0,2-2").status == 206
    assert proxy.get("/x", "Range: bytes=9-").status == 416


def _completion(proxy: MemoryProxy) -> None:
    lines = (FRESH, 'ETag: "a"')
    proxy.says_each(
        proxy.reply(*lines, "Content-Range: bytes 0-2/5", status=206, body=b"abc"),
        proxy.reply(*lines, "Content-Range: bytes 3-4/5", status=206, body=b"de"),
    )
    proxy.get("/x", "Range: bytes=0-2")
    assert proxy.get().body == b"abcde"


def _collapsed(proxy: MemoryProxy) -> None:
    proxy.says(FRESH)
    proxy.backend.hold()
    waiting = [proxy.start("GET", "/x") for _ in range(5)]
    waiting[2].leave()
    proxy.backend.release()


def _read_along(proxy: MemoryProxy) -> None:
    response = proxy.open_response(FRESH)
    proxy.backend.script = lambda head, body: response
    waiting = [proxy.start("GET", "/x") for _ in range(5)]
    waiting[1].leave()
    response.body.feed(LARGE)
    waiting[2].leave()
    response.body.end()
    proxy.backend.script = None


def _broken_off(proxy: MemoryProxy) -> None:
    response = proxy.open_response(FRESH)
    proxy.backend.script = lambda head, body: response
    waiting = [proxy.start("GET", "/x") for _ in range(3)]
    response.body.feed(LARGE)
    response.body.fail(Failure(IncompleteBody("early")))
    assert waiting[0].answer is not None
    proxy.backend.script = None


def _too_large(proxy: MemoryProxy) -> None:
    response = proxy.open_response(FRESH)
    proxy.backend.script = lambda head, body: response
    proxy.start("GET", "/x")
    for _ in range(40):
        response.body.feed(LARGE)
    response.body.end()
    proxy.backend.script = None


def _abandoned(proxy: MemoryProxy) -> None:
    response = proxy.open_response(FRESH)
    proxy.backend.script = lambda head, body: response
    proxy.start("GET", "/x", read=False).leave()
    response.body.feed(LARGE)
    proxy.advance(30)
    proxy.backend.script = None


def _hit_for_miss(proxy: MemoryProxy) -> None:
    proxy.says("Cache-Control: no-store", body=LARGE)
    proxy.get()
    response = proxy.open_response("Cache-Control: no-store")
    proxy.backend.script = lambda head, body: response
    proxy.start("GET", "/x").leave()
    proxy.backend.script = None


def _errors(proxy: MemoryProxy) -> None:
    proxy.says_each(UpstreamTimeout("silent"), UpstreamUnreachable("gone"), proxy.reply(status=500))
    assert [proxy.get("/e").status for _ in range(3)] == [504, 502, 500]


def _stale(proxy: MemoryProxy) -> None:
    proxy.says("Cache-Control: max-age=2, stale-if-error=600, stale-while-revalidate=3")
    proxy.get()
    proxy.advance(3)
    assert proxy.get().cache == "STALE"
    proxy.advance(10)
    proxy.backend.hold()
    exchange = proxy.start("GET", "/x")
    proxy.advance(1)
    assert exchange.answer is not None
    proxy.backend.release()


def _left_while_waiting(proxy: MemoryProxy) -> None:
    proxy.store.hold("lookup")
    proxy.start("GET", "/x").leave()
    proxy.store.release()
    proxy.backend.hold()
    proxy.start("GET", "/y").leave()
    proxy.start("POST", "/y", body=b"x").leave()
    proxy.backend.release()


def _post(proxy: MemoryProxy) -> None:
    _whole(proxy)
    proxy.says(FRESH, "Content-Location: /x")
    proxy.ask("POST", "/x", body=b"data")
    assert proxy.get().cache in ("HOT_HIT", "HIT")


def _variants(proxy: MemoryProxy) -> None:
    proxy.says(FRESH, "Vary: Foo")
    for value in "ab":
        proxy.get("/x", f"Foo: {value}")
    proxy.forget_memory()
    proxy.get("/x", "Foo: a")


WAYS = (
    *(_hit, _refresh, _validation, _ranges, _completion, _collapsed, _read_along, _broken_off, _too_large),
    *(_abandoned, _hit_for_miss, _errors, _stale, _left_while_waiting, _post, _variants),
)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__.strip("_"))
@pytest.mark.slow
def test_in_the_cache(make_proxy: Callable[..., MemoryProxy], way: Callable[[MemoryProxy], None]) -> None:
    proxy = make_proxy()
    way(proxy)  # what is made once
    proxy.forget_memory()
    again = make_proxy()
    with no_cycles():
        way(again)
        again.backend.requests.clear()


@pytest.mark.slow
def test_the_check_finds_a_cycle() -> None:
    def leave_one() -> None:
        body = Body(None)
        body.attach(_Loop(body))

    with pytest.raises(AssertionError), no_cycles():
        leave_one()


class _Loop:
    def __init__(self, body: Body) -> None:
        self.body = body

    def received(self, data: bytes) -> None: ...

    def ended(self, trailers: object) -> None: ...

    def failed(self, reason: Failure) -> None: ...


# -- with the real channel and the real backend client

REQUEST = b"GET %b HTTP/1.1\r\nHost: a\r\n%b\r\n"


def _wire_miss(proxy: WholeProxy) -> None:
    for _ in range(2):
        assert proxy.get(b"/m").status == 200
    assert proxy.get(b"/r", b"Cache-Control: no-cache").cache == "REFRESH"


def _wire_post(proxy: WholeProxy) -> None:
    client = proxy.client()
    client.ask(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
    client.send(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\na")
    client.close()
    proxy.pump()


def _wire_leaver(proxy: WholeProxy) -> None:
    for data in (b"GET /l", REQUEST % (b"/l", b""), REQUEST % (b"/l2", b"Cookie: a=b\r\n")):
        client = proxy.client()
        client.channel.dataReceived(data) if hasattr(client, "channel") else client.send(data)
        client.close()
        proxy.pump()
    proxy.pass_time(30)


def _wire_refused(proxy: WholeProxy) -> None:
    client = proxy.client()
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
    client.close()
    proxy.pump()


@pytest.mark.parametrize("size", [10, 500_000, 12_000_000])
@pytest.mark.parametrize(
    "way", [_wire_miss, _wire_post, _wire_leaver, _wire_refused], ids=lambda way: way.__name__.strip("_")
)
@pytest.mark.slow
def test_on_the_wire(way: Callable[[WholeProxy], None], size: int) -> None:
    proxy = WholeProxy(lambda message: ok(b"x" * size, b"Cache-Control: max-age=60"))
    way(proxy)
    with no_cycles():
        way(proxy)
    proxy.stop()


@pytest.mark.slow
def test_a_change_that_is_refused_while_it_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "MOST_WAITING_BYTES", 1)
    proxy = WholeProxy(lambda message: None, BACKEND_MAX_CONNECTIONS="1", BACKEND_MAX_PER_PEER="1")
    silent = proxy.client()
    silent.send(b"GET /silent HTTP/1.1\r\nHost: a\r\n\r\n")

    def refused() -> None:
        client = proxy.client()
        [answer] = client.ask(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 20000\r\n\r\n" + bytes(20_000))
        assert answer.status == 504
        client.close()
        proxy.pump()

    refused()
    with no_cycles():
        refused()
    silent.close()
    proxy.stop()
