"""Whether the cache is asked at all for a GET or HEAD."""

from __future__ import annotations

from caching_proxy.core.cache_control import CacheControl
from caching_proxy.core.conditional import has_precondition
from caching_proxy.core.messages import RequestHead
from caching_proxy.core.outcome import Bypass
from caching_proxy.core.policy import CachePolicy
from caching_proxy.core.storability import has_session_cookie


def why_bypass(head: RequestHead, has_role: bool, has_body: bool, policy: CachePolicy) -> Bypass | None:
    """The reason to neither read nor write the cache for this request, or None.

    Without a role nobody knows who may share the answer. A body makes a GET more than its key (RFC 9110 §9.3.1);
    If-Match and If-Unmodified-Since are for the backend to judge (§13.1.1). A request's ``no-store`` is taken at
    its word, which is stricter than RFC 9111 §5.2.1.5.
    """
    index = head.fields.index
    if not has_role:
        return Bypass.TOKEN
    if has_body:
        return Bypass.REQUEST_BODY
    if b"upgrade" in index:
        return Bypass.UPGRADE
    if policy.cookie_bypass and b"cookie" in index and has_session_cookie(head, policy):
        return Bypass.COOKIE
    if has_precondition(head.fields):
        return Bypass.PRECONDITION
    if b"cache-control" in index and CacheControl.parse(index[b"cache-control"]).has(b"no-store"):
        return Bypass.NO_STORE
    return None
