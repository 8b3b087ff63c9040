"""What the service manager is told, on a clock of our own and a socket in its place."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from caching_proxy.app.systemd import AGAIN_SECONDS, Notifier


class RunningClock(Clock):
    """A reactor that runs."""

    def callWhenRunning(self, function, *args):
        function(*args)


@pytest.fixture
def manager() -> Iterator[socket.socket]:
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(f"{directory}/notify")
        server.setblocking(False)
        yield server


def heard(manager: socket.socket) -> list[str]:
    words = []
    while True:
        try:
            words.append(manager.recv(4096).decode().partition("\n")[0])
        except BlockingIOError:
            return words


def test_without_a_manager_nothing_is_said() -> None:
    clock = RunningClock()
    notify = Notifier(clock, {"WATCHDOG_USEC": "1000000"})
    for say in (notify.ready, notify.reloading, notify.ready, notify.stopping):
        say()
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("environ", "signs"),
    [
        ({}, 0),
        ({"WATCHDOG_USEC": "20000000"}, 3),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": str(os.getpid())}, 3),
        ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "1"}, 0),
        ({"WATCHDOG_USEC": "0"}, 0),
        ({"WATCHDOG_USEC": "often"}, 0),
        ({"WATCHDOG_USEC": "-5"}, 0),
    ],
)
def test_signs_of_life_come_at_half_the_interval(manager: socket.socket, environ: dict[str, str], signs: int) -> None:
    clock = RunningClock()
    notify = Notifier(clock, {"NOTIFY_SOCKET": manager.getsockname(), **environ})
    clock.advance(60)
    assert heard(manager) == []
    notify.ready()
    notify.ready()  # as after a reload
    clock.pump([9.9, 0.1, 9.9, 0.1])
    assert heard(manager) == ["READY=1", *["WATCHDOG=1"][:signs], "READY=1", *["WATCHDOG=1"] * max(signs - 1, 0)]


def test_a_reload_says_when_it_began(manager: socket.socket) -> None:
    Notifier(RunningClock(), {"NOTIFY_SOCKET": manager.getsockname()}).reloading()
    first, second = manager.recv(4096).decode().splitlines()
    assert first == "RELOADING=1"
    assert second.partition("=")[0] == "MONOTONIC_USEC"
    assert int(second.partition("=")[2]) > 0


def test_an_abstract_socket() -> None:
    name = f"caching-proxy-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{name}")
        Notifier(RunningClock(), {"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert manager.recv(100) == b"READY=1"


def test_a_full_queue_is_tried_again_and_holds_nobody_up(manager: socket.socket) -> None:
    clock = RunningClock()
    notify = Notifier(clock, {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "20000000"})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as noise:
        noise.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                noise.sendto(b"noise", manager.getsockname())
    notify.ready()
    clock.advance(AGAIN_SECONDS)
    assert "READY=1" not in heard(manager)
    clock.advance(AGAIN_SECONDS)
    assert heard(manager) == ["READY=1"]


@pytest.mark.parametrize("name", ["vsock:2:1", "relative", ""])
def test_what_is_no_unix_socket_is_left_alone(name: str) -> None:
    Notifier(RunningClock(), {"NOTIFY_SOCKET": name}).ready()


@pytest.mark.parametrize("name", ["{}/nobody", "/" + "x" * 200, "@" + "x" * 200])
def test_a_manager_who_cannot_be_reached_is_given_up(
    tmp_path: Path, logged_lines: list[tuple[str, str]], name: str
) -> None:
    clock = RunningClock()
    notify = Notifier(clock, {"NOTIFY_SOCKET": name.format(tmp_path), "WATCHDOG_USEC": "20000000"})
    notify.ready()
    notify.stopping()
    clock.advance(100)
    [(level, line)] = logged_lines
    assert level == "warn"
    assert line.startswith("the service manager is told nothing any more: NOTIFY_SOCKET: ")
