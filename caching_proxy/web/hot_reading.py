"""What the hot path makes of a head: once for each request line, and once for each combination of lines that count.

The decisions are those of ``rules``; here is only what is kept of them. Nothing here refers to anything stored.
"""

from __future__ import annotations

import attrs

from caching_proxy.cache.plan import Way
from caching_proxy.cache.requests import Plan, shared
from caching_proxy.http.hop_by_hop import is_request_id
from caching_proxy.http.memo import Memo
from caching_proxy.http.messages import Field, Fields, RequestHead
from caching_proxy.http.request_directives import NO_DIRECTIVES
from caching_proxy.interfaces import Identity, ITokenVerifier
from caching_proxy.rules.climbing import climbs
from caching_proxy.rules.conditional import has_precondition
from caching_proxy.rules.cookies import names_session
from caching_proxy.rules.key import build_key, target_of
from caching_proxy.rules.outcome import Bypass, Detour
from caching_proxy.rules.policy import CachePolicy
from caching_proxy.rules.request_traits import NOTABLE, PARTICULAR, RequestTraits, traits_under
from caching_proxy.rules.scope import PLAIN_VIEW, View, scope_of, view_of
from caching_proxy.rules.steering import Steering
from caching_proxy.rules.terms import Share, Terms, shared_role
from caching_proxy.rules.terms_by_target import TermsByTarget
from caching_proxy.server.request_head import ParsedHead
from caching_proxy.web.hosts import HostPolicy
from caching_proxy.web.recorder import HotMeter

_NOT_IN_TERMS = frozenset((b"cookie", b"x-request-id", b"forwarded"))  # judged for each request, or said by no rule

_DECIDING = NOTABLE | {b"authorization"}  # an operator may have these taken away before anybody looks

_NO_FIELDS = Fields()

NAMED = 512
"""Combinations of names in ``Vary`` of which a generation is remembered, and whether they are steered."""

VIEWS = 8
"""Views that a generation remembers for one combination of lines."""


@attrs.define(slots=True, eq=False)
class Route:
    """Where one request line leads. ``declined``: to what is answered in another way; ``closed``: past the cache, and
    why.

    ``target`` is that of the key, None where Host has a part in it.

    ``key`` is the one for ``role``, ``meter`` counts the latest kind of answer; ``view`` is that of a client that
    nobody has to vouch for. ``terms`` are those of the target: where they change, all request lines are forgotten.
    """

    declined: bool
    target: bytes | None
    view: View
    terms: Terms
    role: bytes | None = None
    key: bytes = b""
    meter: HotMeter | None = None
    closed: Way | None = None

    def key_for(self, role: bytes, target: bytes, parsed: Head) -> bytes:
        """The key of a request with ``role`` for ``target``, the one in keys."""
        if role != self.role:
            self.role, self.key = role, build_key(role, target)
        return self.key


@attrs.define(slots=True, eq=False, kw_only=True)
class SharingRoute(Route):
    """Where the operator says who may share the answers."""

    share: Share

    def key_for(self, role: bytes, target: bytes, parsed: Head) -> bytes:
        return Route.key_for(self, shared_role(self.share, role, True, credentials_in(parsed)), target, parsed)


@attrs.define(slots=True, eq=False)
class Bearing:
    """What the lines that count decide. ``declined``: the full path has to deal with them; ``apart``: because of
    something that has nothing to do with what is cached. ``settles``: its Host is passed on in another spelling.

    ``identity`` is that of a request without credentials. ``cookies``, ``credentials``, ``request_id``, ``forwarded``:
    there are such lines, to be looked at in each request. ``particular``: it asks for a part, or only for what has
    changed; ``ranged``: for a part. ``condition``: where in ``own`` of each such head the one line stands that asks
    for what has changed; None with several or a part. ``personal``: there are cookies or credentials to be judged.
    ``undemanding``: neither is it particular nor does it set the backend a condition.
    """

    declined: bool
    apart: bool
    settles: bool
    host: bytes
    identity: Identity | None
    cookies: bool
    credentials: bool
    request_id: bool
    forwarded: bool
    particular: bool
    condition: int | None
    ranged: bool
    personal: bool
    undemanding: bool
    traits: RequestTraits
    views: Memo[tuple[bytes, bytes, bool], View]


Head = ParsedHead[Route, Bearing]


