"""The collector is made to look less often, and spares what exists already."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from caching_proxy.app.gc_tuning import MIDDLE, OLD, YOUNG, tune_gc


@pytest.fixture
def collector() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


@pytest.mark.usefixtures("collector")
@pytest.mark.slow
def test_what_exists_is_spared_and_the_rest_is_looked_at_less_often() -> None:
    tune_gc()
    assert gc.get_threshold() == (YOUNG, MIDDLE, OLD)
    assert gc.get_freeze_count() > 1000


@pytest.mark.usefixtures("collector")
@pytest.mark.slow
def test_no_look_before_that_at_everything_has_many_objects_before_it() -> None:
    looked_at: list[int] = []

    def look(phase: str, info: dict[str, int]) -> None:
        if phase == "start" and info["generation"] < 2:
            looked_at.append(sum(len(gc.get_objects(generation)) for generation in range(info["generation"] + 1)))

    tune_gc()
    gc.callbacks.append(look)
    try:
        kept = [[number] for number in range(20 * YOUNG)]
    finally:
        gc.callbacks.remove(look)
    assert len(kept) == 20 * YOUNG
    assert len(looked_at) >= 10
    assert max(looked_at) < 4 * YOUNG
