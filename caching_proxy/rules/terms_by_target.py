"""Which terms hold for a target, found once for each target.

A rule is looked for in path and query as they were sent. A backend may understand another target than was sent:
``/a/../b``, ``//b`` and ``/%62`` are all ``/b`` to many. Where a rule holds for one of the two and not for the other,
it is not known what the operator meant, so nothing of it is stored.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import attrs

from caching_proxy.http.memo import Memo
from caching_proxy.rules.cache_rules import CacheRule
from caching_proxy.rules.key import KeyPolicy
from caching_proxy.rules.outcome import Bypass
from caching_proxy.rules.policy import CachePolicy
from caching_proxy.rules.terms import Share, Terms

MAX_SEARCHED = 8192
"""Bytes of a target up to which rules are looked for; a longer one is not stored where there are rules."""

REMEMBERED_BYTES = 1024 * 1024
"""Bytes that a generation of remembered targets may take."""

_PECULIAR = re.compile(rb"%|//|/\.|\\|;")
_ENCODED = re.compile(rb"%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/\\;")


class TermsByTarget:
    """From targets to :class:`Terms`. Without rules all have the same."""

    def __init__(self, policy: CachePolicy, keys: KeyPolicy) -> None:
        self._default = Terms(policy, keys)
        self._unsure = attrs.evolve(self._default, share=Share.NONE, bypass=Bypass.AMBIGUOUS)
        self._rules: tuple[tuple[CacheRule, Terms], ...] = ()
        self._known: Memo[bytes, Terms] = Memo(REMEMBERED_BYTES, _weight)

    def use(self, rules: Sequence[CacheRule]) -> None:
        """Let ``rules`` hold from now on, and none that held before."""
        policy, keys = self._default.policy, self._default.keys
        self._rules = tuple((rule, rule.terms(policy, keys)) for rule in rules)
        self._known.clear()

    def __call__(self, target: bytes) -> Terms:
        """What holds for an origin-form ``target``."""
        if not self._rules:
            return self._default
        terms = self._known[target]
        if terms is None:
            terms = self._found(target)
            self._known.keep(target, terms)
        return terms

    def _found(self, target: bytes) -> Terms:
        if len(target) > MAX_SEARCHED:
            return self._unsure
        terms = self._first(target)
        understood = as_understood(target)
        return terms if understood == target or self._first(understood) is terms else self._unsure

    def _first(self, target: bytes) -> Terms:
        for rule, terms in self._rules:
            if rule.match.search(target) is not None:
                return terms
        return self._default


def as_understood(target: bytes) -> bytes:
    """``target`` with its path as backends may read it: characters that need no encoding decoded, ``\\`` as ``/``;
    parameters of segments, empty segments and dots taken out. Other encoded bytes have upper-case digits."""
    path, mark, query = target.partition(b"?")
    if _PECULIAR.search(path) is None:
        return target
    path = _ENCODED.sub(_decoded, path).replace(b"\\", b"/")
    kept: list[bytes] = []
    segments = [segment.partition(b";")[0] for segment in path.split(b"/")]
    for segment in segments:
        if segment == b"..":
            if kept:
                kept.pop()
        elif segment not in (b"", b"."):
            kept.append(segment)
    ending = b"/" if kept and segments[-1] in (b"", b".", b"..") else b""
    return b"/" + b"/".join(kept) + ending + mark + query


def _decoded(match: re.Match[bytes]) -> bytes:
    byte = int(match[1], 16)
    return bytes((byte,)) if byte in _UNRESERVED else match[0].upper()


def _weight(target: bytes) -> int:
    return len(target) + 100