class Reading:
    """Makes and remembers the above, in the room that the parser leaves."""

    def __init__(
        self,
        verifier: ITokenVerifier,
        policy: CachePolicy,
        hosts: HostPolicy,
        steering: Steering,
        terms: TermsByTarget,
    ) -> None:
        self._verifier = verifier
        self._policy = policy
        self._hosts = hosts
        self._steering = steering
        self._terms = terms
        self._steered: Memo[tuple[bytes, ...], bool] = Memo(NAMED)
        self._traits = traits_under(policy)

    def route(self, parsed: Head) -> Route:
        """Where the request line leads, the first time."""
        target = parsed.line.target
        terms = self._terms(target)
        of_key = None if terms.keys.host_in_key else target_of(target, terms.keys)
        closed = terms.closed(target)
        declined = closed is not None or ((b"%" in target or b".." in target) and climbs(target))  # likewise
        scope = scope_of(target, _NO_FIELDS)
        route = Route(declined, of_key, view_of(scope, False) if scope else PLAIN_VIEW, terms, closed=closed)
        if terms.share is not Share.ROLE:
            route = SharingRoute(declined, of_key, route.view, terms, closed=closed, share=terms.share)
        parsed.line.room = route
        return route

    def key(self, parsed: Head, bearing: Bearing, role: bytes) -> bytes:
        """The key where Host has a part in it."""
        terms = self._terms(parsed.line.target)
        if terms.share is not Share.ROLE:
            role = shared_role(terms.share, role, True, credentials_in(parsed))
        return terms.key(role, parsed.line.target, bearing.host)

    def bearing(self, parsed: Head) -> Bearing:
        """What the lines decide, the first time."""
        shared, own = parsed.meaning.fields, parsed.own
        names = {name for name, _ in own}
        fields = Fields([*shared.pairs, *(pair for pair in own if pair[0] not in _NOT_IN_TERMS)])
        head = RequestHead(parsed.line.method, parsed.line.target, fields)
        identity = None if b"authorization" in names else self._identity(head)
        asking = [at for at, (name, _) in enumerate(own) if name in PARTICULAR]
        cookies = b"cookie" in names and self._policy.cookie_bypass
        credentials = b"authorization" in names
        traits, settles = self._traits(fields), self._hosts.settles(fields)
        apart, looked_up = self._apart(fields, traits), traits.bypass is None and traits.control is NO_DIRECTIVES
        bearing = Bearing(
            declined=apart or settles or not looked_up or not (credentials or identity is not None),
            apart=apart,
            settles=settles,
            host=fields.first(b"host") or b"",
            identity=identity,
            cookies=cookies,
            credentials=credentials,
            request_id=b"x-request-id" in names,
            forwarded=b"forwarded" in names,
            particular=bool(asking),
            condition=asking[0] if len(asking) == 1 and b"range" not in names else None,
            ranged=b"range" in names,
            personal=cookies or credentials,
            undemanding=not asking and not has_precondition(fields),
            traits=traits,
            views=Memo(VIEWS),
        )
        parsed.meaning.room = bearing
        return bearing

    def _apart(self, fields: Fields, traits: RequestTraits) -> bool:
        """Whether something in ``fields`` is for the full path to deal with before anything else."""
        return (
            traits.loop
            or traits.passing is not None
            or len(fields.all(b"authorization")) > 1
            or not self._hosts.allows(fields)
            or any(name in _DECIDING and self._steering.unseen(name) for name in fields.index)
        )

    def _identity(self, head: RequestHead) -> Identity | None:
        identity = self._verifier.identify(head)
        return identity if isinstance(identity, Identity) and _establishes(identity) else None

    def steered(self, names: tuple[bytes, ...]) -> bool:
        """Whether one of ``names``, which a ``Vary`` has, counts only from a trusted proxy: for the full path."""
        known = self._steered[names]
        if known is None:
            known = any(map(self._steering.unseen, names))
            self._steered.keep(names, known)
        return known

    # -- in each request -------------------------------------------------------------------------

    def resolved(
        self, parsed: Head, bearing: Bearing, scheme: bytes, trusted: bool
    ) -> tuple[Identity, Plan | Way] | None:
        """``cache.plan.resolve`` of a head that no answer is looked for from here, and whose it is; None: for the full
        path to find out, which also refuses targets that climb."""
        identity = bearing.identity
        if bearing.credentials:
            identity = self._verifier.remembered(credentials_in(parsed)[0])
        if identity is None or bearing.apart:
            return None
        if bearing.cookies and names_session(_values_of(parsed.own, b"cookie"), self._policy):
            return identity, Bypass.COOKIE
        if bearing.traits.bypass is not None:
            return identity, bearing.traits.bypass
        if identity.role is None:
            return identity, Detour.NO_ROLE
        route = parsed.line.room or self.route(parsed)
        if route.closed is not None:
            return identity, route.closed
        plan = self._plan(parsed, bearing, identity, route, scheme, trusted)
        return None if plan is None else (identity, plan)

    def _plan(
        self, parsed: Head, bearing: Bearing, identity: Identity, route: Route, scheme: bytes, trusted: bool
    ) -> Plan | None:
        """The plan of what goes through the cache, None where Host or a rule has a say in whose answers it gets."""
        if route.declined or route.target is None or route.terms.share is not Share.ROLE or bearing.settles:
            return None
        view = self.view(parsed, bearing, route, scheme, trusted)
        if view is None or identity.role is None:
            return None
        if not identity.established:
            view = view_of(view.scope, True)
        return Plan(bearing.traits, identity, route.terms, build_key(identity.role, route.target), view)

    def who(self, parsed: Head, bearing: Bearing) -> Identity | None:
        """Whose request it is, where cookies or credentials come with it; None: for the full path to find out."""
        if bearing.cookies and names_session(_values_of(parsed.own, b"cookie"), self._policy):
            return None
        if not bearing.credentials:
            return bearing.identity
        identity = self._verifier.remembered(credentials_in(parsed)[0])
        return identity if identity is not None and _establishes(identity) else None

    def plan(self, parsed: Head, bearing: Bearing, identity: Identity, key: bytes, view: View) -> Plan:
        """What ``cache.plan.resolve`` would say of the request, made of what was found out already."""
        route = parsed.line.room
        terms = self._terms(parsed.line.target) if route is None else route.terms
        seen = identity if terms.share is Share.ROLE else shared(identity, terms.share, parsed.head)
        return Plan(bearing.traits, seen, terms, key, view)

    def view(self, parsed: Head, bearing: Bearing, route: Route, scheme: bytes, trusted: bool) -> View | None:
        """What the request may see, where a trusted proxy or TLS has a say in that.

        None, for the full path to find out, where the proxy steers by a field that only ``STEERING_FIELDS`` names:
        such lines are not among those that are understood.
        """
        target = parsed.line.target
        if trusted and self._steering.more and self._steering.told(parsed.head.fields):
            return None
        if bearing.forwarded and trusted:  # it tells where the client is, so it differs in every request
            return view_of(scope_of(target, parsed.head.fields, scheme, trusted), False)
        name = (route.view.scope, scheme, trusted)  # the target has a say by its slash alone, as in route.view
        view = bearing.views[name]
        if view is None:
            view = view_of(scope_of(target, parsed.meaning.fields, scheme, trusted), False)
            bearing.views.keep(name, view)
        return view


def asking(parsed: Head, bearing: Bearing) -> RequestHead:
    """The head as far as an answer depends on it."""
    line = parsed.line
    return RequestHead(
        line.method, line.target, Fields(conditions(parsed)) if bearing.particular else parsed.meaning.fields
    )


def request_id(parsed: Head) -> bytes | None:
    """The identifier that a trusted proxy gave the request."""
    for name, value in parsed.own:
        if name == b"x-request-id":
            return value if is_request_id(value) else None
    return None


def conditions(parsed: Head) -> tuple[Field, ...]:
    """The lines that ask for a part, or only for what has changed."""
    return tuple([pair for pair in parsed.own if pair[0] in PARTICULAR])


def credentials_in(parsed: Head) -> list[bytes]:
    """The values of Authorization."""
    return _values_of(parsed.own, b"authorization")


def several_parts(parsed: Head) -> bool:
    """Whether it asks for several ranges: the parts of such an answer are set apart by a secret."""
    return any(name == b"range" and b"," in value for name, value in parsed.own)


def _values_of(pairs: list[Field], name: bytes) -> list[bytes]:
    return [value for other, value in pairs if other == name]


def _establishes(identity: Identity) -> bool:
    return identity.role is not None and identity.established
