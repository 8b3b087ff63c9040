"""Reading ``.env``."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caching_proxy.settings import dotenv

LINES = [
    ("A=1", "1"),
    ("A='one # two'", "one # two"),
    ('A="one # two" # three', "one # two"),
    ("A=one # two", "one"),
    ("A=one#two", "one#two"),
    ("export A=1", "1"),
    ("A = 1", "1"),
    ("A=$HOME/${X}", "$HOME/${X}"),
    ("A=1\r\n", "1"),
    ("\ufeffA=1", "1"),
    ("A=0\nA=1", "1"),
    ("A=http://x/?a=b", "http://x/?a=b"),
]


@pytest.mark.parametrize(("text", "value"), LINES, ids=[repr(text) for text, _ in LINES])
def test_values(text: str, value: str) -> None:
    assert dotenv.parse(text) == ({"A": value}, ())


def test_a_broken_line_is_named_and_not_shown() -> None:
    values, warnings = dotenv.parse("A=1\nB='secret\nC=3\n")
    assert values["A"] == "1"
    assert warnings[0].startswith(".env line 2 ")
    assert "secret" not in "".join(warnings)


def test_no_file(tmp_path: Path) -> None:
    assert dotenv.read(tmp_path / ".env") == ({}, ())


def test_a_directory(tmp_path: Path) -> None:
    assert dotenv.read(tmp_path) == ({}, ())


def test_a_file_that_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_bytes(b"#" * (dotenv.LIMIT + 1))
    assert "larger than" in dotenv.read(path)[1][0]


def test_bytes_that_are_not_utf_8_survive(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_bytes(b"A='\xff'\n")
    assert dotenv.read(path)[0]["A"].encode("utf-8", "surrogateescape") == b"\xff"


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.text(alphabet="A=1'\"#\\\n $", max_size=40))
def test_never_raises(text: str) -> None:
    values, warnings = dotenv.parse(text)
    assert all(isinstance(value, str) for value in values.values())
    assert all(warning.startswith(".env line ") for warning in warnings)
