"""Health, readiness and metrics, and what all admin endpoints do about methods, failures and clients that leave."""

from __future__ import annotations

import pytest
from support.admin_site import BEARER, GUARDED, JSON, Cache, Request, Site
from twisted.internet.defer import Deferred, fail, succeed
from twisted.web.server import NOT_DONE_YET

from caching_proxy.interfaces import StoreUnavailable
from caching_proxy.web.admin.endpoints import ReadyReport, admin_children
from caching_proxy.web.admin.json_answers import not_found
from caching_proxy.web.dashboard.resources import FileResource


def test_health():
    request = Site().ask(b"GET", b"/health")
    assert (request.status, request.json) == (200, {"status": "ok", "timestamp": "2023-11-14T22:13:20.500Z"})
    assert request.fields[b"cache-control"] == b"no-store"
    assert request.fields[b"x-content-type-options"] == b"nosniff"
    assert request.finished == 1


@pytest.mark.parametrize(
    ("report", "status", "text"),
    [
        (ReadyReport(), 200, "ok"),
        (ReadyReport(store="unreachable"), 200, "degraded"),
        (ReadyReport(breaker="open"), 200, "degraded"),
        (ReadyReport(backend="unreachable"), 503, "unavailable"),
        (ReadyReport(draining=True), 503, "draining"),
    ],
    ids=["ok", "no-store", "breaker", "no-backend", "draining"],
)
def test_ready(report, status, text):
    site = Site()
    site.cache.report = succeed(report)
    request = site.ask(b"GET", b"/ready")
    expected = {"status": text, "backend": report.backend, "store": report.store, "breaker": report.breaker}
    assert (request.status, request.json) == (status, expected)


def test_with_a_redis_readiness_shows_how_invalidations_fare():
    site = Site()
    site.cache.report = succeed(ReadyReport(bus="late", pending=3))
    shown = site.ask(b"GET", b"/ready").json
    assert (shown["bus"], shown["pendingInvalidations"], shown["status"]) == ("late", 3, "ok")


def test_ready_is_bounded_in_time():
    site = Site()
    site.cache.report = Deferred()
    request = site.ask(b"GET", b"/ready")
    site.cache.clock.advance(4.9)
    assert request.status is None
    site.cache.clock.advance(0.1)
    assert (request.status, request.json["status"]) == (503, "unavailable")


@pytest.mark.parametrize(
    ("accept", "content_type", "end"),
    [
        (None, b"text/plain; version=0.0.4; charset=utf-8", b"\n"),
        (b"application/openmetrics-text", b"application/openmetrics-text; version=1.0.0; charset=utf-8", b"# EOF\n"),
    ],
    ids=["text", "openmetrics"],
)
def test_metrics(accept, content_type, end):
    request = Site().ask(b"GET", b"/metrics", [(b"Accept", accept)] if accept else [])
    assert (request.status, request.fields[b"content-type"]) == (200, content_type)
    assert b"\n# TYPE http_request_duration_seconds histogram\n" in request.written
    assert request.written.endswith(end)


@pytest.mark.parametrize("target", [b"/health", b"/ready", b"/metrics", b"/keys"])
def test_head_is_a_get_without_the_body(target):
    request = Site().ask(b"HEAD", target, [BEARER])
    assert (request.status, request.written, request.finished) == (200, b"", 1)
    assert int(request.fields[b"content-length"]) > 0


@pytest.mark.parametrize(
    ("method", "target", "allow"),
    [
        (b"POST", b"/health", b"GET, HEAD"),
        (b"DELETE", b"/ready", b"GET, HEAD"),
        (b"OPTIONS", b"/metrics", b"GET, HEAD"),
        (b"X-FROB", b"/keys", b"GET, HEAD"),
        (b"GET", b"/invalidate", b"POST"),
        (b"HEAD", b"/key", b"POST"),
        (b"OPTIONS", b"/invalidate", b"POST"),
    ],
)
def test_other_methods(method, target, allow):
    request = Site().ask(method, target)
    assert (request.status, request.fields[b"allow"]) == (405, allow)
    assert method == b"HEAD" or "error" in request.json


def test_unknown_paths_are_json_too():
    request = Request(b"GET", b"/nothing")
    assert not_found(request) == NOT_DONE_YET
    assert (request.status, list(request.json)) == (404, ["error"])


@pytest.mark.parametrize(("method", "target"), GUARDED)
def test_a_store_that_fails(method, target):
    site = Site()
    site.cache.answer = fail(StoreUnavailable("breaker open"))
    site.cache.listed = site.cache.held = site.cache.answer
    body = b'{"pattern": "x"}' if target == b"/invalidate" else b'{"key": "x"}'
    request = site.ask(method, target, [BEARER, JSON], body)
    assert (request.status, next(iter(request.json))) == (503, "error")
    assert ("memory was cleared" in request.json["error"]) is (target == b"/invalidate")


def test_a_fault_is_a_500_without_details(monkeypatch):
    failures = []
    monkeypatch.setattr("caching_proxy.web.admin.json_answers._log.failure", lambda *args: failures.append(args))
    site = Site()
    site.cache.answer = fail(RuntimeError("secret details"))
    request = site.post(b"/invalidate", {"pattern": "x"})
    assert (request.status, request.json) == (500, {"error": "internal error"})
    assert len(failures) == 1


def test_a_client_that_leaves_stops_a_listing_but_not_an_invalidation():
    site = Site()
    site.cache.listed, site.cache.answer = Deferred(), Deferred()
    listing = site.begin(Request(b"GET", b"/keys", [BEARER]))
    removing = site.begin(Request(b"POST", b"/invalidate", [BEARER, JSON], b'{"pattern": "x"}'))
    listing.leave()
    removing.leave()
    assert (site.cache.listed.called, site.cache.answer.called) == (True, False)
    site.cache.answer.callback(1)
    assert listing.finished == removing.finished == 0


def test_every_endpoint_has_a_child():
    plain = {b"health", b"ready", b"metrics", b"invalidate", b"keys", b"key"}
    below = {b"_cache", b"_cache/stats", b"_cache/events", b"_cache/why", b"_cache/openapi.json"}
    named = {name for name, child in admin_children(Cache().services()).items() if not isinstance(child, FileResource)}
    assert named == plain | below
