"""Which requests carry a cookie that may make their answer personal."""

from __future__ import annotations

import functools
import re

from caching_proxy.http.memo import Memo
from caching_proxy.http.messages import RequestHead
from caching_proxy.rules.glob import compile_glob
from caching_proxy.rules.policy import CachePolicy

_SPACE = re.compile(rb"[,\s]+")


MAX_NAME = 64
"""Bytes of a cookie's name beyond which it is not remembered whether it is ignored."""


MAX_NAMES = 512
"""Names that a generation remembers."""


def has_session_cookie(request: RequestHead, policy: CachePolicy) -> bool:
    """Whether the request carries a cookie whose name matches none of the policy's ignored globs."""
    return names_session(request.fields.all(b"cookie"), policy)


def names_session(lines: list[bytes], policy: CachePolicy) -> bool:
    """:func:`has_session_cookie` of a request with these Cookie ``lines``."""
    if not lines:
        return False
    ignored = _ignored(policy.ignored_cookies)
    for line in lines:
        for name in cookie_names(line):
            if not ignored[name]:
                return True
    return False


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


class _Ignored(Memo[bytes, bool]):
    """Name → whether it matches one of ``patterns``; known for the last names that are not long."""

    __slots__ = ("_matchers",)

    def __init__(self, patterns: tuple[bytes, ...]) -> None:
        super().__init__(MAX_NAMES)
        self._matchers = [compile_glob(pattern) for pattern in patterns]

    def __missing__(self, name: bytes) -> bool:
        known = super().__missing__(name)
        if known is None:
            known = any(matcher(name) for matcher in self._matchers)
            if len(name) <= MAX_NAME:
                self.keep(name, known)
        return known


_ignored = functools.lru_cache(maxsize=16)(_Ignored)
