"""What is the proxy's own by its path, however it is written."""

from __future__ import annotations

import pytest

from caching_proxy.rules.key import KeyPolicy
from caching_proxy.rules.own_prefix import under_own_prefix

OWN = (
    *(b"/_cache", b"/_cache/", b"/_cache?x", b"/_cache/stats", b"/_cache/stats?x=/y", b"/_cache/no/such/thing"),
    *(b"/%5fcache/stats", b"/%5Fcache", b"/_c%61che/x", b"/%5f%63%61%63%68%65", b"/_cache%2fstats", b"/_cache%2Fstats"),
    *(b"//_cache/stats", b"/%2f_cache", b"/\\_cache\\stats", b"/%5c_cache", b"/_cache%5cstats"),
    *(b"/./_cache/", b"/x/../_cache/stats", b"/x/%2e%2e/_cache", b"/x/..;a=1/_cache", b"/_cache;a=1/stats"),
    *(b"/_cache/../x", b"/_cache/..", b"/./%5fcache;x"),
)
OTHERS = (
    *(b"/", b"/x", b"/_cached", b"/_cach", b"/_cach%65d", b"/x/_cache", b"/x/_cache/stats", b"/x?/_cache/", b"*"),
    *(b"/_Cache/", b"/cache/", b"/_%63%61", b"/%255fcache/", b"/_cache%3fx", b"/x%2f_cache", b"/x/y/../_cache", b"/%"),
)


@pytest.mark.parametrize("target", OWN)
def test_own(target: bytes) -> None:
    assert under_own_prefix(target)
    assert KeyPolicy().reserves(target)


@pytest.mark.parametrize("target", OTHERS)
def test_not_own(target: bytes) -> None:
    assert not under_own_prefix(target)
    assert not KeyPolicy().reserves(target)
