"""What a response says about caching once the operator has spoken (``"mode": "override"`` in a rule for its path).

The result is a ``Cache-Control`` again, so that every decision about it stays where it is. It has the operator's
lifetime, counted from the receipt, in place of the backend's, and neither ``no-cache`` nor the like. Kept are: who may
share the response; that it must not be served stale, unless the rule speaks of that; the fields that are not to be
stored, which ``Set-Cookie`` joins. ``private``, ``no-store`` and what may have been meant for one of them hold
unless the rule names these too. So does the rule that a body without end is nothing to store.
"""

from __future__ import annotations

from functools import lru_cache

from caching_proxy.http.cache_control import SATURATED, CacheControl, Directive
from caching_proxy.http.messages import ResponseHead
from caching_proxy.rules.endless import is_endless
from caching_proxy.rules.policy import Override

_SET_COOKIE = frozenset((b"set-cookie", b"set-cookie2"))
_PUBLIC = (b"public", b"must-revalidate", b"s-maxage")
_STRICT = (b"must-revalidate", b"proxy-revalidate", b"s-maxage")
_KEPT = (b"immutable", b"no-transform")


def overridden(control: CacheControl, override: Override, response: ResponseHead, age: int) -> CacheControl:
    """What decides about ``response`` in place of ``control``; ``age`` is its age on arrival, in seconds."""
    ttl = override.lifetime(response.status)
    if ttl is None or is_endless(response.fields):
        return control
    if not override.private and (control.misspelt or control.has(b"no-store") or control.unqualified(b"private")):
        return control
    return _overridden(control, override, min(ttl + age, SATURATED), not _SET_COOKIE.isdisjoint(response.fields.index))


@lru_cache(256)
def _overridden(control: CacheControl, override: Override, lifetime: int, sets_cookie: bool) -> CacheControl:
    said = [Directive(b"max-age", b"%d" % lifetime)]
    excluded = control.excluded | _SET_COOKIE if sets_cookie else control.excluded
    if excluded:
        said.append(Directive(b"no-cache", b", ".join(sorted(excluded))))
    if any(map(control.has, _PUBLIC)):
        said.append(Directive(b"public"))
    said += [Directive(name) for name in _KEPT if control.has(name)]
    windows = (override.stale_while_revalidate, override.stale_if_error)
    if windows == (None, None) and (any(map(control.has, _STRICT)) or control.unqualified(b"no-cache")):
        said.append(Directive(b"proxy-revalidate"))
    for name, ours, theirs in zip(
        (b"stale-while-revalidate", b"stale-if-error"), windows, control.stale_windows, strict=True
    ):
        seconds = theirs if ours is None else ours
        if seconds is not None:
            said.append(Directive(name, b"%d" % seconds))
    return CacheControl(tuple(said))
