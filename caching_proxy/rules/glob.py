"""Redis globs over bytes: what ``SCAN … MATCH`` and ``KEYS`` of Redis 6.2 and 7.0 match, nothing more or less.

``*`` any bytes, ``?`` one byte, ``[a-z]`` one of, ``[^x]`` none of, ``\\`` the next byte as itself. The corners, all
taken over because memory tiers must drop exactly the keys that the store drops:

- a class that is not closed ends with the pattern; ``[]`` matches nothing and ``[^]`` any byte;
- in a class, ``x-y`` is a range whichever end is larger, and even where ``y`` is ``]``, which then closes nothing;
- range ends are signed bytes, so ``[a-\\xc3]`` covers 0xc3–0xff and 0x00–0x61 (Redis on x86-64: ``char`` is signed);
- a backslash at the very end stands for itself, in a class too;
- ``*`` alone matches every key, every other pattern of stars all but the empty key.

One difference: Redis gives up on more than a thousand stars, this matcher does not. Matching never backtracks over a
star, and the work for a key is in proportion to its length: what stands between two stars is looked for with ``find``
where it is literal, with a regular expression where it is short, and else with one shift of a bit set for each byte of
the key (Shift-And).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Protocol

Matcher = Callable[[bytes], bool]

_STAR, _ANY, _OPEN, _CLOSE, _NOT, _RANGE, _ESCAPE = b"*?[]^-\\"
_ALL = bytes(range(256))
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_SPECIAL = re.compile(rb"[*?\[\]^\\-]")

NARROW = 16
"""Widest segment with classes that a regular expression looks for: at most so many comparisons for each byte."""

Token = tuple[int, bytes | None]
"""Where a token ends in the pattern, and the bytes that it accepts; None for a star."""


@lru_cache(maxsize=32)
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
        return _whole(_segment(parts[0]))
    head, *middle, tail = map(_segment, parts)
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


def literals(pattern: bytes) -> tuple[bytes, bytes]:
    """What every key that matches begins with, and a text that it contains: the longest behind the first star."""
    runs = [bytearray()]
    for _, accepted in _tokens(pattern):
        if accepted is not None and len(accepted) == 1:
            runs[-1] += accepted
        else:
            runs.append(bytearray())
    texts = [bytes(run) for run in runs]
    return texts[0], max(texts[1:], key=len, default=b"") or texts[0]


def literal(pattern: bytes) -> bytes | None:
    """The one key that ``pattern`` matches, None if it may match several or none."""
    if b"[" not in pattern:
        bare = _ESCAPED.sub(b"", pattern) if b"\\" in pattern else pattern
        if b"*" in bare or b"?" in bare:
            return None
        return pattern if bare is pattern else _ESCAPED.sub(rb"\1", pattern)
    text = bytearray()
    for _, accepted in _tokens(pattern):
        if accepted is None or len(accepted) != 1:
            return None
        text += accepted
    return bytes(text)


def is_wide(pattern: bytes) -> bool:
    """Whether matching costs about as many steps of Python as the key has bytes."""
    width, classes = 0, False
    for _, accepted in _tokens(pattern):
        if accepted is None:
            width, classes = 0, False
            continue
        width, classes = width + 1, classes or len(accepted) != 1
        if classes and width > NARROW:
            return True
    return False


class _Segment(Protocol):
    """What stands between two stars: a row of one-byte tokens, so its width is fixed."""

    width: int

    def at(self, key: bytes, start: int) -> bool:
        """Whether the segment stands at ``start``."""

    def after(self, key: bytes, start: int, end: int) -> int:
        """The end of its first occurrence within ``key[start:end]``, or -1."""


def _segment(accepted: list[bytes]) -> _Segment:
    if all(len(one) == 1 for one in accepted):
        return _Literal(b"".join(accepted))
    return _Narrow(accepted) if len(accepted) <= NARROW else _Wide(accepted)


class _Literal:
    __slots__ = ("_text", "width")

    def __init__(self, text: bytes) -> None:
        self.width = len(text)
        self._text = text

    def at(self, key: bytes, start: int) -> bool:
        return key.startswith(self._text, start)

    def after(self, key: bytes, start: int, end: int) -> int:
        found = key.find(self._text, start, end)
        return found + self.width if found >= 0 else -1


class _Narrow:
    """A few tokens, some of them classes."""

    __slots__ = ("_regex", "width")

    def __init__(self, accepted: list[bytes]) -> None:
        self.width = len(accepted)
        self._regex = re.compile(b"".join(map(_regex, accepted)), re.DOTALL)

    def at(self, key: bytes, start: int) -> bool:
        return self._regex.match(key, start) is not None

    def after(self, key: bytes, start: int, end: int) -> int:
        match = self._regex.search(key, start, end)
        return match.end() if match else -1


class _Wide:
    """Many tokens, some of them classes: bit ``n`` of a byte's mask says whether token ``n`` accepts it."""

    __slots__ = ("_masks", "width")

    def __init__(self, accepted: list[bytes]) -> None:
        self.width = len(accepted)
        self._masks = _masks(accepted)

    def at(self, key: bytes, start: int) -> bool:
        return self.after(key, start, start + self.width) == start + self.width

    def after(self, key: bytes, start: int, end: int) -> int:
        masks, state, last = self._masks, 0, 1 << (self.width - 1)
        for at, byte in enumerate(key[start:end], start + 1):
            state = (state << 1 | 1) & masks[byte]
            if state & last:
                return at
        return -1


def _masks(accepted: list[bytes]) -> list[int]:
    """For each byte the set of tokens that accept it, as bits."""
    common = 0  # tokens that accept most bytes: only the others are looked at one by one
    for number, members in enumerate(accepted):
        if len(members) > 128:
            common |= 1 << number
    masks = [common] * 256
    for number, members in enumerate(accepted):
        bit = 1 << number
        for byte in _others(members) if common & bit else members:
            masks[byte] ^= bit
    return masks


@lru_cache(maxsize=64)
def _others(members: bytes) -> bytes:
    return _ALL.translate(None, members)


def _whole(segment: _Segment) -> Matcher:
    return lambda key: len(key) == segment.width and segment.at(key, 0)


def _starred(head: _Segment, middle: list[_Segment], tail: _Segment) -> Matcher:
    """Head and tail are fixed to the ends; between them the earliest place for each segment is always the best."""

    least = head.width + tail.width + sum(segment.width for segment in middle)

    def match(key: bytes) -> bool:
        at, end = head.width, len(key) - tail.width
        if len(key) < least or not head.at(key, 0) or not tail.at(key, end):
            return False
        for segment in middle:
            at = segment.after(key, at, end)
            if at < 0:
                return False
        return True

    return match


@lru_cache(maxsize=16)
def _tokens(pattern: bytes) -> tuple[Token, ...]:
    return tuple(_read(pattern))


def _read(pattern: bytes) -> Iterator[Token]:
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
    accepted = bytes(sorted(members))
    return at, _others(accepted) if negated else accepted


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
