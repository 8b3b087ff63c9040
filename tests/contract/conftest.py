"""Every store that the contract is tried on: those in memory, the example, and servers that are started for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import pytest_twisted

if TYPE_CHECKING:
    from support.store_subject import Subject


@pytest.fixture(
    params=[
        "memory",
        "guarded",
        pytest.param("directory", marks=pytest.mark.slow),
        *(pytest.param(kind, marks=pytest.mark.live) for kind in ("redis", "redis-unix", "redis-sought", "cluster")),
    ]
)
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    from support.store_subject import subject_of  # at the top, it would choose a reactor before pytest-twisted does

    made = subject_of(request, tmp_path)
    pytest_twisted.blockon(made.store.start())
    yield made
    pytest_twisted.blockon(made.store.stop())
