"""Nothing of the backend's is stored where it would answer for an endpoint of the proxy's own."""

from __future__ import annotations

import pytest

NAMES = ["health", "metrics", "invalidate", "keys", "key"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("query", ["", "?", "?x=1", "?/"])
def test_the_backends_answer_for_the_name_with_a_slash_is_never_shared(whole, name, query):
    path, slashed = f"/{name}{query}", f"/{name}/{query}"
    for method in (b"GET", b"HEAD", b"GET"):
        assert whole.get(slashed, method=method).cache == "BYPASS"
    assert not whole.get(path).body.startswith(b"for ")
    assert not whole.keys
    assert len(whole.backend.requests) == 3


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize("target", [b"/health", b"/health?x", b"http://proxy.test/health"])
def test_pipelined_and_in_absolute_form_it_is_the_same(whole, target, version):
    client = whole.client()
    line = b"GET %b HTTP/%b\r\nHost: proxy.test\r\nConnection: keep-alive\r\n\r\n"
    answers = client.ask(b"".join(line % (one, version) for one in (b"/health/", b"/health/", target)))
    assert [answer.body.startswith(b"for /health/") for answer in answers] == [True, True, False]
    again = client.ask(line % (b"/health/", version) + line % (target, version))
    assert [answer.cache for answer in again] == ["BYPASS", None]


def test_what_an_older_version_stored_is_not_looked_up(whole, make_whole):
    free = make_whole(ADMIN_PORT="0")
    assert [free.get("/health/").cache, free.get("/health/").cache] == ["MISS", "HOT_HIT"]
    stored = []
    free.proxy.store.lookup(free.keys[0]).addCallback(stored.append)
    [(field, value)] = stored[0].variants.items()
    whole.proxy.store.put(free.keys[0], field, value, 60_000)
    assert whole.get("/health/").cache == "BYPASS"


@pytest.mark.parametrize("name", NAMES)
def test_on_a_port_of_their_own_the_names_are_the_backends(make_whole, name):
    free = make_whole(ADMIN_PORT="0")
    assert [free.get(f"/{name}").cache, free.get(f"/{name}").cache] == ["MISS", "HOT_HIT"]
    assert free.get(f"/{name}/").body.startswith(b"for ")


def test_names_that_only_look_alike_are_the_backends(whole):
    for path in ("/health//", "//health", "/Health", "/%68ealth", "/health/x", "/healthx", "/x/health", "/health;a"):
        assert [whole.get(path).cache, whole.get(path).cache][1] == "HOT_HIT", path
    assert b"for" not in whole.get("/health").body


def test_the_answer_to_a_post_is_not_stored_there_either(make_whole):
    from support.whole_proxy import ok

    whole = make_whole(
        lambda message: ok(b"posted", b"Cache-Control: max-age=60", b"Content-Location: " + message.target)
    )
    for path in ("/health/", "/keys/", "/x/"):
        whole.get(path, method=b"POST")
    assert [key.rpartition(b":")[2] for key in whole.keys] == [b"/x"]


BELOW = ("/_cache", "/_cache/", "/_cache/stats", "/_cache/none", "/%5fcache/stats", "//_cache/", "/x/../_cache/stats")


@pytest.mark.parametrize("target", BELOW)
@pytest.mark.parametrize("apart", [{}, {"ADMIN_PORT": "0"}], ids=["one port", "two ports"])
def test_what_is_below_the_prefix_never_reaches_the_backend(make_whole, target, apart):
    whole = make_whole(**apart)
    for method in (b"GET", b"HEAD", b"POST", b"DELETE", b"OPTIONS", b"GET"):
        answer = whole.get(target, method=method)
        assert answer.cache is None
        assert answer.status in ({404} if apart else {403, 404, 405, 200, 308}), method
        assert answer.get("cache-control") == b"no-store"
    upgrade = whole.get(target, b"Upgrade: websocket", b"Connection: upgrade", b"Sec-WebSocket-Key: x")
    assert upgrade.status != 101
    assert (whole.backend.requests, whole.keys) == ([], [])


def test_names_below_the_prefix_that_nobody_has_are_json(whole):
    for target in ("/_cache/none", "/_cache/stats/", "/_cache/stats/x", "/_cache/STATS", "/%5fcache/stats"):
        answer = whole.get(target)
        assert (answer.status, answer.json()) == (404, {"error": "there is no such endpoint"}), target


def test_wrong_methods_below_the_prefix_say_which_are_right(whole):
    for target, allowed in (("/_cache/stats", b"GET, HEAD"), ("/_cache/events", b"GET, HEAD")):
        answer = whole.get(target, method=b"PUT")
        assert (answer.status, answer.get("allow")) == (405, allowed)


def test_what_a_backend_names_below_the_prefix_is_not_stored(make_whole):
    from support.whole_proxy import ok

    named = b"Content-Location: /_cache/stats"
    whole = make_whole(lambda message: ok(b"posted", b"Cache-Control: max-age=60", named, b"Location: /_cache/x"))
    whole.get("/x", method=b"POST")
    whole.get("/y")
    assert [key.rpartition(b":")[2] for key in whole.keys] == [b"/y"]
