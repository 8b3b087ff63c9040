"""Which requests carry a cookie that may make their answer personal."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

from caching_proxy.core.glob import compile_glob
from caching_proxy.core.messages import RequestHead
from caching_proxy.core.policy import CachePolicy

_SPACE = re.compile(rb"[,\s]+")


def has_session_cookie(request: RequestHead, policy: CachePolicy) -> bool:
    """Whether the request carries a cookie whose name matches none of the policy's ignored globs."""
    lines = request.fields.all(b"cookie")
    if not lines:
        return False
    ignored = _ignored(policy.ignored_cookies)
    return not all(ignored(name) for line in lines for name in _cookie_names(line))


def _cookie_names(line: bytes) -> list[bytes]:
    """Every name that any reader might find in a Cookie line: some backends also split at commas and spaces."""
    names = []
    for chunk in line.split(b";"):
        first, *others = _SPACE.split(chunk.strip())
        if first:
            names.append(first.partition(b"=")[0] if b"=" in first else b"")
        names += [other.partition(b"=")[0] for other in others if b"=" in other]
    return names


@functools.lru_cache(maxsize=16)
def _ignored(patterns: tuple[bytes, ...]) -> Callable[[bytes], bool]:
    matchers = [compile_glob(pattern) for pattern in patterns]
    return lambda name: any(matches(name) for matches in matchers)
