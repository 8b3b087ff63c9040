"""How much work a call is, counted and not timed, and whether it grows in step with its input.

``steps(call)`` counts the lines of Python that run and the functions in C that are called. What a single call into C
does remains hidden, above all regular expressions: ``slow_spots(pattern)`` looks at their form instead.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Iterator
from re import _constants as sre
from re import _parser as parser
from types import FrameType
from typing import Any

TOLERATED = 6
"""Times the work for four times the input; linear work is four times as much, quadratic sixteen."""

ENDLESS = 256
"""Repetitions from which a repeat counts as one without end."""


_CATEGORIES = {sre.CATEGORY_SPACE: b" \t\r\n\f\v", sre.CATEGORY_DIGIT: b"0123456789"}


def steps(call: Callable[[], object]) -> int:
    """Lines and calls into C until ``call`` returns or raises."""
    count = 0

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    def profile(frame: FrameType, event: str, arg: object) -> None:
        nonlocal count
        count += event == "c_call"

    old = sys.gettrace(), sys.getprofile()
    sys.settrace(trace)
    sys.setprofile(profile)
    try:
        with contextlib.suppress(Exception):
            call()
    finally:
        sys.settrace(old[0])
        sys.setprofile(old[1])
    return count


def growth(work: Callable[[int], Callable[[], object]], size: int) -> float:
    """How many times the steps ``work(4 * size)()`` takes of what ``work(size)()`` takes; 4 where it is linear."""
    return steps(work(4 * size)) / max(1, steps(work(size)))


def slow_spots(pattern: re.Pattern[bytes] | re.Pattern[str], searched: bool = True) -> list[str]:
    """Parts of ``pattern`` that may read some input again and again; empty where its work is linear.

    Such are an endless repeat within another, two endless repeats that can divide the same text between them in many
    ways, and, where the pattern is ``searched`` for, one at the very beginning that is not held by a look-behind.
    """
    tree = list(parser.parse(pattern.pattern, pattern.flags & ~re.DEBUG))
    found = list(_nested(tree, False)) + list(_neighbours(tree))
    if (
        searched
        and len(tree) > 1
        and tree[0][0] in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT)
        and tree[0][1][1] >= ENDLESS
    ):
        found.append("begins with an endless repeat")
    return found


def _children(op: object, value: Any) -> list[list[Any]]:
    if op in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
        return [list(value[2])]
    if op is sre.SUBPATTERN:
        return [list(value[3])]
    if op is sre.ATOMIC_GROUP:
        return [list(value)]
    return [list(branch) for branch in value[1]] if op is sre.BRANCH else []


def _endless(op: object, value: Any) -> bool:
    return op in (sre.MAX_REPEAT, sre.MIN_REPEAT) and bool(value[1] >= ENDLESS)


def _nested(tree: list[Any], within: bool) -> Iterator[str]:
    for op, value in tree:
        endless = _endless(op, value)
        for child in _children(op, value):
            if endless and within:
                yield f"an endless repeat of {child}"
            yield from _nested(child, within or (endless and len(child) > 0 and _varies(child)))


def _varies(tree: list[Any]) -> bool:
    """Whether what is repeated begins with something that the repeat before it could have taken."""
    first, last = tree[0], tree[-1]
    return _endless(*first) or _endless(*last)


def _flat(tree: list[Any]) -> Iterator[tuple[Any, Any]]:
    for op, value in tree:
        if op is sre.SUBPATTERN:
            yield from _flat(list(value[3]))
        else:
            yield op, value


def _neighbours(tree: list[Any]) -> Iterator[str]:
    before: frozenset[int] = frozenset()  # what the endless repeats that end here can take
    for op, value in _flat(tree):
        if op in (sre.AT, sre.ASSERT, sre.ASSERT_NOT):
            continue
        if _endless(op, value):
            members = _members(list(value[2]))
            if before & members and len(members) < 256:  # what takes anything never fails
                yield f"two endless repeats side by side, the second of {list(value[2])}"
            before = before | members if value[0] == 0 else members
        elif op is sre.BRANCH or (op in (sre.MAX_REPEAT, sre.MIN_REPEAT) and value[0] == 0):
            for child in _children(op, value):
                taken = [(sre.MAX_REPEAT, (0, ENDLESS, [(sre.IN, _as_in(before))]))] if before else []
                yield from _neighbours([*taken, *child])
        else:
            before = frozenset()


def _as_in(members: frozenset[int]) -> list[tuple[Any, Any]]:
    return [(sre.LITERAL, member) for member in sorted(members)]


def _members(tree: list[Any]) -> frozenset[int]:
    """The bytes with which something of ``tree`` can begin."""
    op, value = tree[0]
    if op is sre.LITERAL:
        return frozenset((value,))
    if op is sre.NOT_LITERAL:
        return frozenset(range(256)) - {value}
    if op is sre.IN:
        return _class(value)
    if op is sre.SUBPATTERN:
        return _members(list(value[3]))
    if op is sre.BRANCH:
        return frozenset().union(*(_members(list(branch)) for branch in value[1] if len(branch)))
    if op in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
        rest = _members(tree[1:]) if value[0] == 0 and len(tree) > 1 else frozenset()
        return _members(list(value[2])) | rest
    return frozenset(range(256))


def _class(items: list[Any]) -> frozenset[int]:
    members: set[int] = set()
    for op, value in items:
        if op is sre.LITERAL:
            members.add(value)
        elif op is sre.RANGE:
            members.update(range(value[0], min(value[1], 255) + 1))
        elif op is sre.CATEGORY:
            members.update(_CATEGORIES.get(value, range(256)))
    return frozenset(range(256)) - members if items and items[0][0] is sre.NEGATE else frozenset(members)
