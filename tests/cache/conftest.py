"""A proxy in memory for each test; nothing may be left under way at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from support.memory_proxy import MemoryProxy


@pytest.fixture
def make_proxy() -> Iterator[Callable[..., MemoryProxy]]:
    """Makes proxies with the settings of :class:`CachePolicy` as keywords; ``default_ttl`` is 0."""
    made: list[MemoryProxy] = []

    def make(**policy: Any) -> MemoryProxy:
        made.append(MemoryProxy(**policy))
        return made[-1]

    yield make
    for proxy in made:
        proxy.store.release()
        assert proxy.quiet, f"left open: {list(proxy.key_state)}"


@pytest.fixture
def proxy(make_proxy: Callable[..., MemoryProxy]) -> MemoryProxy:
    return make_proxy()
