"""The limit on open files against the settings."""

from __future__ import annotations

import resource

import pytest

from caching_proxy.app import descriptors
from caching_proxy.app.descriptors import fitted, raised_limit
from caching_proxy.settings.load import load


def settings(**environment: str):
    return load({"BACKEND_URL": "http://a", **environment}, {}, {})[0]


def test_what_fits_stays_as_it_is() -> None:
    asked = settings()
    assert fitted(asked, None) == (asked, ())
    assert fitted(asked, 1 << 20) == (asked, ())


def test_what_does_not_fit_is_cut_with_a_warning_that_names_it() -> None:
    made, [warning] = fitted(settings(), 1024)
    assert made.max_connections == 892
    assert made.backend_max_connections == 100
    assert warning.startswith("MAX_CONNECTIONS is 20000, but only 892 fit")
    assert "1024" in warning


def test_store_and_admin_port_are_counted() -> None:
    made, _ = fitted(settings(CACHE_URL="redis://h", ADMIN_PORT="1", REDIS_POOL_MAX="20"), 1024)
    assert made.max_connections == 1024 - 32 - 100 - 24 - 32


def test_where_there_is_little_the_backend_is_cut_as_well() -> None:
    made, warnings = fitted(settings(), 64)
    assert (made.max_connections, made.backend_max_connections) == (16, 16)
    assert [line.split()[0] for line in warnings] == ["MAX_CONNECTIONS", "BACKEND_MAX_CONNECTIONS"]


INFINITE = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("limits", "allowed", "found", "asked"),
    [
        ((100, 200), True, 200, [(200, 200)]),
        ((100, 200), False, 100, [(200, 200)]),
        ((200, 200), True, 200, []),
        ((100, INFINITE), True, None, [(INFINITE, INFINITE)]),
        ((100, INFINITE), False, 100, [(INFINITE, INFINITE)]),
    ],
)
def test_the_soft_limit_is_raised_where_that_is_allowed(monkeypatch, limits, allowed, found, asked) -> None:
    tried = []

    def set_limit(_, pair) -> None:
        tried.append(pair)
        if not allowed:
            raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(descriptors.resource, "getrlimit", lambda _: limits)
    monkeypatch.setattr(descriptors.resource, "setrlimit", set_limit)
    assert raised_limit() == found
    assert tried == asked


@pytest.mark.parametrize(("url", "pools"), [("memory", 0), ("redis+sentinel://a,b/m", 1), ("redis+cluster://a", 3)])
def test_each_master_has_a_pool(url: str, pools: int) -> None:
    made, _ = fitted(settings(CACHE_URL=url, REDIS_POOL_MAX="20"), 1024)
    without, _ = fitted(settings(CACHE_URL=url, REDIS_POOL_MAX="10"), 1024)
    lost = without.max_connections + without.backend_max_connections
    assert lost - made.max_connections - made.backend_max_connections == 10 * pools
