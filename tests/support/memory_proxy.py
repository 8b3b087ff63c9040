"""The whole cache in memory: the real pipeline on a scripted backend, a store that can be held back, and a clock.

Import from here; no fixture is defined, so that nothing runs for tests that do not ask for it.
"""

from __future__ import annotations

import json
from typing import Any

import attrs
from support.gated_store import GatedStore
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from caching_proxy.cache.backend.forward import BackendRoute
from caching_proxy.cache.build import CacheConfig, Surroundings, build_cache
from caching_proxy.cache.requests import CacheResponse as Answered
from caching_proxy.cache.requests import ClientRequest
from caching_proxy.cache.steps import Tell
from caching_proxy.cache.tiers.forms import Run
from caching_proxy.http.body import Body, Source
from caching_proxy.http.dates import format_date
from caching_proxy.http.messages import Field, Fields, RequestHead, ResponseHead
from caching_proxy.interfaces import (
    IClaims,
    Identity,
    ISiblings,
    ITokenVerifier,
    StoreError,
    UpstreamResponse,
)
from caching_proxy.rules.cache_rules import parse_cache_rules
from caching_proxy.rules.invalidation_rules import Rule
from caching_proxy.rules.key import KeyPolicy
from caching_proxy.rules.policy import CachePolicy
from caching_proxy.testing import FakeUpstream, Reply

START = 1_900_000_000.0
ANONYMOUS = Identity(b"anonymous", "anonymous")


def fields(*lines: str) -> list[Field]:
    """``"Name: value"`` as fields."""
    pairs = (line.partition(": ") for line in lines)
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, _, value in pairs]


@implementer(ITokenVerifier)
class Roles:
    """``Authorization: role X`` makes role X; ``none`` no role; anything else is opaque, as with the real one."""

    def identify(self, request: RequestHead) -> Identity:
        value = request.fields.first(b"authorization")
        return ANONYMOUS if value is None else self.remembered(value)

    def remembered(self, authorization: bytes) -> Identity:
        scheme, _, name = authorization.partition(b" ")
        if scheme == b"role":
            return Identity(name, name.decode())
        if scheme == b"none":
            return Identity(None, "invalid")
        return Identity(b"anonymous", "opaque", established=False)


@attrs.frozen
class Answer:
    """A reply, read to its end. ``error`` is set where its body broke off."""

    status: int
    fields: Fields
    body: bytes
    error: Failure | None = None
    length: int | None = None

    @property
    def cache(self) -> str:
        return self["X-Cache-Status"] or ""

    @property
    def why(self) -> str:
        """The last member of Cache-Status, without the name."""
        return (self["Cache-Status"] or "").rpartition("caching-proxy; ")[2]

    def __getitem__(self, name: str) -> str | None:
        value = self.fields.joined(name.lower().encode())
        return None if value is None else value.decode("latin-1")


class Exchange:
    """A request under way: ``reply`` once its head is there, ``answer`` once its body has been read."""

    def __init__(self, work: Deferred[Answered], read: bool) -> None:
        self.work = work
        self.reply: Answered | None = None
        self.failure: Failure | None = None
        self.answer: Answer | None = None
        self._read = read
        work.addCallbacks(self._replied, self._failed)

    def leave(self) -> None:
        """The client goes away."""
        if self.reply is None:
            self.work.cancel()
        else:
            self.reply.discard()

    def read(self) -> None:
        """Read the body to its end."""
        assert self.reply is not None
        body = self.reply.body
        if isinstance(body, bytes):
            self._complete(body)
        else:
            body.collect(1 << 30).addCallbacks(self._complete, lambda failure: self._complete(b"", failure))

    def _replied(self, reply: Answered) -> None:
        self.reply = reply
        if self._read:
            self.read()

    def _failed(self, failure: Failure) -> None:
        self.failure = failure

    def _complete(self, body: bytes, error: Failure | None = None) -> None:
        assert self.reply is not None
        self.answer = Answer(self.reply.head.status, self.reply.head.fields, body, error, self.reply.length)


