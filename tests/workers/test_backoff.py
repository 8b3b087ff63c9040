"""When a worker that died is started again."""

from __future__ import annotations

import pytest

from caching_proxy.workers.backoff import MOST_SECONDS, SHORT_SECONDS, Backoff

SHORT, LONG = SHORT_SECONDS / 2, SHORT_SECONDS


@pytest.mark.parametrize(
    ("lives", "waits"),
    [
        ([LONG], [0]),
        ([LONG] * 5, [0] * 5),
        ([SHORT], [0]),
        ([SHORT] * 6, [0, 0.25, 0.5, 1, 2, 4]),
        ([SHORT, SHORT, SHORT, LONG, SHORT, SHORT], [0, 0.25, 0.5, 0, 0, 0.25]),
        ([0.0, SHORT_SECONDS - 0.001], [0, 0.25]),
    ],
)
def test_waits(lives: list[float], waits: list[float]) -> None:
    backoff = Backoff()
    assert [backoff.died(lived) for lived in lives] == waits


def test_it_never_waits_longer_than_the_bound() -> None:
    backoff = Backoff()
    waits = [backoff.died(0) for _ in range(10_000)]
    assert max(waits) == waits[-1] == MOST_SECONDS
    assert waits == sorted(waits)
