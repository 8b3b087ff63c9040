"""A backend that breaks off, lies, hangs or is gone: an error in time or a cut connection, and nothing stored."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from collections import Counter

import pytest
from faults.conftest import SLACK, World
from support.faults_helper import Helper
from support.faults_oracle import answer_of
from support.faulty_link import FaultyLink

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.faults]


def ask(world: World, target: str) -> tuple[int | None, bytes]:
    """Status and body; no status where the connection ends first, no body where it ends within."""
    try:
        answer = world.proxy.get(target)
    except (http.client.HTTPException, OSError):
        return None, b""
    return answer.status, answer.body


def right(target: str) -> tuple[int, bytes]:
    return 200, answer_of(target, "anonymous")


def answer_size(target: str) -> tuple[int, int]:
    """Bytes of the backend's head, and of its whole answer."""
    body = answer_of(target, "anonymous")
    head = len(f"HTTP/1.1 200 OK\r\nCache-Control: max-age=3600\r\nContent-Length: {len(body)}\r\n")
    head += len("Content-Type: text/plain\r\n\r\n")
    return head, head + len(body)


@pytest.mark.parametrize("how", ["reset", pytest.param("close", marks=pytest.mark.long)])
def test_cut_at_every_byte(world: World, how: str) -> None:
    world.run()
    target = next(f"/cut/{how}{n}" for n in range(100) if len(answer_of(f"/cut/{how}{n}", "anonymous")) < 200)
    head, whole = answer_size(target)
    for at in [*range(head + 20), *range(head + 20, whole - 3, 17), whole - 2, whole - 1]:
        world.backend.ask(fault=how, at=at)
        status, body = ask(world, target)
        assert status == 502 if at < head else (status, body) == (None, b""), f"after {at} bytes: {status} {body!r}"
    world.backend.ask(fault=None)
    assert ask(world, target) == right(target)


@pytest.mark.parametrize(("fault", "statuses"), [("long", {200, 502}), ("double", {502}), ("chunk", {None})])
def test_an_answer_that_is_not_what_it_says(world: World, fault: str, statuses: set[int | None]) -> None:
    """More bytes than announced are thrown away with the connection; two lengths are no answer; no end, no whole."""
    world.run()
    world.backend.ask(fault=fault)
    target = f"/odd/{fault}"
    assert ask(world, target)[0] in statuses
    world.backend.ask(fault=None)
    for n in range(3):  # nobody gets what was left over
        assert ask(world, f"/other/{fault}{n}") == right(f"/other/{fault}{n}")


@pytest.mark.long
def test_no_answer_is_a_504_in_time(world: World) -> None:
    world.run().busy()
    world.backend.ask(fault="hang")
    start = time.monotonic()
    assert ask(world, "/hanging")[0] == 504
    assert time.monotonic() - start < 2 + 2 * SLACK
    world.watch(1).hold(("200", "504"))
    world.backend.ask(fault=None)
    time.sleep(2.5)
    world.seen()
    world.watch(1).hold()


@pytest.mark.long
def test_gone_and_back(world: World) -> None:
    world.run().busy()
    port = int(world.backend.first)
    world.backend.stop()
    away = world.watch(2).hold(("200", "502"))
    assert away.share("HOT_HIT", "HIT") > 0.8, "what is cached is served"
    world.backend = Helper("faults_backend", port)
    world.around.callback(world.backend.stop)
    world.seen()
    world.until(lambda report: report.share("MISS") > 0.02, "misses answered again", statuses=("200", "502"))
    world.watch(1).hold()


@pytest.mark.long
def test_flapping(world: World) -> None:
    """Connections are reset again and again: requests under way fail, later ones do not."""
    with FaultyLink(int(world.backend.first)) as link:
        world.run(backend_port=link.port).busy()
        for _ in range(10):
            link.cut()
            world.watch(0.2).hold(("200", "502"))
        world.seen()
        world.watch(1).hold()


def test_restarted_between_two_requests(world: World) -> None:
    """Idle connections died meanwhile: who comes next does not pay for that."""
    with FaultyLink(int(world.backend.first)) as link:
        world.run(backend_port=link.port)
        for n in range(20):
            assert ask(world, f"/one/{n}") == right(f"/one/{n}")
            link.cut()


def test_only_idempotent_requests_are_sent_again(world: World) -> None:
    """The backend resets a connection that it had kept open, when the next request has come."""
    world.run()
    for method, most in (("POST", 1), ("GET", 2)):
        assert ask(world, f"/before/{method}") == right(f"/before/{method}")
        world.backend.ask(fault="reset", at=0)
        assert world.proxy.request(method, "/again", {}, b"x" if method == "POST" else None).status == 502
        assert int(str(world.backend.ask(fault=None)["requests"])) <= most


# -- the one whose fetch many wait for

CROWD = 500


def crowd(world: World, target: str, ready: threading.Event) -> list[tuple[int, bytes, float]]:
    """Status, body and seconds of as many clients that ask for ``target`` at once."""
    request = f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()
    clients = []
    for _ in range(CROWD):
        client = socket.create_connection(("127.0.0.1", world.proxy.port), 20)
        client.settimeout(20 * SLACK)
        client.sendall(request)
        clients.append(client)
    ready.set()
    found = []
    start = time.monotonic()
    for client in clients:
        with client:
            data = b""
            while part := client.recv(1 << 16):
                data += part
        head, _, body = data.partition(b"\r\n\r\n")
        found.append((int(head[9:12] or 0), body, time.monotonic() - start))
    return found


@pytest.mark.parametrize("then", ["reset", None])
def test_a_crowd_whose_leader_dies_or_is_slow(world: World, then: str | None) -> None:
    world.run()
    target = f"/crowd/{then}"
    world.backend.ask(fault="hold", then=then)
    ready = threading.Event()

    def release() -> None:
        ready.wait(20 * SLACK)
        for _ in range(3):  # whoever connects later is answered later: by then the whole crowd has been read
            world.proxy.get("/health")
        world.backend.ask(release=True)

    releasing = threading.Thread(target=release)
    releasing.start()
    found = crowd(world, target, ready)
    releasing.join()
    statuses = Counter(status for status, _, _ in found)
    assert set(statuses) == ({502} if then else {200}), statuses
    assert all(body == answer_of(target, "anonymous") for status, body, _ in found if status == 200)
    asked = world.backend.ask(fault=None)["requests"]
    assert int(str(asked)) <= 2, "one fetch, and one more try at most"
    assert ask(world, target) == right(target)


@pytest.mark.long
def test_a_crowd_whose_leader_is_never_answered(world: World) -> None:
    """All of them are told when the time for the one fetch is over."""
    world.run()
    world.backend.ask(fault="hang")
    found = crowd(world, "/crowd/never", threading.Event())
    assert {status for status, _, _ in found} == {504}
    assert max(seconds for _, _, seconds in found) < 2 + 2 * SLACK
    assert int(str(world.backend.ask(fault=None)["requests"])) <= 2
    assert ask(world, "/crowd/never") == right("/crowd/never")


def test_a_crowd_whose_answer_turns_out_uncacheable_does_not_queue(world: World) -> None:
    world.run()
    world.kept_files += 100  # connections to the backend, by default
    world.backend.ask(fault="uncacheable", seconds=0.2)
    found = crowd(world, "/crowd/own", threading.Event())
    assert {status for status, _, _ in found} == {200}
    assert max(seconds for _, _, seconds in found) < 0.2 * CROWD / 10, "not one after another"
    assert int(str(world.backend.ask(fault=None)["most"])) > 10
