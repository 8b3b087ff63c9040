"""The collector is made to look less often, and spares what exists already."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from caching_proxy.app.gc_tuning import OLDER, YOUNG, tune_gc


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
    assert gc.get_threshold() == (YOUNG, OLDER, OLDER)
    assert gc.get_freeze_count() > 1000
