"""The fleet on paper: formulas against a fleet that is played request by request, and the document against both."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.scaling import HOT_SECONDS, hot_ratio, simulate, table

SCALING = Path(__file__).resolve().parents[2] / "docs" / "scaling.md"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("proxies", "keys", "rate", "entries"),
    [(1, 2000, 1000, 5000), (4, 5000, 1000, 300), (10, 20_000, 2000, 2000), (2, 50_000, 1500, 100)],
)
def test_the_formula_is_what_comes_of_it(proxies: int, keys: int, rate: float, entries: int) -> None:
    played = simulate(proxies, keys, rate, HOT_SECONDS, entries)
    assert hot_ratio(keys, rate / proxies, entries) == pytest.approx(played, abs=0.03)


def test_the_document_holds_the_table() -> None:
    assert table() in SCALING.read_text()
