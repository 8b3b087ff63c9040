"""The store while its server is away, stuck or refusing, with real servers and real sockets."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from time import monotonic

import attrs
import hiredis
import pytest
import pytest_twisted
from support.redis_server import RedisServer
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol
from twisted.python.failure import Failure

from caching_proxy.interfaces import IStore, StoreError, StoreUnavailable
from caching_proxy.store.breaker import Phase
from caching_proxy.store.build import StoreConfig, build_store
from caching_proxy.store.circuit_breaker import CircuitBreakerStore
from caching_proxy.store.redis.commands import Call
from caching_proxy.store.redis.errors import Sick

pytestmark = pytest.mark.live

KEY = b"cache:GET:anonymous:/x"
HOUR = 3_600_000
TIMEOUT = 0.3


class Phases:
    """Lets a test wait until the breaker enters a phase."""

    def __init__(self) -> None:
        self.seen: list[Phase] = []
        self._waiting: list[tuple[Phase, Deferred[None]]] = []

    def __call__(self, phase: Phase) -> None:
        self.seen.append(phase)
        due = [waiter for waiter in self._waiting if waiter[0] is phase]
        self._waiting = [waiter for waiter in self._waiting if waiter[0] is not phase]
        for _, done in due:
            done.callback(None)

    def next(self, phase: Phase) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        self._waiting.append((phase, done))
        return done.addTimeout(15, reactor)


@attrs.frozen
class Rig:
    store: CircuitBreakerStore
    phases: Phases

    @property
    def pool(self) -> object:
        return self.store.store.pool  # type: ignore[attr-defined]

    async def lookups(self, count: int) -> list[object]:
        """What so many lookups at once gave: answers and errors."""
        return await settled([self.store.lookup(KEY) for _ in range(count)])

    async def break_open(self) -> None:
        """Lookups until the breaker is open; each must fail in time, and with a StoreError."""
        while self.store.phase is not Phase.OPEN:
            began = monotonic()
            (error,) = await self.lookups(1)
            assert isinstance(error, StoreError)
            assert monotonic() - began < TIMEOUT + 1
        calls = [self.store.lookup(KEY) for _ in range(200)]
        waiting = [call for call in calls if not call.called]
        assert len(waiting) <= 1  # refused on the spot, but for the one probe where the recovery time has just passed
        errors = await settled(calls)  # type: ignore[arg-type]
        assert sum(not isinstance(error, StoreUnavailable) for error in errors) <= 1

    async def works(self) -> None:
        await self.store.put(KEY, b"f", b"v", HOUR)
        stored = await self.store.lookup(KEY)
        assert dict(stored.variants) == {b"f": b"v"}


async def settled(calls: list[Deferred[object]]) -> list[object]:
    results = await DeferredList(calls, consumeErrors=True)
    return [result.value if isinstance(result, Failure) else result for _, result in results]


@pytest.fixture
def rig_for() -> Iterator[Callable[[str], Rig]]:
    made: list[IStore] = []

    def make(url: str, **options: object) -> Rig:
        phases = Phases()
        config = StoreConfig(
            command_timeout=TIMEOUT, connect_timeout=0.5, breaker_recovery=0.2, pool_max=4, on_phase=phases
        )
        store = build_store(reactor, url, attrs.evolve(config, **options))  # type: ignore[arg-type]
        assert isinstance(store, CircuitBreakerStore)
        made.append(store)
        store.start()
        return Rig(store, phases)

    yield make
    for store in made:
        pytest_twisted.blockon(store.stop())


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """A server that the test may ill-treat; not started."""
    server = RedisServer()
    yield server
    server.remove()


@pytest_twisted.ensureDeferred
async def test_down_at_start(rig_for: Callable[[str], Rig], own_server: RedisServer) -> None:
    rig = rig_for(own_server.url)
    await rig.break_open()
    closed = rig.phases.next(Phase.CLOSED)
    own_server.start()
    await closed
    await rig.works()


@pytest.mark.parametrize("recovery", [0.2, 3600.0])
@pytest_twisted.ensureDeferred
async def test_killed_and_restarted(rig_for: Callable[..., Rig], own_server: RedisServer, recovery: float) -> None:
    """A connection after some trouble is news of the store: nobody waits for the recovery time to pass."""
    rig = rig_for(own_server.start().url, breaker_recovery=recovery)
    await rig.works()
    running = [rig.store.lookup(KEY) for _ in range(50)]
    own_server.kill()
    results = await settled(running)  # type: ignore[arg-type]
    assert all(isinstance(result, StoreError) or result.variants for result in results)  # type: ignore[attr-defined]
    await rig.break_open()
    closed = rig.phases.next(Phase.CLOSED)
    own_server.start()
    await closed
    await rig.works()
    assert 1 <= rig.pool.size <= 4  # type: ignore[attr-defined]


@pytest_twisted.ensureDeferred
async def test_restarted_between_two_calls(rig_for: Callable[[str], Rig], own_server: RedisServer) -> None:
    rig = rig_for(own_server.start().url)
    await rig.works()
    own_server.restart()
    assert await rig.lookups(20) == [None] * 20
    await rig.works()
    assert rig.phases.seen == []


@pytest_twisted.ensureDeferred
async def test_nothing_written_during_a_freeze_appears_after_it(
    rig_for: Callable[..., Rig], own_server: RedisServer
) -> None:
    rig = rig_for(own_server.start().url)
    await rig.works()
    await rig.store.delete([KEY])
    own_server.freeze()
    began = monotonic()
    puts = [
        rig.store.put(b"cache:GET:%b:/%d" % (role, n), b"f", b"x" * 20_000, HOUR)
        for n in range(100)
        for role in (b"anonymous", b"editor")
    ]
    results = await settled(puts)  # type: ignore[arg-type]
    assert all(isinstance(result, StoreError) for result in results)
    assert monotonic() - began < TIMEOUT + 1
    await rig.break_open()
    closed = rig.phases.next(Phase.CLOSED)
    own_server.thaw()
    await closed
    await rig.works()
    assert own_server.cli("KEYS", "*") == [KEY]


@pytest_twisted.ensureDeferred
async def test_a_crowd_during_a_freeze_is_turned_away(rig_for: Callable[..., Rig], own_server: RedisServer) -> None:
    rig = rig_for(own_server.start().url, max_pending=1000, pool_min=1, pool_max=1)
    await rig.works()
    await rig.store.delete([KEY])
    own_server.freeze()
    crowd = [rig.store.put(b"cache:GET:anonymous:/%d" % n, b"f", b"x", HOUR) for n in range(1500)]
    refused = [call for call in crowd if call.called]
    assert len(refused) == 1500 - 1000 - 32
    results = await settled(crowd)  # type: ignore[arg-type]
    assert all(isinstance(result, StoreError) for result in results)
    closed = rig.phases.next(Phase.CLOSED)
    own_server.thaw()
    if rig.store.phase is not Phase.CLOSED:
        await closed
    else:
        closed.addErrback(lambda failure: failure.trap(CancelledError))
        closed.cancel()
    await rig.works()
    assert own_server.cli("KEYS", "*") == [KEY]
    assert rig.pool.pending == 0  # type: ignore[attr-defined]


@pytest_twisted.ensureDeferred
async def test_cancelled_calls_leave_nothing_behind(rig_for: Callable[..., Rig], own_server: RedisServer) -> None:
    rig = rig_for(own_server.start().url, pool_min=1, pool_max=1)
    await rig.works()
    own_server.freeze()
    calls = [rig.store.lookup(KEY) for _ in range(600)]
    for call in calls:
        call.addErrback(lambda failure: failure.trap(CancelledError))
        call.cancel()
    assert rig.pool.waiting == 0  # type: ignore[attr-defined]
    assert rig.pool.pending == 32  # type: ignore[attr-defined]
    own_server.thaw()
    await rig.works()
    del calls, call
    gc.collect()
    assert rig.pool.pending == 0  # type: ignore[attr-defined]
    pool = rig.pool  # other tests of this process may have calls of their own
    left = [thing for thing in gc.get_objects() if isinstance(thing, Call) and getattr(thing, "pool", None) is pool]
    assert len(left) <= 1  # the one whose answer led here


@pytest.mark.parametrize("kind", ["READONLY", "OOM"])
@pytest_twisted.ensureDeferred
async def test_reads_go_on_while_writes_are_refused(
    rig_for: Callable[..., Rig], own_server: RedisServer, kind: str
) -> None:
    rig = rig_for(own_server.start().url)
    await rig.works()
    spoil, mend = {
        "READONLY": (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
        "OOM": (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
    }[kind]
    own_server.cli(*spoil)
    for _ in range(20):
        with pytest.raises(Sick, match=kind):
            await rig.store.put(b"cache:GET:editor:/y", b"f", b"v", HOUR)
        assert await rig.store.lookup(KEY) is not None
    assert rig.store.phase is Phase.CLOSED
    own_server.cli(*mend)
    await rig.works()
    assert await rig.store.lookup(b"cache:GET:editor:/y") is None


@pytest_twisted.ensureDeferred
async def test_a_replica_that_lost_its_master_is_ill(rig_for: Callable[..., Rig], own_server: RedisServer) -> None:
    rig = rig_for(own_server.start().url)
    await rig.works()
    own_server.cli("CONFIG", "SET", "replica-serve-stale-data", "no")
    own_server.cli("REPLICAOF", "127.0.0.1", "1")
    await rig.break_open()
    closed = rig.phases.next(Phase.CLOSED)
    own_server.cli("REPLICAOF", "NO", "ONE")
    await closed
    await rig.works()


class FakeRedis(Factory):
    """Answers by a function: bytes to send, or None to hang up."""

    noisy = False

    def __init__(self, answer: Callable[[list[bytes]], bytes | None]) -> None:
        self.answer = answer
        self.accepted = 0
        self.protocol = FakeConnection


class FakeConnection(Protocol):
    factory: FakeRedis

    def connectionMade(self) -> None:
        self.factory.accepted += 1
        self._reader = hiredis.Reader()

    def dataReceived(self, data: bytes) -> None:
        self._reader.feed(data)
        while (command := self._reader.gets()) is not False:
            reply = self.factory.answer(command)
            if reply is None:
                self.transport.abortConnection()  # type: ignore[union-attr]
                return
            self.transport.write(reply)  # type: ignore[union-attr]


@pytest.fixture
def fake() -> Iterator[Callable[[Callable[[list[bytes]], bytes | None]], tuple[FakeRedis, str]]]:
    ports: list[IListeningPort] = []

    def listen(answer: Callable[[list[bytes]], bytes | None]) -> tuple[FakeRedis, str]:
        factory = FakeRedis(answer)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")  # type: ignore[attr-defined]
        ports.append(port)
        return factory, f"127.0.0.1:{port.getHost().port}"

    yield listen
    for port in ports:
        pytest_twisted.blockon(port.stopListening())


REPLIES = {
    b"AUTH": b"+OK\r\n",
    b"SELECT": b"+OK\r\n",
    b"TIME": b"*2\r\n$1\r\n9\r\n$1\r\n0\r\n",
    b"PING": b"+PONG\r\n",
    b"EVAL": b":1\r\n",
    b"HGETALL": b"*2\r\n$1\r\nf\r\n$1\r\nv\r\n",
    b"PTTL": b":5000\r\n",
}


@pytest_twisted.ensureDeferred
async def test_loading(rig_for: Callable[..., Rig], fake: Callable[..., tuple[FakeRedis, str]]) -> None:
    loading = True

    def answer(command: list[bytes]) -> bytes:
        if loading and command[0] not in (b"AUTH", b"SELECT", b"TIME"):
            return b"-LOADING Redis is loading the dataset in memory\r\n"
        return REPLIES[command[0]]

    _, address = fake(answer)
    rig = rig_for(f"redis://{address}")
    (error,) = await rig.lookups(1)
    assert isinstance(error, Sick)
    await rig.break_open()
    closed = rig.phases.next(Phase.CLOSED)
    loading = False
    await closed
    assert (await rig.store.lookup(KEY)).ttl_ms == 5000


@pytest.mark.parametrize("command", [b"AUTH", b"SELECT", b"TIME"])
@pytest_twisted.ensureDeferred
async def test_drops_in_the_handshake_do_not_stop_reconnection(
    rig_for: Callable[..., Rig], fake: Callable[..., tuple[FakeRedis, str]], command: bytes
) -> None:
    drops = 5

    def answer(got: list[bytes]) -> bytes | None:
        nonlocal drops
        if got[0] == command and drops:
            drops -= 1
            return None
        return REPLIES[got[0]]

    factory, address = fake(answer)
    rig = rig_for(f"redis://u:p@{address}/2")
    await rig.break_open()
    await rig.phases.next(Phase.CLOSED)
    assert await rig.store.lookup(KEY) is not None
    assert factory.accepted >= 6


@pytest_twisted.ensureDeferred
async def test_a_server_that_accepts_and_says_nothing(
    rig_for: Callable[..., Rig], fake: Callable[..., tuple[FakeRedis, str]]
) -> None:
    silent = True
    _, address = fake(lambda command: b"" if silent else REPLIES[command[0]])
    rig = rig_for(f"redis://{address}")
    await rig.break_open()
    closed = rig.phases.next(Phase.CLOSED)
    silent = False
    await closed
    assert await rig.store.lookup(KEY) is not None
