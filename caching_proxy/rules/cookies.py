"""Which requests carry a cookie that may make their answer personal."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

from caching_proxy.http.messages import RequestHead
from caching_proxy.rules.glob import compile_glob
from caching_proxy.rules.policy import CachePolicy

_SPACE = re.compile(rb"[,\s]+")


MAX_NAME = 64
"""Bytes of a cookie's name beyond which it is not remembered whether it is ignored."""


def has_session_cookie(request: RequestHead, policy: CachePolicy) -> bool:
    """Whether the request carries a cookie whose name matches none of the policy's ignored globs."""
    return names_session(request.fields.all(b"cookie"), policy)


def names_session(lines: list[bytes], policy: CachePolicy) -> bool:
    """:func:`has_session_cookie` of a request with these Cookie ``lines``."""
    if not lines:
        return False
    ignored = _ignored(policy.ignored_cookies)
    return not all(ignored(name) for line in lines for name in cookie_names(line))


def cookie_names(line: bytes) -> list[bytes]:
    """Every name that any reader might find in a Cookie line: some backends also split at commas and spaces."""
    if b"," not in line:
        chunks, words = line.split(b"; "), line.split()
        if len(words) == len(chunks) == line.count(b";") + 1 and b"" not in chunks and b";" not in words:
            return [chunk.partition(b"=")[0].strip() if b"=" in chunk else b"" for chunk in chunks]  # as browsers do
    return cookie_names_of_any(line)


def cookie_names_of_any(line: bytes) -> list[bytes]:
    """:func:`cookie_names`, whatever the line looks like."""
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

    def matches(name: bytes) -> bool:
        return any(matcher(name) for matcher in matchers)

    remembered = functools.lru_cache(maxsize=1024)(matches)
    return lambda name: remembered(name) if len(name) <= MAX_NAME else matches(name)
