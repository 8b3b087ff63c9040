"""The whole proxy in memory for each test; no timer may outlive it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from support.whole_proxy import Script, WholeProxy, cacheable


@pytest.fixture
def make_whole() -> Iterator[Callable[..., WholeProxy]]:
    """``make_whole(script, SETTING="value", …)``."""
    made: list[WholeProxy] = []

    def make(script: Script = cacheable, **environment: str) -> WholeProxy:
        made.append(WholeProxy(script, **environment))
        return made[-1]

    yield make
    for proxy in made:
        proxy.stop()


@pytest.fixture
def whole(make_whole: Callable[..., WholeProxy]) -> WholeProxy:
    """With default settings, and a backend whose answers may be shared."""
    return make_whole()
