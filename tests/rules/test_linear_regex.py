"""Expressions of the operator, searched in what clients send."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caching_proxy.rules.linear_regex import MAX_SIZE, compile_regex

HOSTILE = [
    ("(a+)+$", "a"),
    ("(a|aa)+$", "a"),
    ("^/(a|a?)+$", "a"),
    ("^(([a-z])+.)+[A-Z]([a-z])+$", "a"),
    ("(.*)*(.*)*(.*)*x", "a"),
    (r"^/(\w+\s?)*$", "a"),
]


@pytest.mark.parametrize(("regex", "letter"), HOSTILE, ids=[regex for regex, _ in HOSTILE])
def test_what_backtracks_for_ever_elsewhere_ends(regex: str, letter: str) -> None:
    """With backtracking each of these would run for longer than the universe."""
    assert compile_regex(regex).search(b"/" + letter.encode() * 8000 + b"!") is None


@pytest.mark.parametrize(
    ("regex", "text", "groups"),
    [
        ("^/items/([0-9]+)", b"/items/12?a", [b"/items/12", b"12"]),
        (r"^/u(/x)?\d", b"/u1", [b"/u1", None]),
        ("é", "/caf\xe9".encode(), ["é".encode()]),
        ("caf.$", b"/caf\xff", [b"caf\xff"]),
        ("(?i)^/A", b"/a", [b"/a"]),
    ],
)
def test_searching(regex: str, text: bytes, groups: list[bytes | None]) -> None:
    compiled = compile_regex(regex)
    match = compiled.search(text)
    assert match is not None
    assert [match[number] for number in range(compiled.groups + 1)] == groups


@pytest.mark.parametrize(
    "regex", ["(", "[", "a(?=b)", "(?!a)", "(?<=a)b", r"(a)\1", "a++b*+", "(?>a)", "a{1001}", "\ud800", r"a\Z"]
)
def test_what_cannot_be_searched_in_linear_time_is_refused_in_one_line(regex: str) -> None:
    with pytest.raises(ValueError, match="is no regular expression of RE2: ") as caught:
        compile_regex(regex)
    assert "\n" not in str(caught.value)


def test_an_expression_has_a_size() -> None:
    assert compile_regex("(de|en|fr|it|es|pt)/" * 8)
    with pytest.raises(ValueError, match=f"too large: [0-9]+ instructions of {MAX_SIZE} allowed"):
        compile_regex("([ab]*a[ab]{600})")


pieces = st.sampled_from(["a", "b", ".", "a*", "b+", "(a|b)", "[^a]", "a?", "^", "$", "(ab)*", "/", r"\d", "[a-c]{2}"])


@settings(deadline=None, derandomize=True, max_examples=300)
@given(st.lists(pieces, min_size=1, max_size=6).map("".join), st.binary(max_size=8) | st.text("ab/1", max_size=9))
def test_finds_what_python_finds(regex: str, text: bytes | str) -> None:
    text = text.encode() if isinstance(text, str) else text.replace(b"\n", b"")
    ours, theirs = compile_regex(regex).search(text), re.search(regex.encode(), text)
    assert (ours is None) == (theirs is None)
    if ours is not None and theirs is not None:
        assert ours[0] == theirs[0]
