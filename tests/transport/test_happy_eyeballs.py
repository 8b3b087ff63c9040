"""Several addresses of one name: which are tried, in which order, and which connection is taken."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from caching_proxy.transport import happy_eyeballs as module
from caching_proxy.transport.happy_eyeballs import interleaved, race

V4, V6 = socket.AF_INET, socket.AF_INET6


def test_families_take_turns() -> None:
    found = [(V6, "a", 1), (V6, "b", 1), (V6, "b", 1), (V6, "c", 1), (V4, "d", 1), (V4, "e", 1)]
    assert [host for _, host, _ in interleaved(found)] == ["a", "d", "b", "e", "c"]


class Net:
    """What each address does: ``hangs``, ``refuses``, or ``answers``; ``tried`` in order."""

    def __init__(self, **addresses: str) -> None:
        self.addresses = addresses
        self.tried: list[str] = []
        self.both = asyncio.Event()
        self.given_up: list[str] = []

    async def getaddrinfo(self, host: str, port: int, **_: Any) -> list[Any]:
        return [(V4, socket.SOCK_STREAM, 6, "", (name, port)) for name in self.addresses]

    def create_task(self, coroutine: Any) -> Any:
        return asyncio.get_running_loop().create_task(coroutine)

    async def create_connection(self, build: Any, host: str, port: int, **_: Any) -> tuple[None, str]:
        self.tried.append(host)
        if len(self.tried) == 2:
            self.both.set()
        does = self.addresses[host]
        if does == "hangs":
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                self.given_up.append(host)
                raise
        if does == "refuses":
            raise ConnectionRefusedError(host)
        return None, host


def run(net: Net) -> object:
    async def attempt() -> object:
        try:
            return await race(net, lambda: None, "name", 80)  # type: ignore[arg-type,return-value]
        finally:
            await asyncio.sleep(0)  # lets what was cancelled end

    return in_a_loop(attempt)


def in_a_loop(run: Callable[[], Coroutine[Any, Any, object]]) -> object:
    """Run it in a loop of its own, in a thread: the suite's reactor has the loop of this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(run())).result(20)


@pytest.fixture(autouse=True)
def no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ATTEMPT_DELAY", 0.001)


@pytest.mark.parametrize(
    ("addresses", "made", "tried"),
    [
        ({"a": "answers", "b": "answers"}, "a", ["a"]),
        ({"a": "hangs", "b": "answers", "c": "answers"}, "b", ["a", "b"]),
        ({"a": "refuses", "b": "answers"}, "b", ["a", "b"]),
        ({"a": "hangs", "b": "refuses", "c": "hangs", "d": "answers"}, "d", ["a", "b", "c", "d"]),
    ],
)
def test_the_first_that_answers(addresses: dict[str, str], made: str, tried: list[str]) -> None:
    net = Net(**addresses)
    assert run(net) == made
    assert net.tried == tried
    assert net.given_up == [name for name in tried if addresses[name] == "hangs"]


def test_none_answers() -> None:
    with pytest.raises(ConnectionRefusedError, match="a"):
        run(Net(a="refuses", b="refuses"))


def test_it_can_be_given_up() -> None:
    net = Net(a="hangs", b="hangs")

    async def attempt() -> None:
        task = asyncio.ensure_future(race(net, lambda: None, "name", 80))  # type: ignore[arg-type,return-value]
        await net.both.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(0)

    in_a_loop(attempt)
    assert net.given_up == ["a", "b"]
