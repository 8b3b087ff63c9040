"""Whether a response may be stored, and if not, why (RFC 9111 §3 and the project's rules about cookies and guesses).

A verdict is the first refusal in a fixed order, prohibitions before matters of worth. Whatever is not refused is
storable. When a verdict on the answer to a validation or forced reload is a refusal, what was stored for the
request is outdated all the same: the caller drops it, unless the answer is an error that the stored one covers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import attrs

from caching_proxy.http.cache_control import CacheControl
from caching_proxy.http.messages import Fields, RequestHead, ResponseHead
from caching_proxy.http.response_names import READ_OF_RESPONSE
from caching_proxy.http.targeted_control import select_control
from caching_proxy.rules.cookies import has_session_cookie
from caching_proxy.rules.endless import is_endless
from caching_proxy.rules.entry import Flag
from caching_proxy.rules.entry_flags import flags_of
from caching_proxy.rules.freshness import Freshness, assess, initial_age
from caching_proxy.rules.glance import fast_verdict
from caching_proxy.rules.outcome import Refusal
from caching_proxy.rules.overriding import overridden
from caching_proxy.rules.policy import CachePolicy
from caching_proxy.rules.storability_checks import Case, fast_is_clear, first_refusal, request_telling
from caching_proxy.rules.variance import names_in_vary, selecting_of, values_of
from caching_proxy.rules.verdict import Verdict

__all__ = ["Verdict", "judge", "judge_post"]


def judge(
    request: RequestHead,
    response: ResponseHead,
    *,
    policy: CachePolicy,
    established: bool,
    has_body: bool,
    requested_at: float,
    received_at: float,
) -> Verdict:
    """The verdict on the response to a GET; every other method is refused (a HEAD never becomes a GET's body).

    ``established`` says that the key's role stands for whatever ``Authorization`` the request carried; ``has_body``
    is about the request. Times are POSIX seconds.
    """
    if response.ordinary is not None and not has_body and request.method == b"GET":
        telling = request_telling(request.fields)
        known = fast_verdict(telling, response, policy, established, requested_at, received_at)
        if known is not None:
            names = response.fields.told(names_in_vary)
            return attrs.evolve(known, selecting=values_of(request.fields, names)) if names else known
    control, use_expires = _control_of(response.fields, policy)
    if policy.override is not None:
        control = overridden(control, policy.override, response, initial_age(response, requested_at, received_at))
    clear = fast_is_clear(request, response, policy, control, established, has_body)
    personal = not clear and _may_be_personal(request, response.fields, policy, control)
    freshness = assess(response, control, use_expires, policy, requested_at, received_at, guess=not personal)
    if clear and freshness.lifetime:
        return Verdict(None, freshness, flags_of(control))
    case = _case(request, response, policy, established, has_body, control, freshness)
    return _verdict(case, first_refusal(case))


def judge_post(
    request: RequestHead,
    response: ResponseHead,
    *,
    policy: CachePolicy,
    established: bool,
    describes_target: bool,
    requested_at: float,
    received_at: float,
) -> Verdict:
    """The verdict on storing a POST's response for later GETs of the same target (RFC 9110 §9.3.3).

    ``describes_target``: its Content-Location, resolved, is the target URI (``rules.references.describes_target``).
    """
    control, use_expires = _control_of(response.fields, policy)
    personal = _may_be_personal(request, response.fields, policy, control)
    freshness = assess(response, control, use_expires, policy, requested_at, received_at, guess=not personal)
    case = _case(request, response, policy, established, False, control, freshness)
    status = response.status
    if request.method != b"POST" or not describes_target or not 200 <= status < 300 or status == 206:
        return _verdict(case, Refusal.METHOD)
    refusal = first_refusal(case, any_method=True)
    stated = case.freshness.explicit and case.freshness.lifetime > 0
    return _verdict(case, refusal if stated else refusal or Refusal.NO_FRESHNESS)


def _control_of(fields: Fields, policy: CachePolicy) -> tuple[CacheControl, bool]:
    """:func:`select_control`, once for all responses that say the same, where what they say is told apart by it."""
    if fields.telling is None or not READ_OF_RESPONSE.issuperset(policy.targets):
        return select_control(fields, policy.targets)
    return fields.told(_selecting(policy.targets))


@lru_cache(64)
def _selecting(targets: tuple[bytes, ...]) -> Callable[[Fields], tuple[CacheControl, bool]]:
    return lambda fields: select_control(fields, targets)


def _case(
    request: RequestHead,
    response: ResponseHead,
    policy: CachePolicy,
    established: bool,
    has_body: bool,
    control: CacheControl,
    freshness: Freshness,
) -> Case:
    return Case(
        request=request,
        response=response,
        policy=policy,
        established=established,
        has_body=has_body,
        control=control,
        freshness=freshness,
        flags=flags_of(control) | Flag.PARTIAL if response.status == 206 else flags_of(control),
        drop=control.excluded,
        selecting=selecting_of(request, response.fields, policy.vary),
    )


def _may_be_personal(request: RequestHead, fields: Fields, policy: CachePolicy, control: CacheControl) -> bool:
    """Whether a guess about the lifetime is out of place."""
    if b"range" in request.fields or is_endless(fields):
        return True
    if (b"set-cookie" in fields or b"set-cookie2" in fields) and not control.has(b"public"):
        return True
    return policy.cookie_bypass and has_session_cookie(request, policy)


def _verdict(case: Case, refusal: Refusal | None) -> Verdict:
    if refusal is not None:
        return Verdict(refusal, case.freshness)
    return Verdict(None, case.freshness, case.flags, case.drop, case.selecting or ())
