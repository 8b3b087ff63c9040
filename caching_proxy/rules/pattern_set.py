"""Several globs tested together against many keys, and what that costs.

A key is first looked through for a text that every match contains, which settles nearly all keys at the speed of
``in``. Costs are counted in steps of about ten nanoseconds, so that walks over keys can be cut into slices of equal
work whatever the keys and the patterns are.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

from caching_proxy.rules.glob import compile_glob, is_wide, literals

KEY_STEPS = 6
BYTES_A_STEP = 64
GLANCE_AT = 100
"""Patterns, beyond which one regular expression for all their texts would take long to make."""

WIDE_STEPS = 15
"""Steps for each byte of a key that a pattern with long rows of classes takes."""

SCAN_STEPS = 150
"""What a key costs that comes from a store's walk."""

REMOVAL_STEPS = 400
"""What removing a key costs."""

SLICE_KEYS = 500


STAR_STEPS = 30
"""What each part of a pattern between two stars may cost for a key, as measured with 7 KB keys."""


class PatternSet:
    """Matches what any of ``patterns`` matches. ``prefix`` is what every match begins with."""

    __slots__ = ("_glance", "_stars", "_tests", "_wide", "patterns", "prefix")

    def __init__(self, *patterns: bytes) -> None:
        self.patterns = patterns
        texts = [literals(pattern) for pattern in patterns]
        self.prefix = _common([head for head, _ in texts])
        self._tests = [(needle, compile_glob(one)) for one, (_, needle) in zip(patterns, texts, strict=True)]
        self._wide = sum(map(is_wide, patterns))
        self._stars = sum(pattern.count(b"*") for pattern in patterns)
        self._glance = _any_of([needle for needle, _ in self._tests]) if 1 < len(patterns) <= GLANCE_AT else None

    def __call__(self, key: bytes) -> bool:
        return any(key.find(needle) >= 0 and matches(key) for needle, matches in self._tests)

    def select(self, keys: Sequence[bytes]) -> list[bytes]:
        """Those of ``keys`` that match, each as often as it is there, in any order."""
        if len(self._tests) == 1:
            needle, matches = self._tests[0]
            return [key for key in keys if key.find(needle) >= 0 and matches(key)]
        found: list[bytes] = []
        glance = self._glance
        left = keys if glance is None else [key for key in keys if glance(key)]
        for needle, matches in self._tests:
            more = {key for key in left if key.find(needle) >= 0 and matches(key)}
            if more:
                found += more
                left = [key for key in left if key not in more]
        return found

    def steps(self, keys: Sequence[bytes]) -> int:
        """What :meth:`select` costs at most."""
        size = sum(map(len, keys))
        each = len(keys) * KEY_STEPS + size // BYTES_A_STEP
        return each * len(self._tests) + size * WIDE_STEPS * self._wide + len(keys) * STAR_STEPS * self._stars

    def slices(self, keys: Sequence[bytes], steps: int) -> Iterator[Sequence[bytes]]:
        """``keys`` in pieces that :meth:`select` takes about ``steps`` for, or of one key."""
        at = 0
        while at < len(keys):
            size = min(SLICE_KEYS, len(keys) - at)
            piece = keys[at : at + size]
            while size > 1 and self.steps(piece) > steps:
                size //= 2
                piece = piece[:size]
            yield piece
            at += size


def _any_of(texts: list[bytes]) -> Callable[[bytes], object]:
    """Whether a key contains one of ``texts``; much quicker than looking for each where most keys contain none."""
    return re.compile(b"|".join(map(re.escape, texts)), re.DOTALL).search


def _common(texts: list[bytes]) -> bytes:
    """What all of ``texts`` begin with."""
    if not texts:
        return b""
    first, last = min(texts), max(texts)
    for at, byte in enumerate(first):
        if byte != last[at]:
            return first[:at]
    return first
