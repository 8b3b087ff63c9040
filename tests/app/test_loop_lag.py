"""The lag of the event loop is what a timer fires too late."""

from __future__ import annotations

import pytest
from twisted.internet.task import Clock

from caching_proxy.app.loop_lag import EVERY_SECONDS, LoopLag


def test_each_timer_tells_how_late_it_was() -> None:
    clock, seen = Clock(), []
    lag = LoopLag(clock, seen.append)
    lag.start()
    clock.advance(EVERY_SECONDS)
    clock.advance(EVERY_SECONDS + 0.4)
    clock.advance(EVERY_SECONDS)
    assert seen == pytest.approx([0, 0.4, 0])
    lag.stop()
    lag.stop()
    assert clock.getDelayedCalls() == []
