"""Hot hits answered straight from the channel, without a request, a resource or a Deferred.

A plain GET or HEAD whose entry is hot and fresh gets the very bytes that the pipeline would have sent; the decisions
come from the same functions in ``core``. Everything unusual is declined and walks the full path.

What a head asks for (its :class:`Plan`) is worked out once for each distinct head, and most of it once for each
distinct set of fields: the channel's parser hands out the same object for the same bytes. What an entry answers is
rendered once for each second of its age, and kept with the hot tier's record, so that it goes when the record goes.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from caching_proxy.cache.hot import HotRecord, HotTier
from caching_proxy.core.answer import answer
from caching_proxy.core.entry import CacheEntry
from caching_proxy.core.key import KeyPolicy, build_key, target_of
from caching_proxy.core.lookup import Use, choose
from caching_proxy.core.messages import Fields, RequestHead
from caching_proxy.core.outcome import CacheStatus
from caching_proxy.core.pieces import SHARED_BYTES
from caching_proxy.core.policy import CachePolicy
from caching_proxy.core.reply import with_explanation
from caching_proxy.core.request_control import NO_WISHES
from caching_proxy.core.scope import PLAIN_VIEW, View, scope_of, view_of
from caching_proxy.core.steering import DEFAULT as DEFAULT_STEERING
from caching_proxy.core.steering import Steering
from caching_proxy.core.terms import terms_under
from caching_proxy.core.variance import variant_of
from caching_proxy.interfaces import Identity, ITokenVerifier
from caching_proxy.web.hosts import HostPolicy
from caching_proxy.web.peers import TrustedPeers
from caching_proxy.web.recorder import HotMeter, Recorder
from caching_proxy.wire.answers import HotAnswer, LargeAnswer
from caching_proxy.wire.channel import HTTPChannel
from caching_proxy.wire.heads import ParsedHead

CHOICES = 512
"""Heads for which a record remembers what answers them."""

_KINDS = {b"GET": b"", b"HEAD": b"H"}


@attrs.define(slots=True, eq=False)
class Plan:
    """What one head asks for. ``target`` None: always declined. ``key`` belongs to ``identity``.

    ``view`` is that of a client that came by ``scheme`` and is ``trusted`` or not.

    ``kept``: the head came before, so what is chosen for it is worth remembering.
    """

    head: RequestHead
    target: bytes | None = None
    authorization: bytes | None = None
    conditional: bool = False
    identity: Identity | None = None
    key: bytes = b""
    meter: HotMeter | None = None
    kept: bool = False
    scheme: bytes = b"http"
    trusted: bool = False
    view: View = PLAIN_VIEW


@attrs.define(slots=True, eq=False)
class Rendering:
    """An answer's head as bytes, good while the entry's age in whole seconds is ``age``, and its body."""

    age: int
    status: int
    head: bytes
    body: bytes


@attrs.define(slots=True, eq=False)
class Choice:
    """Which of a record's entries answers a plan, and its latest rendering."""

    entry: CacheEntry
    rendering: Rendering | None = None


