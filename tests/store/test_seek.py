"""Looking up without a Deferred says what looking up with one says, whatever the server does; so does the breaker."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import example, given
from support.hearing import Hearing
from support.redis_in_memory import Command, Rig
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from caching_proxy.interfaces import Stored
from caching_proxy.store.breaker import Breaker, Phase
from caching_proxy.store.circuit_breaker import CircuitBreakerStore
from caching_proxy.store.redis.store import RedisStore
from caching_proxy.store.redis.target_index import KNOWN_PREFIXES, NEVER_LISTED, indexed

KEYS = (b"cache:GET:anonymous:/x", b"cache:GET:editor:/x", b"cache:GET:/old", b"cache:GET:anonymous:y", b"odd")
HMGET = (
    b"*3\r\n$-1\r\n$1\r\nv\r\n$-1\r\n",
    b"*3\r\n$-1\r\n$-1\r\n$-1\r\n",
    b"*3\r\n$-1\r\n$1\r\nv\r\n$3\r\n1.5\r\n",
    b"*3\r\n$9\r\n\xc5CP\x02broke\r\n$1\r\nv\r\n$-1\r\n",
    b"-WRONGTYPE a list\r\n",
    b"-OOM no memory\r\n",
    b"-READONLY a replica\r\n",
    b"-NOPERM no right\r\n",
    b":1\r\n",
    b"?no reply\r\n",
    b"",
)
PTTL = (b":5000\r\n", b":-1\r\n", b":-2\r\n", b"-LOADING later\r\n", b"$1\r\nx\r\n")
ZSCORE = (b"$1\r\n0\r\n", b"$-1\r\n", b"-WRONGTYPE a list\r\n")

STEPS = st.one_of(
    st.tuples(st.just("ask"), st.sampled_from(KEYS), st.sampled_from([(b"-",), (b"-", b"b"), None])),
    st.tuples(st.just("says"), st.sampled_from(HMGET), st.sampled_from(PTTL), st.sampled_from(ZSCORE)),
    st.tuples(st.just("advance"), st.sampled_from([0.0, 0.6, 3.0, 5.0])),
    st.sampled_from([("freeze",), ("thaw",), ("lose",), ("down",), ("up",), ("stop",)]),
)


class Side:
    """A guarded store on a server of its own; ``outcomes`` are in the order in which they came."""

    def __init__(self, ask: Callable[[CircuitBreakerStore, bytes, Sequence[bytes] | None], Deferred[Stored | None]]):
        self.rig = Rig(minimum=1, maximum=2)
        self.phases: list[Phase] = []
        inner = RedisStore(self.rig.pool)
        self.store = CircuitBreakerStore(inner, Breaker(3, 5), self.rig.server.clock, self.phases.append)
        self.outcomes: list[tuple[int, object]] = []
        self._ask = ask
        self._asked = 0
        self._hmget, self._pttl, self._zscore = HMGET[0], PTTL[0], ZSCORE[0]
        self.rig.server.special = self._reply
        self.rig.started()

    def _reply(self, command: Command) -> bytes | None:
        if command[0] in (b"EVALSHA", b"EVAL"):  # of forgetting a key: its size
            return b":5\r\n"
        return {
            b"HMGET": self._hmget, b"HGETALL": self._hmget, b"PTTL": self._pttl, b"ZSCORE": self._zscore
        }.get(command[0])  # fmt: skip

    def take(self, step: tuple[object, ...]) -> None:
        name, server = step[0], self.rig.server
        if name == "ask":
            number, self._asked = self._asked, self._asked + 1
            self._ask(self.store, *step[1:]).addBoth(self._came, number)  # type: ignore[arg-type]
            return
        if name == "says":
            _, self._hmget, self._pttl, self._zscore = step  # type: ignore[assignment]
        elif name == "advance":
            server.clock.advance(step[1])  # type: ignore[arg-type]
        elif name in ("freeze", "thaw"):
            getattr(server, str(name))()
        elif name == "lose":
            for wire in server.wires:
                wire.lose()
        elif name == "stop":
            self.store.stop()
        else:
            server.down = name == "down"
        self.rig.settle()

    def _came(self, result: Stored | Failure | None, number: int) -> None:
        if isinstance(result, Failure):
            self.outcomes.append((number, (type(result.value), str(result.value))))
        else:
            self.outcomes.append((number, result))

    def finish(self) -> None:
        self.rig.server.down = False
        self.store.stop()
        self.rig.server.clock.advance(10)
        self.rig.finish()


def looked_up(store: CircuitBreakerStore, key: bytes, fields: Sequence[bytes] | None) -> Deferred[Stored | None]:
    return store.lookup(key, fields)


def sought(store: CircuitBreakerStore, key: bytes, fields: Sequence[bytes] | None) -> Deferred[Stored | None]:
    hearing = Hearing()
    store.seek(key, fields, hearing)
    return hearing.heard


GOOD = ("says", HMGET[0], PTTL[0], ZSCORE[0])
ASK = ("ask", KEYS[0], (b"-",))


def says(hmget: bytes) -> tuple[object, ...]:
    return ("says", hmget, PTTL[0], ZSCORE[0])


@example(steps=[("freeze",), says(HMGET[5]), ASK, GOOD, ASK, ("thaw",)])  # well again while one was under way
@example(steps=[says(HMGET[6]), ASK, GOOD, ASK])  # connections are made anew
@example(steps=[("advance", 5.0), says(b""), ASK, ("lose",), ("advance", 0.6), ("lose",), GOOD, ("advance", 0.6)])
@example(steps=[("freeze",), ASK, ("advance", 3.0), ("thaw",), ASK])  # out of time
@example(steps=[("down",), ("lose",), *[ASK] * 4, ("up",), ("advance", 5.0), ASK])
@given(steps=st.lists(STEPS, max_size=30))
def test_both_ways_say_the_same(steps: list[tuple[object, ...]]) -> None:
    one, other = Side(looked_up), Side(sought)
    for step in steps:
        one.take(step)
        other.take(step)
        assert other.outcomes == one.outcomes, step
        assert (other.phases, other.store.breaker.failures) == (one.phases, one.store.breaker.failures), step
    assert other.rig.server.commands == one.rig.server.commands
    one.finish()
    other.finish()
    assert other.outcomes == one.outcomes
    assert len(one.outcomes) == sum(step[0] == "ask" for step in steps), "each is told once"


class Faulty:
    """A seeker with a bug."""

    def found(self, stored: Stored | None) -> None:
        raise IndexError("found")

    def failed(self, failure: Failure) -> None:
        raise IndexError("failed")


@pytest.mark.parametrize("reply", [HMGET[0], HMGET[4]], ids=["answered", "failed"])
def test_a_bug_of_who_asks_is_not_the_connections(rigs: Callable[..., Rig], reply: bytes, logged_errors: Any) -> None:
    rig = rigs(minimum=1, maximum=1)
    rig.server.special = lambda command: {b"HMGET": reply, b"PTTL": PTTL[0]}.get(command[0])
    rig.started()
    store = CircuitBreakerStore(RedisStore(rig.pool), Breaker(3, 5), rig.server.clock)
    store.seek(KEYS[0], (b"-",), Faulty())
    behind = rig.echo(b"behind it")
    rig.settle()
    assert behind == [[b"behind it"]]
    assert (rig.pool.size, len(rig.server.wires), rig.pool.pending) == (1, 1, 0)
    assert len(logged_errors.flush()) == 1


@given(
    key=st.one_of(
        st.binary(max_size=40),
        st.builds(bytes.__add__, st.sampled_from(KNOWN_PREFIXES), st.binary(max_size=20)),
        st.sampled_from(KEYS),
    )
)
def test_what_is_never_listed_has_no_index(key: bytes) -> None:
    if key.startswith(NEVER_LISTED):
        assert indexed(key) is None


def test_keys_of_other_roles_are_listed() -> None:
    assert [key for key in KEYS if indexed(key) is not None] == [KEYS[1]]
    assert not KEYS[1].startswith(NEVER_LISTED)
