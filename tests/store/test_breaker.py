"""The circuit breaker: SPEC section 10."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from caching_proxy.store.breaker import Breaker, Phase

CLOSED, OPEN, HALF_OPEN = Phase.CLOSED, Phase.OPEN, Phase.HALF_OPEN
Step = tuple[str, float, object, Phase]
"""What is called, when, what it returns, and the phase after it."""

TRIP: list[Step] = [
    ("failure", 0, None, CLOSED),
    ("failure", 1, None, CLOSED),
    ("failure", 2, OPEN, OPEN),
]


@pytest.mark.parametrize(
    "steps",
    [
        pytest.param([("allow", 0, True, CLOSED), ("success", 0, None, CLOSED)], id="closed"),
        pytest.param([*TRIP, ("allow", 6.9, False, OPEN)], id="trips"),
        pytest.param(
            [("failure", 0, None, CLOSED), ("failure", 0, None, CLOSED), ("success", 0, None, CLOSED), *TRIP],
            id="success-resets-the-count",
        ),
        pytest.param([*TRIP, ("allow", 7, True, HALF_OPEN), ("allow", 7, False, HALF_OPEN)], id="one-probe"),
        pytest.param(
            [*TRIP, ("allow", 7, True, HALF_OPEN), ("success", 8, CLOSED, CLOSED), ("allow", 8, True, CLOSED)],
            id="probe-succeeds",
        ),
        pytest.param(
            [*TRIP, ("allow", 7, True, HALF_OPEN), ("success", 7, CLOSED, CLOSED), *TRIP],
            id="count-starts-anew-after-recovery",
        ),
        pytest.param(
            [
                *TRIP,
                ("allow", 7, True, HALF_OPEN),
                ("failure", 8, OPEN, OPEN),
                ("allow", 12.9, False, OPEN),
                ("allow", 13, True, HALF_OPEN),
            ],
            id="probe-fails",
        ),
        pytest.param(
            [
                *TRIP,
                ("allow", 7, True, HALF_OPEN),
                ("abandoned", 8, None, HALF_OPEN),
                ("allow", 8, True, HALF_OPEN),
                ("allow", 8, False, HALF_OPEN),
            ],
            id="probe-abandoned",
        ),
        pytest.param(
            [
                *TRIP,
                ("allow", 7, True, HALF_OPEN),
                ("allow", 11.9, False, HALF_OPEN),
                ("allow", 12, True, HALF_OPEN),
                ("allow", 16.9, False, HALF_OPEN),
            ],
            id="probe-lost",
        ),
        pytest.param(
            [
                *TRIP,
                ("success", 3, None, OPEN),
                ("failure", 6, None, OPEN),
                ("abandoned", 6, None, OPEN),
                ("allow", 7, True, HALF_OPEN),
            ],
            id="late-reports",
        ),
        pytest.param([("abandoned", 0, None, CLOSED), *TRIP], id="abandoned-while-closed"),
        pytest.param(
            [("failure", 0, None, CLOSED), ("abandoned", 0, None, CLOSED), *TRIP[1:]], id="abandoned-proves-nothing"
        ),
    ],
)
def test_story(steps: list[Step]) -> None:
    breaker = Breaker(threshold=3, recovery=5)
    for number, (call, now, returned, phase) in enumerate(steps):
        assert getattr(breaker, call)(now) is returned, number
        assert breaker.phase(now) is phase, number


def test_open_reads_as_half_open_once_a_probe_is_due() -> None:
    breaker = Breaker(threshold=1, recovery=5)
    assert breaker.failure(10) is OPEN
    assert breaker.phase(14.9) is OPEN
    assert breaker.phase(15) is HALF_OPEN
    assert breaker.allow(15)


@pytest.mark.parametrize(("threshold", "recovery"), [(0, 5), (-1, 5), (1, -0.1)])
def test_senseless_settings(threshold: int, recovery: float) -> None:
    with pytest.raises(ValueError, match="threshold"):
        Breaker(threshold, recovery)


class BreakerMachine(RuleBasedStateMachine):
    """Well-behaved callers against a model that keeps the whole history."""

    THRESHOLD, RECOVERY = 3, 10.0

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(self.THRESHOLD, self.RECOVERY)
        self.now = 0.0
        self.row = 0  # consecutive failures since the breaker last closed
        self.opened: float | None = None
        self.probes = 0

    @rule(seconds=st.sampled_from([0.0, 0.5, 4.0, 9.5, 10.0, 30.0]))
    def wait(self, seconds: float) -> None:
        if self.probes == 0:  # a probe always reports within its recovery time here
            self.now += seconds

    @precondition(lambda self: self.probes == 0)
    @rule(result=st.sampled_from(["success", "failure", "abandoned"]))
    def call(self, result: str) -> None:
        allowed = self.breaker.allow(self.now)
        assert allowed is (self.opened is None or self.now - self.opened >= self.RECOVERY)
        if allowed:
            self._report(result)

    @precondition(lambda self: self.opened is not None and self.now - self.opened >= self.RECOVERY)
    @rule()
    def probe(self) -> None:
        assert self.breaker.allow(self.now) is (self.probes == 0)
        self.probes = 1

    @precondition(lambda self: self.probes == 1)
    @rule(result=st.sampled_from(["success", "failure", "abandoned"]))
    def probe_reports(self, result: str) -> None:
        self._report(result)
        self.probes = 0

    def _report(self, result: str) -> None:
        changed = getattr(self.breaker, result)(self.now)
        if result == "success":
            assert (changed is CLOSED) is (self.opened is not None)
            self.row, self.opened = 0, None
        elif result == "failure":
            self.row += 1
            trips = self.opened is not None or self.row >= self.THRESHOLD
            assert (changed is OPEN) is trips
            if trips:
                self.opened = self.now
        else:
            assert changed is None

    @invariant()
    def calm_while_nothing_has_failed(self) -> None:
        assert self.breaker.calm is (self.opened is None and self.row == 0)

    @invariant()
    def phase_fits_the_history(self) -> None:
        if self.opened is None:
            assert self.breaker.phase(self.now) is CLOSED
            assert self.breaker.failures == self.row < self.THRESHOLD
        elif self.now - self.opened >= self.RECOVERY:
            assert self.breaker.phase(self.now) is HALF_OPEN
        else:
            assert self.breaker.phase(self.now) is OPEN


BreakerMachine.TestCase.settings = settings(deadline=None, derandomize=True, max_examples=60, stateful_step_count=40)
TestBreaker = pytest.mark.slow(BreakerMachine.TestCase)
