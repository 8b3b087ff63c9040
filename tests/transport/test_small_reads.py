"""How much a native connection reads at once."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import uvloop
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from caching_proxy.transport import small_reads
from caching_proxy.transport.native import CHOKED_BYTES, NativeTransport, has_read
from caching_proxy.transport.native_protocol import NativeProtocol
from caching_proxy.transport.small_reads import PIECE, PROVEN_BYTES, STOPPED_SECONDS, Trust

MIB = 1 << 20


@implementer(IPushProducer)
class Receiver:
    """A Twisted protocol that notes the sizes of what it is given, and is a producer."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.lost: Failure | None = None
        self.paused: list[bool] = []
        self.pauses = False
        self.transport: NativeTransport

    def makeConnection(self, transport: object) -> None:
        assert isinstance(transport, NativeTransport)
        self.transport = transport

    def dataReceived(self, data: bytes) -> None:
        has_read(self.transport, len(data))
        self.sizes.append(len(data))
        if self.pauses:
            self.transport.pauseProducing()

    def connectionLost(self, reason: Failure) -> None:
        self.lost = reason

    def pauseProducing(self) -> None:
        self.paused.append(True)

    def resumeProducing(self) -> None:
        self.paused.append(False)

    def stopProducing(self) -> None: ...


class Rig:
    """A receiver on one end of a pair of sockets; the test has the other end."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.receiver = Receiver()
        self.ours, self.peer = socket.socketpair()
        for end in (self.ours, self.peer):
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MIB)

    async def __aenter__(self) -> Rig:
        native = NativeProtocol(self.loop, lambda _: self.receiver)
        await self.loop.create_connection(lambda: native, sock=self.ours)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.receiver.transport.abortConnection()
        await self.until(lambda: self.receiver.lost is not None)
        self.peer.close()

    async def send(self, size: int) -> list[int]:
        """The sizes in which so many bytes arrive."""
        self.receiver.sizes.clear()
        await self.loop.sock_sendall(self.peer, bytes(size))
        await self.until(lambda: sum(self.receiver.sizes) == size)
        return self.receiver.sizes[:]

    async def until(self, condition: Callable[[], bool]) -> None:
        for _ in range(100_000):
            if condition():
                return
            await asyncio.sleep(0)
        raise AssertionError("it does not happen")


Story = Callable[[Rig], Awaitable[None]]
Play = Callable[[Story], None]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def play(request: pytest.FixtureRequest) -> Play:
    """Runs a story on a loop of its own; that of the reactor runs in this thread already."""

    def run(story: Story) -> None:
        async def told() -> None:
            async with Rig() as rig:
                await story(rig)

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(told())

    def play(story: Story) -> None:
        with ThreadPoolExecutor(1) as thread:
            thread.submit(run, story).result()

    return play


def test_small_until_much_has_gone_through(play: Play) -> None:
    async def story(rig: Rig) -> None:
        await rig.send(MIB)
        assert max(await rig.send(MIB)) == PIECE
        for _ in range(PROVEN_BYTES // MIB):
            await rig.send(MIB)
        assert max(await rig.send(MIB)) > PIECE

    play(story)


def test_small_again_for_who_stops(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(small_reads, "STOPPED_SECONDS", -1.0)

    async def story(rig: Rig) -> None:
        for _ in range(PROVEN_BYTES // MIB + 2):
            await rig.send(MIB)
        rig.receiver.transport.pauseProducing()
        rig.receiver.transport.resumeProducing()
        await rig.send(MIB)
        assert max(await rig.send(MIB)) == PIECE

    play(story)


def test_who_pauses_is_given_no_more_than_a_piece(play: Play) -> None:
    async def story(rig: Rig) -> None:
        await rig.send(MIB)
        rig.receiver.pauses = True
        rig.receiver.sizes.clear()
        await rig.loop.sock_sendall(rig.peer, bytes(MIB // 4))
        await rig.until(lambda: bool(rig.receiver.sizes))
        for _ in range(100):
            await asyncio.sleep(0)
        assert rig.receiver.sizes == [PIECE]
        rig.receiver.pauses = False
        rig.receiver.transport.resumeProducing()
        await rig.until(lambda: sum(rig.receiver.sizes) == MIB // 4)

    play(story)


def test_the_rest_of_a_connection_s_life_is_as_ever(play: Play) -> None:
    async def story(rig: Rig) -> None:
        receiver = rig.receiver
        await rig.send(MIB)
        receiver.transport.registerProducer(receiver, True)
        receiver.transport.write(bytes(4 * MIB))
        assert receiver.paused == [True]
        assert receiver.transport.unsent() > CHOKED_BYTES
        got = 0
        while got < 4 * MIB:
            got += len(await rig.loop.sock_recv(rig.peer, MIB))
        await rig.until(lambda: receiver.paused == [True, False])
        receiver.transport.unregisterProducer()
        rig.peer.shutdown(socket.SHUT_WR)
        await rig.until(lambda: receiver.lost is not None)
        assert receiver.lost is not None
        assert receiver.lost.check(ConnectionDone)

    play(story)


@pytest.mark.parametrize(("pause", "earned"), [(STOPPED_SECONDS, True), (STOPPED_SECONDS + 0.01, False)])
def test_a_short_stop_is_forgiven(pause: float, earned: bool) -> None:
    now = [100.0]
    trust = Trust(lambda: now[0])
    trust.passed(PROVEN_BYTES - 1)
    assert not trust.earned
    trust.passed(1)
    assert trust.earned
    trust.stopped()
    now[0] += pause
    trust.goes_on()
    assert trust.earned is earned
