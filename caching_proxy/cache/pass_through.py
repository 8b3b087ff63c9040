"""Requests that the cache does not answer: other methods, and GETs that pass it by.

What changes the backend's state also ends the life of stored copies (RFC 9111 §4.4): the target itself, what the
answer names, and what the invalidation rules say.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from caching_proxy.cache.backend.forward import BackendRoute
from caching_proxy.cache.invalidator import Invalidator
from caching_proxy.cache.pending import OnDone
from caching_proxy.cache.plan import Way
from caching_proxy.cache.post_responses import KeptPost, PostKeeper
from caching_proxy.cache.requests import CacheResponse, ClientRequest
from caching_proxy.cache.responses import Responses
from caching_proxy.cache.shared_invalidator import SharedInvalidator
from caching_proxy.http.hop_by_hop import fast_relayed_lines, max_forwards, upgrade_wish
from caching_proxy.http.messages import RequestHead, ResponseHead
from caching_proxy.http.methods import SAFE
from caching_proxy.interfaces import Identity, StoreError, UpstreamError, UpstreamResponse
from caching_proxy.rules.invalidation_rules import Obsolete, Rule, resolve, target_for_all
from caching_proxy.rules.locations import MARKED
from caching_proxy.rules.outcome import Bypass, CacheStatus, Detour
from caching_proxy.rules.reasons import why_not
from caching_proxy.rules.references import origin_of, same_origin_target
from caching_proxy.rules.terms_by_target import TermsByTarget

Observer = Callable[[bytes, ClientRequest, int | None], None]
"""Hears of an invalidation that a request brought about: the target or pattern, the request, and how many keys left any
tier, None where the store has yet to say."""

Ask = Callable[[], ClientRequest]
"""Makes the request that brought an invalidation about, for those who are told of it."""

_TOLD = frozenset((Bypass.RULE, Bypass.AMBIGUOUS))
"""Reasons that Cache-Status names: the operator's wish, of which neither request nor response says anything."""

_METHOD = Detour.METHOD  # finding a member costs several times what a name of the module does
_COUNTED = frozenset((b"OPTIONS", b"TRACE"))
_NAMING = frozenset((b"location", b"content-location"))


def status_of(way: Way) -> CacheStatus:
    """``X-Cache-Status`` of the backend's answer to what goes that way."""
    return CacheStatus.NOT_APPLICABLE if way is _METHOD else CacheStatus.BYPASS


def _detail(way: Way) -> bytes | None:
    return way.value.encode() if way in _TOLD else None