class HotPath:
    """Called by the channel with each plain head; the answer's bytes, or None to decline."""

    def __init__(
        self,
        hot: HotTier,
        verifier: ITokenVerifier,
        policy: CachePolicy,
        keys: KeyPolicy,
        hosts: HostPolicy,
        proxy_name: bytes | None,
        recorder: Recorder,
        now: Callable[[], float],
        peers: TrustedPeers,
        steering: Steering = DEFAULT_STEERING,
    ) -> None:
        self._hot = hot
        self._verifier = verifier
        self._policy = policy
        self._keys = keys
        self._hosts = hosts
        self._proxy_name = proxy_name
        self._recorder = recorder
        self._now = now
        self._peers = peers
        self._trusting = peers.any
        self._steering = steering
        self._terms = terms_under(policy)
        self._declined = self._declines  # one object, under which fields remember the answer

    def __call__(self, parsed: ParsedHead, channel: HTTPChannel) -> HotAnswer | None:
        plan = parsed.plan
        trusted = self._trusting and self._peers.trusts(channel.peer_host)
        if isinstance(plan, Plan) and plan.trusted is trusted and plan.scheme == channel.scheme:
            plan.kept = True
        else:
            plan = parsed.plan = self._plan(parsed.head)
            plan.scheme, plan.trusted = channel.scheme, trusted
            plan.view = view_of(scope_of(plan.head.target, plan.head.fields, plan.scheme, trusted), False)
        if plan.target is None:
            return None
        if plan.authorization is not None and not self._identified(plan, plan.authorization):
            return None
        now = self._now()
        record = self._hot.get(plan.key, now)
        if record is None:
            return None
        choice = record.renderings.get(plan)
        if not isinstance(choice, Choice):
            choice = self._chosen(plan, record, now)
            if choice is None:
                return None
        entry, rendering = choice.entry, choice.rendering
        age = int(now - entry.received_at)
        if rendering is None or rendering.age != age:
            if not entry.fresh(now):
                return None
            rendering = choice.rendering = self._rendered(plan, record, entry, age, now)
        self._hot.hits += 1
        if plan.meter is None or plan.meter.status != rendering.status:
            plan.meter = self._recorder.hot_meter(plan.head, rendering.status, plan.identity)
        plan.meter.record(self._now() - now)
        head, body = rendering.head, rendering.body
        return head + body if len(body) < SHARED_BYTES else LargeAnswer(head, body)

    # -- once for each head ----------------------------------------------------------------------

    def _plan(self, head: RequestHead) -> Plan:
        fields = head.fields
        if head.method not in _KINDS or fields.derived(self._declined) or self._keys.reserves(head.target):
            return Plan(head)
        target = target_of(head.target, self._keys, fields.first(b"host") or b"")
        conditional = self._terms(fields).conditional
        credentials = fields.all(b"authorization")
        if credentials:
            return Plan(head, target, credentials[0], conditional)
        identity = self._verifier.identify(head)
        if not isinstance(identity, Identity) or identity.role is None or not identity.established:
            return Plan(head)
        return Plan(head, target, None, conditional, identity, build_key(identity.role, target))

    def _declines(self, fields: Fields) -> bool:
        """Whether something in ``fields`` is for the full path to deal with."""
        terms = self._terms(fields)
        return (
            terms.loop
            or terms.bypass is not None
            or terms.control is not NO_WISHES
            or terms.passing is not None
            or len(fields.all(b"authorization")) > 1
            or b"range" in fields
            or b"x-request-id" in fields
            or not self._hosts.admits(fields)
            or self._hosts.settles(fields)
        )

    def _identified(self, plan: Plan, authorization: bytes) -> bool:
        """Whether the token is one that was verified lately; its key is then in the plan."""
        identity = self._verifier.remembered(authorization)
        if identity is None or identity.role is None or not identity.established or plan.target is None:
            return False
        if identity is not plan.identity:
            plan.identity, plan.key = identity, build_key(identity.role, plan.target)
            plan.meter = None
        return True

    # -- once for each record, and each second of an entry's age ---------------------------------

    def _chosen(self, plan: Plan, record: HotRecord, now: float) -> Choice | None:
        if any(self._steered(entry) for entry in record.entries):
            return None
        lookup = choose(plan.head, NO_WISHES, record.entries, now, plan.view)
        if lookup.use is not Use.HIT or lookup.entry is None or lookup.entry.missing is not None:
            return None
        choice = Choice(lookup.entry)
        if plan.kept:
            record.remember(plan, choice, CHOICES)
        return choice

    def _steered(self, entry: CacheEntry) -> bool:
        """Whether a field selects ``entry`` that counts only from a trusted proxy, which the full path looks up."""
        return bool(entry.selecting) and any(self._steering.unseen(name) for name, _ in entry.selecting)

    def _rendered(self, plan: Plan, record: HotRecord, entry: CacheEntry, age: int, now: float) -> Rendering:
        """The answer, shared by all plans without conditions of their own.

        It is kept from the second time in a second on: thousands of entries that are asked for now and then would
        need as much room for their heads as for themselves.
        """
        kind = (variant_of(entry), plan.head.method)
        if not plan.conditional:
            shared = record.renderings.get(kind)
            if isinstance(shared, Rendering) and shared.age == age:
                return shared
        made = answer(plan.head, entry, now)
        fields = with_explanation(made.head.fields, entry, CacheStatus.HOT_HIT, now, self._proxy_name)
        head = b"HTTP/1.1 %d %b\r\n%b\r\n" % (made.head.status, made.head.reason, fields.encoded())
        rendering = Rendering(age, made.head.status, head, bytes(made.body))
        entry.slim()
        if not plan.conditional and record.rendered_at == age:
            record.remember(kind, rendering, CHOICES)
        record.rendered_at = age
        return rendering
