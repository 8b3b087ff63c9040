"""Which clients are dropped because too much is kept for slow ones."""

from __future__ import annotations

import pytest

from caching_proxy.rules.slow_readers import KEPT_BYTES, SLOW_SECONDS, SLOWEST_RATE, too_slow

RATE = SLOWEST_RATE


@pytest.mark.parametrize(
    ("rate", "kept", "dropped"),
    [
        (0, KEPT_BYTES, False),
        (0, KEPT_BYTES + 1, True),
        (RATE - 1, KEPT_BYTES + 1, True),
        (RATE + 1, KEPT_BYTES + 1, False),
        (RATE * 4 - 1, KEPT_BYTES * 2, True),
        (RATE * 4, KEPT_BYTES * 2, False),
        (RATE * 99, KEPT_BYTES * 10, True),
        (RATE * 100, KEPT_BYTES * 10, False),
    ],
)
def test_the_rate_asked_for_grows_with_what_is_kept(rate: int, kept: int, dropped: bool) -> None:
    for seconds in (SLOW_SECONDS, SLOW_SECONDS * 7):
        assert too_slow(int(rate * seconds), seconds, kept) is dropped
    assert not too_slow(0, SLOW_SECONDS - 0.01, kept)
