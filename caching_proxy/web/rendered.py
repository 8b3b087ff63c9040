"""Answers from stored entries as the bytes that go out, for those that need no request object."""

from __future__ import annotations

from caching_proxy.cache.tiers.renderings import Rendering
from caching_proxy.http.messages import RequestHead
from caching_proxy.rules.entry import CacheEntry
from caching_proxy.rules.explain import fast_whole_head, with_explanation
from caching_proxy.rules.outcome import CacheStatus
from caching_proxy.rules.request_traits import PARTICULAR
from caching_proxy.rules.stored_response import answer


def rendered(
    asked: RequestHead, entry: CacheEntry, status: CacheStatus, now: float, proxy_name: bytes | None
) -> Rendering:
    """What ``entry`` says to ``asked``: the bytes that the full path would send for its reply.

    ``asked`` may lack what an answer does not depend on; ``proxy_name`` None leaves ``Cache-Status`` off.
    """
    if asked.method == b"GET" and PARTICULAR.isdisjoint(asked.fields.index):
        whole = fast_whole_head(entry, status, now, proxy_name)
        if whole is not None:
            return Rendering(entry.status, whole, entry.body)
    made = answer(asked, entry, now)
    fields = with_explanation(made.head.fields, entry, status, now, proxy_name)
    head = b"HTTP/1.1 %d %b\r\n%b\r\n" % (made.head.status, made.head.reason, fields.encoded())
    return Rendering(made.head.status, head, made.body)
