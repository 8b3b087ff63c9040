"""What the rules of storing say of a response, with a policy, a time and some fields to ask with."""

from __future__ import annotations

from caching_proxy.http.dates import format_date
from caching_proxy.http.messages import Field, Fields, RequestHead, ResponseHead
from caching_proxy.rules.policy import CachePolicy
from caching_proxy.rules.storability import Verdict, judge

NOW = 1_800_000_000.0
PLAIN = CachePolicy(default_ttl=0, cookie_bypass=False)
DEFAULT = CachePolicy()
MODIFIED = (b"Last-Modified", format_date(NOW - 864_000))
ETAG = (b"ETag", b'"a"')


def cc(value: bytes) -> Field:
    return b"Cache-Control", value


def verdict(
    *pairs: Field,
    status: int = 200,
    sent: tuple[Field, ...] = (),
    method: bytes = b"GET",
    policy: CachePolicy = PLAIN,
    established: bool = True,
    has_body: bool = False,
) -> Verdict:
    return judge(
        RequestHead(method, b"/x?y", Fields(sent)),
        ResponseHead(status, b"", Fields(pairs)),
        policy=policy,
        established=established,
        has_body=has_body,
        requested_at=NOW,
        received_at=NOW,
    )


FRESH = cc(b"max-age=900")
