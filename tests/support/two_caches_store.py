"""What two caches under test reach at another moment than it answers: the backend, and the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from caching_proxy.http.dates import format_date
from caching_proxy.http.messages import RequestHead
from caching_proxy.interfaces import Fate, IStore, IUpstream, Overtaken, Scanned, Stored, StoreError
from caching_proxy.rules.bus_message import Invalidation
from caching_proxy.rules.ledger import UNKNOWN
from caching_proxy.store.redis.ledger import Words
from caching_proxy.store.redis.ledger_calls import Marked, Since
from caching_proxy.testing import FakeUpstream, Reply

if TYPE_CHECKING:
    from support.two_caches import World


def now(deferred: Deferred[Any]) -> Any:
    """The result of what has fired."""
    results: list[Any] = []
    deferred.addCallback(results.append)
    return results[0]


@implementer(IUpstream)
class Upstream(FakeUpstream):
    """Reads what it answers at one moment, and gives it at another."""

    def __init__(self, world: World) -> None:
        super().__init__(self._read)
        self._world = world

    def _read(self, head: RequestHead, body: bytes) -> Reply:
        version = self._world.versions[head.target]
        dated = (b"Date", format_date(self._world.clock.seconds()))
        return Reply(fields=[dated, (b"Cache-Control", b"max-age=600")], body=b"%d" % version)

    def fetch(self, *args: Any, **named: Any) -> Deferred[Any]:
        answer: Deferred[Any] = Deferred()

        def read() -> None:
            fetched = FakeUpstream.fetch(self, *args, **named)
            self._world.later(lambda: fetched.chainDeferred(answer) if not answer.called else None)

        self._world.later(read)
        return answer


@implementer(IStore)
class Server:
    """The store as one proxy reaches it; also the pool of what follows the ledger."""

    def __init__(self, world: World, words: Words) -> None:
        self._world = world
        self._words = words
        self.on_marked: Callable[[Marked], object] = lambda marked: None

    def _do(self, work: Callable[[], Any], then: Callable[[Any], Any] = lambda result: result) -> Deferred[Any]:
        answer: Deferred[Any] = Deferred()
        world = self._world

        def carry_out() -> None:
            if world.chance(0.03):
                world.later(lambda: answer.called or answer.errback(Failure(StoreError("lost on the way"))))
                return
            try:
                result = work()
            except StoreError as error:
                result = Failure(error)
            lost = world.chance(0.03)

            def reply() -> None:
                if answer.called:
                    return
                if lost:
                    answer.errback(Failure(StoreError("the answer was lost")))
                elif isinstance(result, Failure):
                    answer.errback(result)
                else:
                    answer.callback(then(result))

            world.later(reply)

        world.later(carry_out)
        return answer

    def execute(self, call: Any) -> Deferred[Any]:
        if not isinstance(call, Since):
            return self._do(lambda: self._world.newest)
        known, word = call.parts(None)[3], call.parts(None)[5]  # type: ignore[arg-type]
        return self._do(lambda: self._world.since(known, word), call.told)  # type: ignore[arg-type]

    def lookup(self, key: bytes, fields: Sequence[bytes] | None = None) -> Deferred[Stored | None]:
        return self._do(lambda: now(self._world.data.lookup(key, fields)))

    def put(
        self,
        key: bytes,
        field: bytes,
        value: bytes,
        ttl_ms: int,
        since: bytes | None = None,
        tags: Sequence[bytes] = (),
    ) -> Deferred[None]:
        def write() -> None:
            world = self._world
            if world.since_matters and since is not None and (since == UNKNOWN or since != world.newest):
                raise Overtaken("there was another")
            world.data.put(key, field, value, ttl_ms)

        return self._do(write)

    def discard(self, key: bytes, field: bytes) -> Deferred[bool]:
        return self._do(lambda: now(self._world.data.discard(key, field)))

    def delete(self, keys: Sequence[bytes]) -> Deferred[set[bytes]]:
        return self._do(lambda: now(self._world.data.delete(keys)))

    def delete_target(self, target: bytes) -> Deferred[set[bytes]]:
        def drop() -> tuple[Marked, set[bytes]]:
            marked = self._world.mark(self._words, Invalidation(targets=(target,)))
            return marked, now(self._world.data.delete_target(target))

        def told(result: tuple[Marked, set[bytes]]) -> set[bytes]:
            self.on_marked(result[0])
            return result[1]

        return self._do(drop, told)

    def mark(self, invalidation: Invalidation) -> Deferred[None]:
        return self._do(
            lambda: self._world.mark(self._words, invalidation), lambda marked: self.on_marked(marked) and None
        )

    def scan(self, cursor: bytes, prefix: bytes = b"") -> Deferred[Scanned]:
        return self._do(lambda: now(self._world.data.scan(cursor, prefix)))

    def held(self, keys: Sequence[bytes]) -> Deferred[set[bytes]]:
        return self._do(lambda: now(self._world.data.held(keys)))

    def tagged(self, tag: bytes, cursor: bytes, fate: Fate, moment: float = 0.0) -> Deferred[Scanned]:
        return fail(StoreError("not here"))

    def soften(self, keys: Sequence[bytes], moment: float) -> Deferred[set[bytes]]:
        return fail(StoreError("not here"))

    def soften_target(self, target: bytes, moment: float) -> Deferred[set[bytes]]:
        return fail(StoreError("not here"))

    def ping(self) -> Deferred[None]:
        return succeed(None)

    def start(self) -> Deferred[None]:
        return succeed(None)

    def stop(self) -> Deferred[None]:
        return succeed(None)
