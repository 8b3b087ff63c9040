"""Pools on a server in memory; stopping them may leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from support.redis_in_memory import Rig


@pytest.fixture
def rigs() -> Iterator[Callable[..., Rig]]:
    """Makes rigs, and checks of each in the end that stopping leaves nothing."""
    from support.redis_in_memory import Rig  # at the top, txredisapi would choose a reactor before pytest-twisted does

    made: list[Rig] = []

    def make(**options: Any) -> Rig:
        made.append(Rig(**options))
        return made[-1]

    yield make
    for rig in made:
        rig.finish()