class PassThrough:
    """Forwards and, where the method asks for it, invalidates."""

    _log = Logger()

    def __init__(
        self,
        route: BackendRoute,
        invalidator: Invalidator,
        rules: Callable[[], tuple[Rule, ...]],
        terms: TermsByTarget,
        responses: Responses,
        posts: PostKeeper,
        clock: IReactorTime,
        observe: Observer | None = None,
    ) -> None:
        self._observe = observe
        self.route = route
        self._invalidator = invalidator
        self._rules = rules
        self._terms = terms
        self._responses = responses
        self._posts = posts
        self._clock = clock
        self._added = {way: responses.passed_lines(status_of(way), _detail(way)) for way in (*Bypass, *Detour)}
        self._added_to_changes = self._added[_METHOD]
        self._shared = invalidator if isinstance(invalidator, SharedInvalidator) else None

    def forward(self, client_request: ClientRequest, identity: Identity) -> CacheResponse | Deferred[CacheResponse]:
        """A request whose method the cache does not serve."""
        head = client_request.head
        if head.method in _COUNTED and max_forwards(head.fields) == 0:
            return self._responses.final_recipient(client_request)
        response = self._send(client_request)
        return response.addCallbacks(
            self.forwarded,
            self._failed,
            callbackArgs=(client_request, identity, self._clock.seconds()),
            errbackArgs=(identity,),
        )

    def bypass(self, client_request: ClientRequest, identity: Identity, reason: Way) -> Deferred[CacheResponse]:
        """A GET or HEAD for which the cache is neither read nor written, and why."""
        response = self._send(client_request)
        return response.addCallbacks(
            self.bypassed, self._failed, callbackArgs=(client_request, identity, reason), errbackArgs=(identity,)
        )

    def _send(self, client_request: ClientRequest) -> Deferred[UpstreamResponse]:
        body = client_request.body
        if body.length == 0:
            if upgrade_wish(client_request.head) is not None:
                return self.route.upgrade(client_request)
            return self.route.fetch(client_request, client_request.head, None)
        return self.route.fetch(client_request, client_request.head, body)

    def forwarded(
        self, response: UpstreamResponse, client_request: ClientRequest, identity: Identity, asked_at: float
    ) -> CacheResponse | Deferred[CacheResponse]:
        """The answer to a request whose method the cache does not serve, from that of the backend."""
        method = client_request.head.method
        kept: KeptPost | None = None
        if method not in SAFE:
            targets, obsolete = self._outdated(client_request, response.head)
            keeps, ask = self._posts.may_keep(client_request, identity, response), lambda: client_request
            if keeps or (self._shared is not None and targets):
                done = self._invalidated(targets, obsolete, ask)
                if keeps:
                    kept = self._posts.keep(client_request, identity, response, asked_at, done)
                if self._shared is not None:
                    reached = self._shared.everywhere(done)
                    return self._answer_later(reached, method, identity, response, kept)
            else:
                self._invalidate(targets, obsolete, ask)
        return self._answer(method, identity, response, kept)

    def changed(
        self, method: bytes, target: bytes, host: bytes, head: ResponseHead, ask: Ask
    ) -> bytes | Deferred[None] | None:
        """:meth:`forwarded` of an ordinary answer ``head`` to a request that changes ``target`` and concerns nothing
        else: the field lines for the client, or what fires when other workers know, so that :meth:`lines` may go out.
        None, with nothing done, where that has to see to it.

        ``host`` is the request's, ``ask`` makes it where somebody is to hear of it.
        """
        status, lines = head.status, self.lines(head, _METHOD)
        if lines is None:
            return None
        if 200 <= status < 400:
            rules = self._rules()
            obsolete = resolve(rules, method, target) if rules and status < 300 else ()
            target = self._terms(target).target(target, host)
            if self._shared is not None:
                return self._shared.everywhere(self._invalidated((target,), obsolete, ask))
            if obsolete:
                self._invalidate((target,), obsolete, ask)
            else:
                self._invalidator.invalidate_target(target, partial(self._told, target, ask))
        return lines

    def lines(self, head: ResponseHead, way: Way) -> bytes | None:
        """The field lines that a client gets of an ordinary answer that passes the cache by; None where they have to be
        made."""
        lines = fast_relayed_lines(head, self._clock.seconds())
        if lines is None or MARKED in lines:
            return None
        return lines + (self._added_to_changes if way is _METHOD else self._added[way])

    def told(self, method: bytes, identity: Identity, response: UpstreamResponse) -> CacheResponse:
        """The answer to a change of which everybody has heard who has to."""
        return self._answer(method, identity, response, None)

    def without_answer(self, error: UpstreamError, identity: Identity) -> CacheResponse:
        """The answer where the backend gives none."""
        return self._responses.failed(identity, error)

    def _answer_later(
        self,
        reached: Deferred[None],
        method: bytes,
        identity: Identity,
        response: UpstreamResponse,
        kept: KeptPost | None,
    ) -> Deferred[CacheResponse]:
        """The answer, once no worker gives out what it makes untrue; a client that leaves frees the backend."""

        def left(failure: Failure) -> Failure:
            response.body.cancel()
            return failure

        return reached.addCallbacks(lambda _: self._answer(method, identity, response, kept), left)

    def _answer(
        self, method: bytes, identity: Identity, response: UpstreamResponse, kept: KeptPost | None
    ) -> CacheResponse:
        status, now = CacheStatus.NOT_APPLICABLE, self._clock.seconds()
        if kept is None:
            return self._responses.passed(method, identity, response, status, now)
        return self._responses.passed(method, identity, response, status, now, kept.body, kept.entry)

    def bypassed(
        self, response: UpstreamResponse, client_request: ClientRequest, identity: Identity, reason: Way
    ) -> CacheResponse:
        """The answer to a request that passes the cache by, from that of the backend."""
        method, now = client_request.head.method, self._clock.seconds()
        return self._responses.passed(
            method,
            identity,
            response,
            CacheStatus.BYPASS,
            now,
            reason=why_not(reason),
            detail=_detail(reason),
        )

    def _failed(self, failure: Failure, identity: Identity) -> CacheResponse | Failure:
        if not isinstance(failure.value, UpstreamError):  # cancelled, or a bug
            return failure  # raised anew it would hold the frame that raised it
        return self._responses.failed(identity, failure.value)

    def _outdated(
        self, client_request: ClientRequest, response: ResponseHead
    ) -> tuple[Collection[bytes], Collection[Obsolete]]:
        """The targets that this answer makes untrue, and what the rules say that it does."""
        request, status = client_request.head, response.status
        if not 200 <= status < 400:
            return (), ()
        host = request.fields.first(b"host") or b""
        targets: Collection[bytes] = (self._in_key(request.target, host),)
        if response.ordinary is None and not _NAMING.isdisjoint(response.fields.index):
            named = self._named(client_request.scheme, host, request, response)
            targets = {*targets, *(self._in_key(target, host) for target in named)}
        rules = self._rules()
        obsolete = resolve(rules, request.method, request.target) if rules and status < 300 else ()
        return _not_by_rules(targets, obsolete) if obsolete else targets, obsolete

    def _in_key(self, target: bytes, host: bytes) -> bytes:
        return self._terms(target).target(target, host)

    def _invalidate(self, targets: Collection[bytes], obsolete: Collection[Obsolete], ask: Ask) -> None:
        """Have ``targets`` and what rules want invalidated; nobody waits for it."""
        for target in targets:
            self._invalidator.invalidate_target(target, partial(self._told, target, ask))
        if obsolete:
            self._by_rules(obsolete, lambda what: partial(self._told, what, ask))

    def _invalidated(self, targets: Collection[bytes], obsolete: Collection[Obsolete], ask: Ask) -> Deferred[bool]:
        """Fires when the store has carried it out, with whether it could; never fails."""
        begun: list[Deferred[set[bytes]]] = []

        def hears_of(what: bytes) -> OnDone:
            removed: Deferred[set[bytes]] = Deferred()
            begun.append(removed)
            removed.addCallback(self._noted, what, ask)
            return removed.callback

        for target in targets:
            self._invalidator.invalidate_target(target, hears_of(target))
        self._by_rules(obsolete, hears_of)
        done: Deferred[Any] = begun[0] if len(begun) == 1 else gatherResults(begun, consumeErrors=True)
        return done.addCallbacks(lambda _: True, self._postponed)

    def _by_rules(self, obsolete: Collection[Obsolete], hears_of: Callable[[bytes], OnDone]) -> None:
        """Begin what rules want to be invalidated; ``hears_of`` makes what hears of each."""
        for each in obsolete:
            if each.patterns:
                self._invalidator.invalidate_by_rules(each.patterns, hears_of, each.soft)
            if each.tags:
                told = hears_of(b" ".join((b"tags", *each.tags)))
                self._invalidator.invalidate_tags(each.tags, each.soft).addBoth(told)

    def _named(self, scheme: bytes, host: bytes, request: RequestHead, response: ResponseHead) -> set[bytes]:
        """What Location and Content-Location name, as far as it is this origin, by our name or the backend's.

        A backend below a path of its own may name itself with that path, which our targets do not have.
        """
        origins = {origin_of(scheme, host), self.route.origin}
        lines = response.fields.all(b"location") + response.fields.all(b"content-location")
        named = {same_origin_target(line, request.target, origins) for line in lines}
        targets = {target for target in named if target is not None}
        below = self.route.base_path + b"/"
        return targets | {b"/" + target.removeprefix(below) for target in targets if target.startswith(below)}

    def _postponed(self, failure: Failure) -> bool:
        if isinstance(failure.value, FirstError):
            failure = failure.value.subFailure
        self._waits(failure)
        return False

    def _told(self, what: bytes, ask: Ask, outcome: set[bytes] | Failure) -> None:
        if not outcome:  # most of what passes concerns nothing that is stored
            return
        if not isinstance(outcome, Failure):
            self._noted(outcome, what, ask)
        elif outcome.check(StoreError):  # of anything else the invalidator has told
            self._waits(outcome)
            if self._observe is not None:
                self._observe(what, ask(), None)

    def _noted(self, gone: set[bytes], what: bytes, ask: Ask) -> set[bytes]:
        """Most requests with a method that is not safe concern nothing that is stored: these are no news."""
        if gone and self._observe is not None:
            self._observe(what, ask(), len(gone))
        return gone

    def _waits(self, failure: Failure) -> None:
        self._log.warn("an invalidation waits for the store: {reason}", reason=failure.getErrorMessage())


def _not_by_rules(targets: Collection[bytes], obsolete: Collection[Obsolete]) -> Collection[bytes]:
    """Those of ``targets`` that no rule has removed too: most rules name what the request changes."""
    ruled = {target_for_all(pattern) for each in obsolete if not each.soft for pattern in each.patterns}
    return [target for target in targets if target not in ruled]
