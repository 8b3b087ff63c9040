"""Whether the cache is asked at all for a GET or HEAD, as far as the request's fields decide it."""

from __future__ import annotations

from caching_proxy.http.cache_control import CacheControl
from caching_proxy.http.messages import Fields, RequestHead
from caching_proxy.rules.conditional import has_precondition
from caching_proxy.rules.cookies import has_session_cookie
from caching_proxy.rules.outcome import Bypass
from caching_proxy.rules.policy import CachePolicy


def why_bypass(fields: Fields, policy: CachePolicy) -> Bypass | None:
    """The reason to neither read nor write the cache for a request with ``fields``, or None.

    If-Match and If-Unmodified-Since are for the backend to judge (RFC 9110 §13.1.1). A request's ``no-store`` is taken
    at its word, which is stricter than RFC 9111 §5.2.1.5. An ``Upgrade`` to what is never switched to (``h2c``, which
    Java's client and curl offer with ordinary requests) is ignored.
    """
    index = fields.index
    if b"upgrade" in index and any(b"websocket" in line.lower() for line in index[b"upgrade"]):
        return Bypass.UPGRADE
    if policy.cookie_bypass and b"cookie" in index and has_session_cookie(RequestHead(b"", b"", fields), policy):
        return Bypass.COOKIE
    if has_precondition(fields):
        return Bypass.PRECONDITION
    if b"cache-control" in index and CacheControl.parse(index[b"cache-control"]).has(b"no-store"):
        return Bypass.NO_STORE
    return None
