"""Socket.IO by long polling, by WebSocket, and from one to the other; events and a WebSocket of FastAPI."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from apps.running import HERE, Pair, node, pair, python, run
from apps.test_walks import fastapi


def serve(port: int, home: Path) -> list[str]:
    return node("socketio_app.mjs", str(port))


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with pair(serve, tmp_path_factory.mktemp("socketio")) as both:
        yield both


@pytest.mark.parametrize("transports", ["polling", "websocket", "polling,websocket"])
def test_the_same_conversation(hosts: Pair, transports: str, tmp_path: Path) -> None:
    told = [
        json.loads(run(*node("socketio_walk.mjs", base, transports), directory=tmp_path).stdout)
        for base in (hosts.direct, hosts.proxied)
    ]
    assert told[0] == told[1]
    last = transports.rpartition(",")[2]
    assert told[1] == {"transport": last, "shout": "HELLO", "twice": True, "news": "it works"}


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with pair(fastapi, tmp_path_factory.mktemp("fastapi")) as both:
        yield both


def test_an_event_arrives_before_the_next_is_made(api: Pair) -> None:
    """The application makes the second one only when told to, which happens after the first has arrived."""
    connection = http.client.HTTPConnection(api.proxied.removeprefix("http://"), timeout=30)
    connection.request("GET", "/events")
    answer = connection.getresponse()
    assert answer.read1() == b"data: first\n\n"
    assert api.proxy.request("POST", "/go").status == 204
    assert answer.read() == b"data: second\n\n"
    connection.close()


def test_a_websocket_with_a_subprotocol(api: Pair, tmp_path: Path) -> None:
    for base in (api.direct, api.proxied):
        url = base.replace("http://", "ws://") + "/ws"
        assert (
            run(python(), str(HERE / "clients" / "over_websocket.py"), url, directory=tmp_path).stdout
            == "echo HELLO 300000"
        )
