"""How long a response is fresh and how old it already was on arrival (RFC 9111 §4.2).

The first lifetime that is stated counts, even if it makes no sense: nonsense means *stale*, and never falls through
to the next source or to a guess. Guesses (the default TTL, the 10 % rule) are made only where nothing was stated.
"""

from __future__ import annotations

from caching_proxy.http.cache_control import SATURATED, CacheControl, delta_seconds
from caching_proxy.http.dates import parse_date
from caching_proxy.http.messages import Fields, ResponseHead
from caching_proxy.http.values import transient
from caching_proxy.rules.policy import CachePolicy

HEURISTIC_STATUSES = frozenset((200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501))
"""Statuses that may be stored without a word about freshness (RFC 9110 §15.1)."""


@transient(slots=True)
class Freshness:
    """Whole seconds, none negative: ``lifetime``, ``initial_age`` (both saturating) and the stale windows, which
    count from the end of the lifetime. ``explicit`` is False where the lifetime is a guess or there is none."""

    lifetime: int
    initial_age: int
    explicit: bool
    stale_while_revalidate: int
    stale_if_error: int

    @property
    def remaining(self) -> int:
        """Seconds of freshness left on arrival; 0 for a response that arrived stale."""
        left = self.lifetime - self.initial_age
        return left if left > 0 else 0


def assess(
    response: ResponseHead,
    control: CacheControl,
    use_expires: bool,
    policy: CachePolicy,
    requested_at: float,
    received_at: float,
    *,
    guess: bool = True,
) -> Freshness:
    """The freshness of ``response`` under ``control``.

    ``guess`` False keeps the policy's default TTL from a response that may be personal; where the policy has such a
    default, nothing else is guessed about a successful response either. The policy's stale windows are for responses
    that had some lifetime: what never was fresh does not become usable by a default.
    """
    fields = response.fields
    lifetime = control.lifetime
    if lifetime is None and use_expires:
        lifetime = _until_expires(fields, received_at)
    explicit = lifetime is not None
    if lifetime is None:
        lifetime = _guessed(response, control, policy, received_at, guess)
    while_revalidate, if_error = control.stale_windows
    if while_revalidate is None:
        while_revalidate = policy.stale_while_revalidate if lifetime else 0
    if if_error is None:
        if_error = policy.stale_if_error if lifetime else 0
    return Freshness(lifetime, initial_age(response, requested_at, received_at), explicit, while_revalidate, if_error)


def age_field(fields: Fields) -> int:
    """The Age that came with a response: first member of the first line, 0 unless it is a number (§5.1)."""
    lines = fields.all(b"age")
    if not lines:
        return 0
    return delta_seconds(lines[0].partition(b",")[0].strip(b" \t")) or 0


def initial_age(response: ResponseHead, requested_at: float, received_at: float) -> int:
    """The age on arrival: what the backend says plus the time that the exchange took, or what its Date implies if
    that is more (§4.2.3)."""
    taken = int(received_at - requested_at)
    age = age_field(response.fields) + (taken if taken > 0 else 0)
    if response.ordinary is not None:  # its Date is known without looking for it
        date = parse_date(response.ordinary.date, received_at)
        moment = int(received_at) if date is None else date
    else:
        moment = date_of(response.fields, received_at)
    apparent = int(received_at - moment)  # truncation forgives a Date that is up to 1 s ahead
    if apparent > age:
        age = apparent
    return age if age < SATURATED else SATURATED


def date_of(fields: Fields, received_at: float) -> int:
    """The moment of the response in POSIX seconds: its Date, or the time of receipt if that is missing or invalid."""
    value = fields.first(b"date")
    date = None if value is None else parse_date(value, received_at)
    return int(received_at) if date is None else date


def _until_expires(fields: Fields, received_at: float) -> int | None:
    """Expires − Date, None where there is no Expires (§4.2.1)."""
    lines = fields.all(b"expires")
    if not lines:
        return None
    expires = parse_date(lines[0], received_at) if len(lines) == 1 else None
    if expires is None:  # repeated or invalid: already expired (§5.3)
        return 0
    return min(max(0, expires - date_of(fields, received_at)), SATURATED)


def _guessed(
    response: ResponseHead, control: CacheControl, policy: CachePolicy, received_at: float, guess: bool
) -> int:
    if control.unqualified(b"no-cache"):  # never used without asking, so there is nothing to guess
        return 0
    if control.misspelt:  # something was stated, only not in a way that can be read
        return 0
    default = policy.default_of(response.status)
    if default is not None:
        return default if guess else 0
    if response.status in HEURISTIC_STATUSES or control.has(b"public"):
        return _tenth_since_modified(response.fields, policy, received_at)
    return 0


def _tenth_since_modified(fields: Fields, policy: CachePolicy, received_at: float) -> int:
    """10 % of the time since the last modification, within the policy's cap (§4.2.2)."""
    value = fields.first(b"last-modified")
    modified = None if value is None else parse_date(value, received_at)
    if modified is None:
        return 0
    return min(max(0, date_of(fields, received_at) - modified) // 10, policy.heuristic_cap)
