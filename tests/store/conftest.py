"""Pools on a server in memory; stopping them may leave nothing behind. A store on a real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
import pytest_twisted

if TYPE_CHECKING:
    from support.redis_in_memory import Rig
    from support.redis_server import RedisServer

    from caching_proxy.store.redis.store import RedisStore


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


@pytest.fixture
def store(redis_server: RedisServer) -> Iterator[RedisStore]:
    from support.redis_stores import SMALL_POOL, built  # not at the top, as above

    made = built(redis_server.url, SMALL_POOL)
    pytest_twisted.blockon(made.start())
    yield made
    pytest_twisted.blockon(made.stop())
