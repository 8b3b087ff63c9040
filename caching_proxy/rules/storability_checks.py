"""The reasons not to store a response, each a check of its own, in the order in which they are asked.

Prohibitions come before matters of worth, so that the reason given is the strongest one (RFC 9111 §3).
"""

from __future__ import annotations

from collections.abc import Callable

from caching_proxy.http.cache_control import CacheControl, delta_seconds
from caching_proxy.http.messages import Fields, RequestHead, ResponseHead
from caching_proxy.http.values import transient
from caching_proxy.rules.client_induced_errors import client_induced
from caching_proxy.rules.cookies import has_session_cookie
from caching_proxy.rules.endless import is_endless
from caching_proxy.rules.entry import Flag, Selecting
from caching_proxy.rules.freshness import HEURISTIC_STATUSES, Freshness
from caching_proxy.rules.outcome import Refusal
from caching_proxy.rules.policy import CachePolicy
from caching_proxy.rules.ranges import parse_content_range
from caching_proxy.rules.tags import tags_of, untagged

UNDERSTOOD_STATUSES = HEURISTIC_STATUSES | {302, 303, 307, 400, 401, 403, 451, 500, 502, 503, 504}
"""Statuses whose caching rules are implemented here, in the sense of must-understand (RFC 9111 §5.2.2.3)."""

NEVER_STORED = frozenset((428, 429, 431, 511))
"""About one client at one moment, whatever the backend says (RFC 6585 §3 to §6)."""

UNPROBLEMATIC_STATUSES = frozenset(status for status in HEURISTIC_STATUSES if status < 400) - {206}
_TELLING = frozenset((b"authorization", b"cookie", b"range"))
AUTHORIZATION = frozenset((b"authorization",))


@transient(slots=True)
class Case:
    """What the checks look at."""

    request: RequestHead
    response: ResponseHead
    policy: CachePolicy
    established: bool
    has_body: bool
    control: CacheControl
    freshness: Freshness
    flags: Flag
    drop: frozenset[bytes]
    selecting: Selecting | None


_Check = Callable[[Case], Refusal | None]


def fast_is_clear(
    request: RequestHead,
    response: ResponseHead,
    policy: CachePolicy,
    control: CacheControl,
    established: bool,
    has_body: bool,
) -> bool:
    """Whether none of the checks below, given a lifetime, could refuse a response to a GET: most are so ordinary.

    Then nothing speaks against a guess about the lifetime either, no field is left out and none selects a variant.
    False says nothing at all: then the checks decide. ``tests/rules/test_storability_glance.py`` compares the two.
    """
    if has_body or request.method != b"GET" or response.status not in UNPROBLEMATIC_STATUSES or policy.vary:
        return False
    if not control.unobstructive:
        return False
    answered, ordinary, telling = response.fields, response.ordinary, request_telling(request.fields)
    if telling and not (established and telling == AUTHORIZATION):
        return False
    if not answered.told(_for_all) and (_obstructs(answered) or tags_of(answered, policy.tags) is None):
        return False
    return not (_longer(answered, policy.max_body) if ordinary is None else ordinary.length > policy.max_body)


def first_refusal(case: Case, *, any_method: bool = False) -> Refusal | None:
    """The first reason not to store, None if there is none; ``any_method`` leaves out that only GET may be."""
    if not any_method and case.request.method != b"GET":
        return Refusal.METHOD
    for check in _CHECKS:
        refusal = check(case)
        if refusal is not None:
            return refusal
    return None


def _status(case: Case) -> Refusal | None:
    """Final statuses only, no 304, none that is never stored, no error that one client's own fields brought about."""
    status = case.response.status
    if not 200 <= status <= 599 or status == 304 or status in NEVER_STORED:
        return Refusal.STATUS
    return Refusal.STATUS if client_induced(status, case.request.fields, case.selecting or ()) else None


def _request_body(case: Case) -> Refusal | None:
    return Refusal.REQUEST_BODY if case.has_body else None


def _request_no_store(case: Case) -> Refusal | None:
    return Refusal.REQUEST_NO_STORE if _says_no_store(case.request.fields) else None


def _no_store(case: Case) -> Refusal | None:
    if case.control.has(b"must-understand"):  # it overrides no-store, for statuses that are understood
        return None if case.response.status in UNDERSTOOD_STATUSES else Refusal.MUST_UNDERSTAND
    return Refusal.NO_STORE if case.control.has(b"no-store") else None


def _private(case: Case) -> Refusal | None:
    return Refusal.PRIVATE if case.control.unqualified(b"private") else None


