"""The fuzzing harnesses, for a moment each: from Hypothesis, from their seeds, and with every case found so far."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzz import harnesses
from fuzz.harnesses import HARNESSES, SEEDS
from hypothesis import given, settings
from hypothesis import strategies as st

from caching_proxy.http.messages import Fields, ResponseHead

REGRESSIONS = Path(__file__).parent / "regressions"
CASES = sorted(path for path in REGRESSIONS.glob("*/*") if path.is_file())


def damaged(seed: bytes) -> st.SearchStrategy[bytes]:
    """``seed`` with up to four of its stretches replaced."""
    place = st.tuples(st.integers(0, len(seed)), st.integers(0, 4), st.binary(max_size=5))

    def build(changes: list[tuple[int, int, bytes]]) -> bytes:
        data = seed
        for at, size, new in changes:
            data = data[:at] + new + data[at + size :]
        return data

    return st.lists(place, max_size=4).map(build)


@pytest.mark.parametrize("name", HARNESSES)
@pytest.mark.slow
def test_fuzz(name):
    @settings(max_examples=150)
    @given(st.one_of(st.binary(max_size=80), *map(damaged, SEEDS[name])))
    def run(data):
        HARNESSES[name](data)

    run()


@pytest.mark.parametrize("name", HARNESSES)
def test_every_parser_has_seeds_that_pass(name):
    for seed in SEEDS[name]:
        HARNESSES[name](seed)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.parent.name}-{case.name}")
def test_what_was_found_once_stays_fixed(case):
    HARNESSES[case.parent.name](case.read_bytes())


def test_a_harness_finds_something(monkeypatch):
    """A parser that lets a NUL through does not pass."""
    sloppy = ResponseHead(200, b"OK", Fields([(b"X", b"a\0b")]))
    monkeypatch.setattr(harnesses, "parse_response_head", lambda data: sloppy)
    with pytest.raises(AssertionError):
        harnesses.response_head(b"x")
