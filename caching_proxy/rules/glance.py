"""Verdicts on responses that say what others said: worked out once for all of them.

Where a backend states a lifetime, or the default is for an answer of which it says nothing, all that decides about
storing an ordinary one is in lines that are the same in thousands of responses
(:mod:`caching_proxy.http.response_names`), and in its age. So the verdict is kept with those
lines, by status and age. ``tests/rules/test_storability_glance.py`` holds it against the rules.
"""

from __future__ import annotations

from caching_proxy.http.dates import IMF_LENGTH, preferred_date
from caching_proxy.http.messages import Fields, ResponseHead
from caching_proxy.http.response_names import PROXY_AUTHENTICATION, READ_OF_RESPONSE
from caching_proxy.http.targeted_control import select_control
from caching_proxy.rules.entry_flags import flags_of
from caching_proxy.rules.freshness import age_field, assess
from caching_proxy.rules.policy import CachePolicy
from caching_proxy.rules.storability_checks import AUTHORIZATION, UNPROBLEMATIC_STATUSES, for_many
from caching_proxy.rules.variance import names_in_vary
from caching_proxy.rules.verdict import Verdict

POLICIES = 16
"""Of how many policies it is kept what they make of the same lines."""

AGES = 64
"""Verdicts that are kept for the same lines under one policy."""

_UNKNOWN = (None,)


class _Said:
    """What lines come to under ``policy``: ``age`` is that of the Age field; ``verdicts`` by status and initial age,
    None for what is to be judged by each response."""

    __slots__ = ("age", "policy", "verdicts")

    def __init__(self, policy: CachePolicy, fields: Fields) -> None:
        self.policy = policy
        self.age = age_field(fields)
        self.verdicts: dict[tuple[int, int], Verdict | None] = {}


def _room(fields: Fields) -> dict[int, _Said]:
    """Where it is kept what ``fields`` come to, by the identity of the policy, which is kept with it: to compare two
    policies would cost more than all the rest."""
    return {}


def fast_verdict(
    telling: frozenset[bytes],
    response: ResponseHead,
    policy: CachePolicy,
    established: bool,
    requested_at: float,
    received_at: float,
) -> Verdict | None:
    """The verdict on an ordinary response to a GET without body, which allows to store it; None says nothing at all.

    ``telling`` is what :func:`.storability_checks.telling_of` found in the request; the rest is as for
    :func:`.storability.judge`. Such a response has a Date in the preferred form and no tags of its own, selects no
    variant but by its Vary (:func:`.variance.names_in_vary`), of which the verdict says nothing, need not be confirmed
    before use, and goes to the client with the very fields that are stored.
    ``tests/rules/test_storability_glance.py`` compares it with ``judge``.
    """
    ordinary, fields = response.ordinary, response.fields
    if ordinary is None or fields.telling is None or ordinary.length > policy.max_body:
        return None
    if telling and not (established and telling == AUTHORIZATION):
        return None
    date = preferred_date(ordinary.date) if len(ordinary.date) == IMF_LENGTH else None
    if date is None:
        return None
    room = fields.told(_room)
    said = room.get(id(policy)) or _heard(room, policy, fields)
    age, apparent = said.age, int(received_at - date)
    if received_at > requested_at:
        age += int(received_at - requested_at)
    if apparent > age:
        age = apparent
    verdict = said.verdicts.get((response.status, age), _UNKNOWN)
    if verdict is _UNKNOWN:
        verdict = _judged(said, response, requested_at, received_at, age)
    return verdict  # type: ignore[return-value]


def _heard(room: dict[int, _Said], policy: CachePolicy, fields: Fields) -> _Said:
    if len(room) >= POLICIES:
        room.clear()
    said = room[id(policy)] = _Said(policy, fields)
    return said


def _judged(said: _Said, response: ResponseHead, requested_at: float, received_at: float, age: int) -> Verdict | None:
    """The verdict by what all responses with these lines have in common, kept for the next."""
    policy, verdict = said.policy, None
    if _plain(response, policy):
        control, use_expires = select_control(response.fields, policy.targets)
        lifetime, told = control.lifetime, response.fields.telling
        if lifetime is None and told is not None and b"expires" in told.names:  # of which there is none
            lifetime = policy.default_of(response.status)
        if control.unobstructive and lifetime:
            freshness = assess(response, control, use_expires, policy, requested_at, received_at)
            verdict = Verdict(None, freshness, flags_of(control))
    if len(said.verdicts) >= AGES:
        said.verdicts.clear()
    said.verdicts[response.status, age] = verdict
    return verdict


def _plain(response: ResponseHead, policy: CachePolicy) -> bool:
    """Whether nothing that is not among those lines has a say."""
    if policy.override is not None or policy.vary or not READ_OF_RESPONSE.issuperset(policy.targets):
        return False
    fields = response.fields
    return response.status in UNPROBLEMATIC_STATUSES and fields.told(for_many) and fields.told(_goes_as_it_is)


def _goes_as_it_is(fields: Fields) -> bool:
    return PROXY_AUTHENTICATION.isdisjoint(fields.index) and names_in_vary(fields) is not None
