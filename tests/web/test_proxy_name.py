"""The name that the proxy goes by on the wire."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.whole_proxy import WholeProxy


@pytest.fixture
def proxy() -> Iterator[WholeProxy]:
    whole = WholeProxy(PROXY_NAME="edge-1")
    yield whole
    whole.stop()


def test_Z6_the_name_in_via_and_cache_status(proxy: WholeProxy) -> None:
    miss, hit = proxy.get("/x"), proxy.get("/x")
    assert proxy.backend.requests[0].all("via") == [b"1.1 edge-1"]
    assert miss.all("cache-status") == [b"edge-1; fwd=uri-miss; ttl=60; stored"]
    assert hit.all("cache-status") == [b"edge-1; hit; ttl=60"]


def test_Z6_a_loop_is_known_by_the_name(proxy: WholeProxy) -> None:
    assert proxy.get("/x", b"Via: 1.1 edge-1").status == 508
    assert proxy.backend.requests == []
    assert proxy.get("/x", b"Via: 1.1 caching-proxy").status == 200