def _authorization(case: Case) -> Refusal | None:
    """RFC 9111 §3.5."""
    if case.established or b"authorization" not in case.request.fields:
        return None
    allowed = any(case.control.has(name) for name in (b"public", b"must-revalidate", b"s-maxage"))
    return None if allowed else Refusal.AUTHORIZATION


def _set_cookie(case: Case) -> Refusal | None:
    """A cookie that the backend itself keeps out of the stored response is no obstacle."""
    fields, policy = case.response.fields, case.policy
    kept = any(name in fields and name not in case.drop for name in (b"set-cookie", b"set-cookie2"))
    if not kept or not policy.cookie_bypass:
        return None
    shared = case.control.has(b"public") or case.control.has(b"s-maxage")
    return None if policy.store_set_cookie and shared else Refusal.SET_COOKIE


def _cookie(case: Case) -> Refusal | None:
    bypass = case.policy.cookie_bypass and has_session_cookie(case.request, case.policy)
    return Refusal.COOKIE if bypass else None


def _vary(case: Case) -> Refusal | None:
    return Refusal.VARY_STAR if case.selecting is None else None


def _range(case: Case) -> Refusal | None:
    """Of partial responses only single parts in bytes (RFC 9111 §3.3)."""
    if case.response.status != 206:
        return None
    lines = case.response.fields.all(b"content-range")
    media_type = (case.response.fields.first(b"content-type") or b"").lower()
    if len(lines) != 1 or parse_content_range(lines[0]) is None or media_type.startswith(b"multipart/byteranges"):
        return Refusal.RANGE
    return None


def _tags(case: Case) -> Refusal | None:
    return Refusal.TAGS if tags_of(case.response.fields, case.policy.tags) is None else None


def _freshness(case: Case) -> Refusal | None:
    """Something must allow storing (§3), and storing must be of use: now, after validation, or when stale."""
    status, freshness = case.response.status, case.freshness
    allowed = freshness.explicit or status in HEURISTIC_STATUSES or case.control.has(b"public")
    nothing = Refusal.MALFORMED if case.control.misspelt and not freshness.explicit else Refusal.NO_FRESHNESS
    if not allowed and not (case.policy.default_of(status) and freshness.lifetime):
        return nothing
    if 200 <= status < 300 and _has_validator(case):
        return None
    usable = not case.flags & Flag.NO_CACHE
    windows = 0 if case.flags & Flag.STRICT else freshness.stale_while_revalidate + freshness.stale_if_error
    return None if usable and (freshness.lifetime or windows) else nothing


def _has_validator(case: Case) -> bool:
    fields = case.response.fields
    return any(fields.first(name) and name not in case.drop for name in (b"etag", b"last-modified"))


def _too_large(case: Case) -> Refusal | None:
    """Known beforehand where the length is announced; what is not announced is found out on the way."""
    return Refusal.TOO_LARGE if _longer(case.response.fields, case.policy.max_body) else None


def _longer(fields: Fields, limit: int) -> bool:
    """Whether more than ``limit`` bytes of body are announced."""
    lines = fields.index.get(b"content-length")
    length = None if lines is None else delta_seconds(lines[0])
    return length is not None and length > limit


def _obstructs(fields: Fields) -> bool:
    """Whether a field of the response, beside those about caching, may stand in the way of storing it."""
    return b"vary" in fields or _personal(fields)


def _personal(fields: Fields) -> bool:
    return b"set-cookie" in fields or b"set-cookie2" in fields or is_endless(fields)


def _for_all(fields: Fields) -> bool:
    """Whether none does, and there are no tags either."""
    return untagged(fields) and not _obstructs(fields)


def for_many(fields: Fields) -> bool:
    """Whether none does but perhaps Vary, and there are no tags either."""
    return untagged(fields) and not _personal(fields)


def _says_no_store(fields: Fields) -> bool:
    lines = fields.all(b"cache-control")
    return bool(lines) and CacheControl.parse(lines).has(b"no-store")


def request_telling(fields: Fields) -> frozenset[bytes]:
    """:func:`telling_of`, once for all requests that say the same."""
    if fields.telling is None or b"authorization" in fields.telling.names:
        return fields.told(telling_of)
    return fields.derived(telling_of)


def telling_of(fields: Fields) -> frozenset[bytes]:
    """The names of the request's fields that a check, or the guess about a lifetime, takes notice of."""
    found = _TELLING.intersection(fields.index)
    return found | {b"cache-control"} if _says_no_store(fields) else found


_CHECKS: tuple[_Check, ...] = (
    _status,
    _request_body,
    _request_no_store,
    _no_store,
    _private,
    _authorization,
    _cookie,
    _set_cookie,
    _vary,
    _range,
    _tags,
    _freshness,
    _too_large,
)
