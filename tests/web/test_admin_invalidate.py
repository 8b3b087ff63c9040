"""POST /invalidate, and the JSON bodies that it and POST /key take."""

from __future__ import annotations

import pytest
from support.admin_site import BEARER, JSON, Site
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from caching_proxy.http.body import Body
from caching_proxy.web.admin import invalidate


def test_invalidate():
    site = Site()
    request = site.post(b"/invalidate", {"pattern": "cache:GET:*:/api/é*"})
    assert (request.status, request.json["deletedCount"]) == (200, 3)
    assert isinstance(request.json["message"], str)
    assert site.cache.calls == ["cache:GET:*:/api/é*".encode()]


@pytest.mark.parametrize("target", [b"/invalidate", b"/key"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b"\xff",
        b"[" * 60_000,
        b"9" * 60_000,
        b"[]",
        b'"text"',
        b"null",
        b"{}",
        b'{"pattern": "", "key": ""}',
        b'{"pattern": 1, "key": 1}',
        b'{"pattern": null, "key": null}',
        b'{"pattern": ["a"], "key": ["a"]}',
        b'{"pattern": "\\ud800", "key": "\\ud800"}',
    ],
    ids=lambda body: repr(body)[:24],
)
def test_bodies_that_are_refused(target, body):
    site = Site()
    request = site.post(target, body)
    assert (request.status, list(request.json)) == (400, ["error"])
    assert site.cache.calls == []


@pytest.mark.parametrize(
    "asked",
    [
        {"pattern": "x" * 4097},
        {"pattern": "x", "soft": "yes"},
        {"pattern": "x", "soft": None},
        {"tags": ["a"], "soft": 1},
        {"pattern": "x", "tags": ["a"]},
        {"tags": ["x" * 1025]},
    ],
    ids=["long", "soft-text", "soft-null", "soft-number", "both", "long-tag"],
)
def test_invalidations_that_are_refused(asked):
    site = Site()
    assert site.post(b"/invalidate", asked).status == 400
    assert site.cache.calls == []


@pytest.mark.parametrize(
    ("asked", "call"),
    [
        ({"tags": ["a", "b"]}, [b"a", b"b"]),
        ({"tags": ["*", "é", "\udce9"]}, [b"*", b"\xc3\xa9", b"\xe9"]),
        ({"tags": ["a"], "soft": True}, ([b"a"], "soft")),
        ({"pattern": "x", "soft": True}, (b"x", "soft")),
        ({"pattern": "y", "soft": False}, b"y"),
    ],
    ids=["tags", "bytes", "soft-tags", "soft", "hard"],
)
def test_tags_and_soft(asked, call):
    site = Site()
    assert site.post(b"/invalidate", asked).json["deletedCount"] == 3
    assert site.cache.calls == [call]


def test_a_dry_run_by_pattern_counts_and_removes_nothing():
    site = Site()
    site.cache.listed = [b"cache:GET:anonymous:/%d" % number for number in range(150)]
    told = site.post(b"/invalidate", {"pattern": "cache:GET:/*", "dry_run": True}).json
    assert (told["deletedCount"], told["wouldDelete"], len(told["sample"])) == (0, 150, 100)
    assert set(told["sample"]) <= {key.decode() for key in site.cache.listed}
    assert site.cache.calls == [(b"cache:GET:*:/*", None, None), (b"cache:GET:/*", None, None)]
    assert told["message"] == "150 keys that match cache:GET:/* would be invalidated; nothing was"


def test_a_dry_run_by_tags():
    site = Site()
    told = site.post(b"/invalidate", {"tags": ["a", "b"], "soft": True, "dry_run": True}).json
    assert (told["deletedCount"], told["wouldDelete"], len(told["sample"])) == (0, 150, 100)
    assert site.cache.calls == [("tagged", [b"a", b"b"])]


@pytest.mark.parametrize("dry", [1, "true", None])
def test_dry_runs_that_are_refused(dry):
    site = Site()
    assert site.post(b"/invalidate", {"pattern": "x", "dry_run": dry}).status == 400
    assert site.cache.calls == []


@pytest.mark.parametrize("name", ["dry-run", "dryRun", "Soft", "patterns", ""])
def test_a_member_that_is_not_known_is_refused_for_it_may_have_meant_less(name):
    site = Site()
    request = site.post(b"/invalidate", {"pattern": "cache:*", name: True})
    assert (request.status, "is not known here" in request.json["error"]) == (400, True)


def test_a_tally_tells_keys_apart_as_long_as_it_can(monkeypatch):
    monkeypatch.setattr(invalidate, "MOST_TOLD_APART", 3)
    tally = invalidate.Tally()
    for keys in ([b"a", b"b", b"a"], [b"b", b"c", b"d"], [b"a", b"c", b"d"]):
        tally.add(keys)
    assert (tally.count, tally.sample) == (5, [b"a", b"b", b"c", b"d", b"d"])


@pytest.mark.parametrize("tags", [[], "a", [""], [1], None, ["a"] * 1001], ids=lambda tags: repr(tags)[:12])
def test_tags_that_are_refused(tags):
    site = Site()
    assert site.post(b"/invalidate", {"tags": tags}).status == 400
    assert site.cache.calls == []


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        (b"application/json", 200),
        (b"Application/JSON; charset=utf-8", 200),
        (b"text/plain", 415),
        (b"application/x-www-form-urlencoded", 415),
        (b"application/jsonp", 415),
        (None, 415),
    ],
)
def test_posts_must_say_that_they_are_json(content_type, status):
    fields = [BEARER, *([(b"Content-Type", content_type)] if content_type else [])]
    assert Site().ask(b"POST", b"/invalidate", fields, b'{"pattern": "x"}').status == status


def test_large_bodies_are_refused_unread():
    body = Body(65_537)
    assert Site().ask(b"POST", b"/key", [BEARER, JSON], body).status == 413
    assert body.complete is False


def test_large_bodies_without_a_length_are_refused_while_they_arrive():
    body = Body(None)
    request = Site().ask(b"POST", b"/key", [BEARER, JSON], body)
    body.feed(b" " * 65_536)
    assert request.status is None
    body.feed(b" ")
    assert request.status == 413


def test_a_body_that_arrives_later_and_its_100_continue():
    body = Body(16)
    request = Site().ask(b"POST", b"/invalidate", [BEARER, JSON, (b"Expect", b"100-Continue")], body)
    assert (request.status, request.continued) == (None, 1)
    body.feed(b'{"pattern": "x"}')
    body.end()
    assert request.status == 200


def test_a_body_that_breaks_off():
    body = Body(16)
    request = Site().ask(b"POST", b"/invalidate", [BEARER, JSON], body)
    body.fail(Failure(ConnectionDone()))
    assert request.status == 400