class MemoryProxy:
    """A proxy without sockets. ``says`` sets what the backend answers, ``get`` and friends ask the proxy."""

    def __init__(
        self,
        *,
        name: bytes | None = b"caching-proxy",
        base_path: bytes = b"",
        keys: KeyPolicy | None = None,
        tell: Tell | None = None,
        compress: tuple[bytes, ...] = (),
        run: Run = maybeDeferred,
        siblings: ISiblings | None = None,
        claims: IClaims | None = None,
        beside: MemoryProxy | None = None,
        **policy: Any,
    ) -> None:
        """``beside``: a proxy on the same store, by the same clock."""
        self.clock = Clock() if beside is None else beside.clock
        if beside is None:
            self.clock.advance(START)
        self.store = GatedStore(self.clock) if beside is None else beside.store
        self.backend = FakeUpstream()
        self.rules: tuple[Rule, ...] = ()
        self.interims: list[ResponseHead] = []
        self._number = 0
        self.lookups: list[tuple[bytes, ...]] = self.store.lookups
        self.verifier = Roles()
        config = CacheConfig(
            policy=CachePolicy(**{"default_ttl": 0, **policy}),
            keys=KeyPolicy() if keys is None else keys,
            name=name,
            hot_entries=100,
            hot_bytes=1 << 20,
            hot_seconds=30.0,
            burst_entries=100,
            burst_bytes=1 << 20,
            burst_seconds=10.0,
            flight_seconds=60.0,
            salt=b"",
            compress=compress,
            compress_least=100,
        )
        route = BackendRoute(self.backend, b"backend.test", b"http://backend.test", base_path, b"caching-proxy")
        around = Surroundings(
            store=self.store,
            verifier=self.verifier,
            route=route,
            rules=lambda: self.rules,
            clock=self.clock,
            tell=tell,
            run=run,
            siblings=siblings,
            own_store=beside is None,
            claims=claims,
        )
        self.cache = cache = build_cache(config, around)
        self.policy, self.keys, self.terms = cache.policy, cache.keys, cache.terms
        self.hot, self.burst, self.varying = cache.hot, cache.burst, cache.varying
        self.key_state = cache.key_state
        self.invalidator, self.writer, self.fills = cache.invalidator, cache.writer, cache.fills
        self.responses, self.inspector, self.pipeline = cache.responses, cache.inspector, cache.pipeline

    # -- the backend

    def reply(self, *lines: str, status: int = 200, body: bytes = b"one", date: bool = True, **more: Any) -> Reply:
        """An answer of the backend with a Date of now, unless ``date`` is False."""
        dated = [(b"Date", format_date(self.clock.seconds()))] if date else []
        return Reply(status=status, fields=[*dated, *fields(*lines)], body=body, **more)

    def open_response(self, *lines: str, status: int = 200, source: Source | None = None) -> UpstreamResponse:
        """An answer of the backend whose body the test feeds, ends or fails."""
        head = self.reply(*lines, status=status).response().head
        return UpstreamResponse(head, Body(None, source), None)

    def says(self, *lines: str, **more: Any) -> None:
        """What the backend answers from now on, whatever it is asked."""
        self.backend.script = lambda head, body: self.reply(*lines, **more)

    def says_each(self, *answers: Reply | Exception) -> None:
        """What the backend answers to the next requests, one after another."""
        left = list(answers)
        self.backend.script = lambda head, body: left.pop(0)

    @property
    def seen(self) -> list[RequestHead]:
        """What the backend was asked."""
        return [fetch.head for fetch in self.backend.requests]

    @property
    def count(self) -> int:
        return len(self.backend.requests)

    def sent(self, name: str, at: int = -1) -> str | None:
        """A field of a request that the backend saw, by default the last."""
        value = self.seen[at].fields.joined(name.lower().encode())
        return None if value is None else value.decode("latin-1")

    # -- clients

    def start(
        self,
        method: str,
        target: str,
        *lines: str,
        body: bytes = b"",
        read: bool = True,
        minor: int = 1,
        trusted: bool = False,
    ) -> Exchange:
        """Begin a request; ``trusted``: of a proxy that is believed about the client behind it."""
        head = RequestHead(method.encode(), target.encode(), Fields([(b"Host", b"proxy.test"), *fields(*lines)]), minor)
        self._number += 1
        client_request = ClientRequest(
            head, Body.of(body), b"192.0.2.1", b"id-%d" % self._number, trusted=trusted, on_interim=self.interims.append
        )
        answer = self.pipeline.handle(client_request)
        return Exchange(answer if isinstance(answer, Deferred) else succeed(answer), read)

    def ask(self, method: str, target: str, *lines: str, body: bytes = b"", trusted: bool = False) -> Answer:
        """A whole exchange."""
        exchange = self.start(method, target, *lines, body=body, trusted=trusted)
        assert exchange.failure is None, exchange.failure
        assert exchange.answer is not None, "not answered"
        return exchange.answer

    def get(self, target: str = "/x", *lines: str, trusted: bool = False) -> Answer:
        return self.ask("GET", target, *lines, trusted=trusted)

    def head(self, target: str = "/x", *lines: str) -> Answer:
        return self.ask("HEAD", target, *lines)

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def forget_memory(self) -> None:
        """What a restart does: only the store is left."""
        self.cache.forget()

    @property
    def quiet(self) -> bool:
        """Whether nothing is under way any more."""
        return not len(self.key_state)

    def ruled(self, *rules: dict[str, Any]) -> None:
        """Let cache rules hold."""
        self.terms.use(parse_cache_rules(json.dumps(rules)))

    def invalidate(self, pattern: str, soft: bool = False) -> list[int | Failure]:
        """What became of it so far: empty while it waits."""
        result: list[int | Failure] = []
        self.invalidator.invalidate(pattern.encode(), soft=soft).addCallback(len).addBoth(result.append)
        return result

    def invalidate_tags(self, *tags: bytes, soft: bool = False) -> list[int | Failure]:
        """What became of it so far: empty while it waits."""
        result: list[int | Failure] = []
        self.invalidator.invalidate_tags(tags, soft).addCallback(len).addBoth(result.append)
        return result


def down() -> StoreError:
    return StoreError("down")


__all__ = ["ANONYMOUS", "Answer", "Exchange", "GatedStore", "MemoryProxy", "down", "fields"]
