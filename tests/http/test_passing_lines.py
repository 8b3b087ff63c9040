"""Lines are passed on by their names, rendered once, in bounded memory."""

from __future__ import annotations

import sys

import pytest

from caching_proxy.http import passing_lines
from caching_proxy.http.passing_lines import LINES_OF_A_NAME, LONGEST, PassingLines


@pytest.mark.parametrize(
    ("line", "passed"),
    [
        (b"A: b", b"A: b\r\n"),
        (b"A:b", b"A: b\r\n"),
        (b"A: \t b c \t", b"A: b c\r\n"),
        (b"A:", b"A: \r\n"),
        (b"a: b:c", b"a: b:c\r\n"),
        (b"Gone: x", b""),
        (b"GONE:", b""),
        (b"Long: " + b"x" * LONGEST, b"Long: " + b"x" * LONGEST + b"\r\n"),
    ],
)
def test_a_line_passes_or_ends_by_its_name(line: bytes, passed: bytes) -> None:
    passing = PassingLines(lambda name: name != b"gone")
    assert [passing[line], passing[line]] == [passed, passed]
    passing.turn()
    assert [passing[line], passing[line]] == [passed, passed]


def test_names_are_judged_once() -> None:
    asked: list[bytes] = []
    passing = PassingLines(lambda name: bool(asked.append(name)) or name == b"a")
    for number in range(3 * LINES_OF_A_NAME):
        assert passing[b"A: %d" % number] == b"A: %d\r\n" % number
        assert passing[b"B: %d" % number] == b""
    assert asked == [b"a", b"b"]


@pytest.mark.parametrize("line", [b"X: %d", b"X-%d: 1", b"Gone: %d", b"Gone-%d: 1", b"X-%d: " + b"x" * 400])
def test_memory_is_bounded(line: bytes) -> None:
    passing = PassingLines(lambda name: not name.startswith(b"gone"))
    for number in range(20_000):
        passing[line % number]
    held = {id(one): one for memory in (passing, passing._older) for pair in memory.items() for one in pair if one}
    held |= {id(name): name for name in passing._left}
    places = sys.getsizeof(passing) + sys.getsizeof(passing._older) + sys.getsizeof(passing._left)
    assert sum(map(sys.getsizeof, held.values())) + places < 2 * passing_lines.MAX_BYTES
