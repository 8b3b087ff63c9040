"""The demo backend answers as the README and ``make run`` promise."""

from __future__ import annotations

import base64
import json

import pytest
import pytest_twisted
import treq
from demo_backend import SLOW_SECONDS, make_site
from run import demo_environment, introduction, needs_demo
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.web.client import Agent
from twisted.web.test.requesthelper import DummyRequest

from caching_proxy.settings.load import load


@pytest.fixture
def reactor() -> object:
    from twisted.internet import reactor

    return reactor


class Demo:
    """A listening demo backend and a client."""

    def __init__(self, reactor, clock) -> None:  # type: ignore[no-untyped-def]
        self.site = make_site(clock)
        self.listening = reactor.listenTCP(0, self.site, interface="127.0.0.1")
        self.base = f"http://127.0.0.1:{self.listening.getHost().port}"
        self.agent = Agent(reactor)

    async def ask(self, method: str, path: str, **more):  # type: ignore[no-untyped-def]
        answer = await treq.request(method, self.base + path, agent=self.agent, **more)
        return answer.code, json.loads(await answer.content()), answer.headers


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def demo(reactor, clock):  # type: ignore[no-untyped-def]
    demo = Demo(reactor, clock)
    yield demo
    pytest_twisted.blockon(demo.listening.stopListening())


@pytest_twisted.ensureDeferred
async def test_items_change(demo: Demo) -> None:
    status, before, headers = await demo.ask("GET", "/items")
    assert (status, len(before["items"])) == (200, 2)
    assert headers.getRawHeaders("cache-control") is None
    status, added, _ = await demo.ask("POST", "/items", json={"name": "table"})
    assert (status, added["item"]) == (201, {"name": "table", "id": 3})
    status, changed, _ = await demo.ask("PUT", "/items/3", json={"price": 5})
    assert (status, changed["item"]) == (200, {"name": "table", "id": 3, "price": 5})
    assert (await demo.ask("GET", "/items/3"))[1]["item"]["price"] == 5
    assert (await demo.ask("DELETE", "/items/3"))[0] == 200
    assert (await demo.ask("GET", "/items/3"))[0] == 404


@pytest_twisted.ensureDeferred
async def test_answers_are_counted(demo: Demo) -> None:
    counts = [(await demo.ask("GET", "/time"))[1]["served"] for _ in range(2)]
    assert counts == [1, 2]


@pytest_twisted.ensureDeferred
async def test_bad_bodies_are_refused(demo: Demo) -> None:
    for body in (b"", b"[]", b"{", b"\xff"):
        assert (await demo.ask("POST", "/items", data=body))[0] == 400
        assert (await demo.ask("POST", "/items/1", data=body))[0] == 400


def token(claims: object) -> str:
    body = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"Bearer e30.{body}.x"


@pytest.mark.parametrize(
    ("authorization", "roles"),
    [
        (None, []),
        (token({"roles": ["editor", 1]}), ["editor"]),
        (token({"roles": "editor"}), []),
        (token([]), []),
        ("Bearer a.b.c", []),
        ("Basic eDp5", []),
    ],
    ids=["none", "list", "string", "array", "garbage", "basic"],
)
@pytest_twisted.ensureDeferred
async def test_roles_are_echoed(demo: Demo, authorization: str | None, roles: list[str]) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    assert (await demo.ask("GET", "/whoami", headers=headers))[1]["roles"] == roles


@pytest_twisted.ensureDeferred
async def test_private_says_so(demo: Demo) -> None:
    assert (await demo.ask("GET", "/private"))[2].getRawHeaders("cache-control") == ["private"]


def test_slow_waits(demo: Demo, clock: Clock) -> None:
    request = DummyRequest([b"slow"])
    request.method = b"GET"
    demo.site.resource.getChildWithDefault(b"slow", request).render(request)
    finished: Deferred[None] = request.notifyFinish()
    clock.advance(SLOW_SECONDS)
    assert json.loads(b"".join(request.written))["waited"] == SLOW_SECONDS
    assert finished.called
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("environ", "found", "needed"),
    [
        ({}, {}, True),
        ({"BACKEND_URL": " "}, {}, True),
        ({"BACKEND_URL": "http://x"}, {}, False),
        ({}, {"BACKEND_URL": "http://x"}, False),
    ],
    ids=["nothing", "blank", "environment", "file"],
)
def test_when_the_demo_is_needed(environ: dict[str, str], found: dict[str, str], needed: bool) -> None:
    assert needs_demo(environ, found) is needed


def test_the_introduction_has_three_lines_of_curl() -> None:
    made = demo_environment({}, {}, 8081)
    text = introduction(load(made, {}, {})[0], 8081)
    assert sum(line.startswith("  curl ") for line in text.splitlines()) == 3
    assert f"Bearer {made['ADMIN_TOKEN']}" in text
    assert "BACKEND_URL is not set" in text


def test_an_admin_token_that_is_set_stays() -> None:
    assert demo_environment({"ADMIN_TOKEN": "mine"}, {}, 1)["ADMIN_TOKEN"] == "mine"
    assert "ADMIN_TOKEN" not in demo_environment({}, {"ADMIN_TOKEN": "mine"}, 1)
