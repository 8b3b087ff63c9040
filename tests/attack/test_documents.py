"""The tests that the security document names are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "security.md"
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", DOCUMENT.read_text())))


@pytest.mark.parametrize(("file", "name"), NAMED, ids=[name for _, name in NAMED])
def test_a_named_test_exists(file, name):
    assert re.search(rf"^def {name}\(", (ROOT / file).read_text(), re.MULTILINE)


def test_every_invariant_has_tests():
    parts = re.split(r"\n\*\*(\d+)\. ", DOCUMENT.read_text().split("## Fuzzing")[0])
    assert [int(number) for number in parts[1::2]] == list(range(1, 11))
    assert all("`tests/" in text for text in parts[2::2])
