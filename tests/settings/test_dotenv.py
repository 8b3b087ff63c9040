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
    ("A=one#two", "one"),
    ("export A=1", "1"),
    ("A = 1", "1"),
    ("A=$HOME/${X}", "$HOME/${X}"),
    ("A=1\r\n", "1"),
    ("\ufeffA=1", "1"),
    ("A=0\nA=1", "1"),
    ("A=http://x/?a=b", "http://x/?a=b"),
]


NODE = [
    ("A=b", {"A": "b"}),
    ("A= b ", {"A": "b"}),
    ("A = b", {"A": "b"}),
    ("  A=b", {"A": "b"}),
    ("A=", {"A": ""}),
    ("A=''", {"A": ""}),
    ('A=""', {"A": ""}),
    ("A=``", {"A": ""}),
    ("A='b c'", {"A": "b c"}),
    ('A="b c"', {"A": "b c"}),
    ("A=`b c`", {"A": "b c"}),
    ("A=' b '", {"A": " b "}),
    ('A=" b "', {"A": " b "}),
    ("A=b c", {"A": "b c"}),
    ("A=b # c", {"A": "b"}),
    ("A=b#c", {"A": "b"}),
    ("A='b # c'", {"A": "b # c"}),
    ('A="b # c" # d', {"A": "b # c"}),
    ("A=`b # c`", {"A": "b # c"}),
    ("A='b\\nc'", {"A": "b\\nc"}),
    ('A="b\\nc"', {"A": "b\nc"}),
    ('A="b\\rc"', {"A": "b\rc"}),
    ("A=b\\nc", {"A": "b\\nc"}),
    ("A=`b\\nc`", {"A": "b\\nc"}),
    ('A="b\\tc"', {"A": "b\\tc"}),
    ('A="b\\"c"', {"A": 'b\\"c'}),
    ("A='b\\'c'", {"A": "b\\'c"}),
    ("A='b\"c'", {"A": 'b"c'}),
    ('A="b\'c"', {"A": "b'c"}),
    ("A=`b\"'c`", {"A": "b\"'c"}),
    ("export A=b", {"A": "b"}),
    ("export  A='b'", {"A": "b"}),
    ("A: b", {"A": "b"}),
    ("A:b", {}),
    ("A : b", {}),
    ("A: 'b c'", {"A": "b c"}),
    ('A="b\nc"', {"A": "b\nc"}),
    ("A='b\nc'", {"A": "b\nc"}),
    ("A=`b\nc`", {"A": "b\nc"}),
    ("A=b\r\nB=c\r\n", {"A": "b", "B": "c"}),
    ("A=b\rB=c", {"A": "b", "B": "c"}),
    ("A=b\nA=c", {"A": "c"}),
    ("A=$B", {"A": "$B"}),
    ("A=${B}c", {"A": "${B}c"}),
    ("A='$B'", {"A": "$B"}),
    ("A=b\\\\c", {"A": "b\\\\c"}),
    ('A="b\\\\c"', {"A": "b\\\\c"}),
    ("A='b", {"A": "'b"}),
    ('A="b', {"A": '"b'}),
    ("A=b'c'", {"A": "b'c'"}),
    ("A='b'c", {"A": "'b'c"}),
    ("# A=b", {}),
    ("\n\nA=b\n", {"A": "b"}),
    ("A=b=c", {"A": "b=c"}),
    ("A=a:b@c", {"A": "a:b@c"}),
    ("a.b-c=d", {"a.b-c": "d"}),
    ("A", {}),
    ("A=b\n junk\nB=c", {"A": "b", "B": "c"}),
    ("A=\nB=c", {"A": "", "B": "c"}),
    ("A=#b", {"A": ""}),
    ('A={"b": "c"}', {"A": '{"b": "c"}'}),
    ("A=ä\xa0", {"A": "ä"}),
    ("A='b'\u2028B=c", {"A": "b", "B": "c"}),
    ("A=b # c\u2029B=c", {"A": "b", "B": "c"}),
    ("A=b\u2028B=c", {"A": "b\u2028B=c"}),
]
"""Forms, with what Node's dotenv 16 makes of them."""


@pytest.mark.parametrize(("text", "values"), NODE, ids=[repr(text) for text, _ in NODE])
def test_as_nodes_dotenv_reads_it(text: str, values: dict[str, str]) -> None:
    assert dotenv.parse(text)[0] == values


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
