"""Redis globs over bytes: what ``SCAN … MATCH`` and ``KEYS`` of Redis 6.2 and 7.0 match, nothing more or less.

``*`` any bytes, ``?`` one byte, ``[a-z]`` one of, ``[^x]`` none of, ``\\`` the next byte as itself. The corners, all
taken over because memory tiers must drop exactly the keys that the store drops:

- a class that is not closed ends with the pattern; ``[]`` matches nothing and ``[^]`` any byte;
- in a class, ``x-y`` is a range whichever end is larger, and even where ``y`` is ``]``, which then closes nothing;
- range ends are signed bytes, so ``[a-\\xc3]`` covers 0xc3–0xff and 0x00–0x61 (Redis on x86-64: ``char`` is signed);
- a backslash at the very end stands for itself, in a class too;
- ``*`` alone matches every key, every other pattern of stars all but the empty key.

One difference: Redis gives up on more than a thousand stars, this matcher does not. Matching costs at most
length of the key times length of the pattern, and never backtracks over a star.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

Matcher = Callable[[bytes], bool]

_STAR, _ANY, _OPEN, _CLOSE, _NOT, _RANGE, _ESCAPE = b"*?[]^-\\"
_ALL = bytes(range(256))
_SPECIAL = re.compile(rb"[*?\[\]^\\-]")

Token = tuple[int, bytes | None]
"""Where a token ends in the pattern, and the bytes that it accepts; None for a star."""


def compile_glob(pattern: bytes) -> Matcher:
    """A function that tells whether a key matches ``pattern``; never fails, whatever the bytes."""
    if pattern == b"*":
        return lambda key: True
    parts: list[list[bytes]] = [[]]
    for _, accepted in _tokens(pattern):
        if accepted is None:
            parts.append([])
        elif not accepted:  # ``[]``: nothing gets past it
            return lambda key: False
        else:
            parts[-1].append(accepted)
    if len(parts) == 1:
        return _whole(_Segment(parts[0]))
    head, *middle, tail = (_Segment(part) for part in parts)
    middle = [segment for segment in middle if segment.width]
    if not middle and not head.width and not tail.width:
        return lambda key: key != b""
    return _starred(head, middle, tail)


def escape(literal: bytes) -> bytes:
    """A pattern that matches just ``literal``; safe to put into a pattern anywhere, inside a class too."""
    return _SPECIAL.sub(rb"\\\g<0>", literal)


def shorten(pattern: bytes, limit: int) -> bytes:
    """``pattern`` if it fits into ``limit`` (≥ 1) bytes, else one that does and matches all that it matches."""
    if len(pattern) <= limit:
        return pattern
    cut = 0
    for end, _ in _tokens(pattern):
        if end >= limit:
            break
        cut = end
    return pattern[:cut] + b"*"


class _Segment:
    """What stands between two stars: a row of one-byte tokens, so its width is fixed."""

    __slots__ = ("_literal", "_regex", "width")

    def __init__(self, accepted: list[bytes]) -> None:
        self.width = len(accepted)
        self._literal: bytes | None = None
        if all(len(one) == 1 for one in accepted):
            self._literal = b"".join(accepted)
        self._regex = None if self._literal is not None else re.compile(b"".join(map(_regex, accepted)), re.DOTALL)

    def at(self, key: bytes, start: int) -> bool:
        """Whether the segment stands at ``start``."""
        if self._regex is None:
            return key.startswith(self._literal or b"", start)
        return self._regex.match(key, start) is not None

    def after(self, key: bytes, start: int, end: int) -> int:
        """The end of its first occurrence within ``key[start:end]``, or -1."""
        if self._regex is None:
            found = key.find(self._literal or b"", start, end)
            return found + self.width if found >= 0 else -1
        match = self._regex.search(key, start, end)
        return match.end() if match else -1


def _whole(segment: _Segment) -> Matcher:
    return lambda key: len(key) == segment.width and segment.at(key, 0)


def _starred(head: _Segment, middle: list[_Segment], tail: _Segment) -> Matcher:
    """Head and tail are fixed to the ends; between them the earliest place for each segment is always the best."""

    def match(key: bytes) -> bool:
        at, end = head.width, len(key) - tail.width
        if end < at or not head.at(key, 0) or not tail.at(key, end):
            return False
        for segment in middle:
            at = segment.after(key, at, end)
            if at < 0:
                return False
        return True

    return match


def _tokens(pattern: bytes) -> Iterator[Token]:
    at, size = 0, len(pattern)
    while at < size:
        byte = pattern[at]
        accepted: bytes | None = pattern[at : at + 1]
        at += 1
        if byte == _STAR:
            accepted = None
        elif byte == _ANY:
            accepted = _ALL
        elif byte == _OPEN:
            at, accepted = _class(pattern, at)
        elif byte == _ESCAPE and at < size:
            accepted = pattern[at : at + 1]
            at += 1
        yield at, accepted


def _class(pattern: bytes, at: int) -> tuple[int, bytes]:
    """The end of the class whose ``[`` stands before ``at``, and the bytes that it accepts, in order."""
    members: set[int] = set()
    negated = pattern[at : at + 1] == b"^"
    at += negated
    while at < len(pattern):
        byte, left = pattern[at], len(pattern) - at
        if byte == _ESCAPE and left >= 2:
            members.add(pattern[at + 1])
            at += 2
        elif byte == _CLOSE:
            at += 1
            break
        elif left >= 3 and pattern[at + 1] == _RANGE:
            members.update(_range(byte, pattern[at + 2]))
            at += 3
        else:
            members.add(byte)
            at += 1
    return at, bytes(byte for byte in range(256) if (byte in members) != negated)


def _range(first: int, last: int) -> Iterable[int]:
    low, high = sorted((_signed(first), _signed(last)))
    return (byte & 0xFF for byte in range(low, high + 1))


def _signed(byte: int) -> int:
    return byte - 256 if byte > 127 else byte


def _regex(accepted: bytes) -> bytes:
    """A regular expression for one byte out of ``accepted`` (sorted, not empty)."""
    if accepted == _ALL:
        return b"."
    runs: list[list[int]] = []
    for byte in accepted:
        if runs and runs[-1][1] == byte - 1:
            runs[-1][1] = byte
        else:
            runs.append([byte, byte])
    return b"[%b]" % b"".join(b"\\x%02x-\\x%02x" % (low, high) for low, high in runs)
