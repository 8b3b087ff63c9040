"""What a real proxy on the embedded store answers from its cache, to whom, and how it says so."""

from __future__ import annotations

import datetime
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import jwt
import pytest
from support.live_backend import Exchange, LiveBackend, answer
from support.proxy_process import ProxyProcess, Response, StartProxy, wait_for

pytestmark = pytest.mark.live
OVER_H2 = True

SECRET = "a secret that is long enough for HS256"


@pytest.fixture(scope="module")
def proxy(start_shared: StartProxy, backend: LiveBackend) -> ProxyProcess:
    return start_shared(BACKEND_URL=backend.url, IGNORED_COOKIES="_ga*,theme")


@pytest.fixture(scope="module")
def cool(start_shared: StartProxy, backend: LiveBackend) -> ProxyProcess:
    """Hardly any hot tier."""
    return start_shared(BACKEND_URL=backend.url, HOT_CACHE_TTL_SECONDS="0.2", CLIENT_REFRESH="ignore")


def token(*roles: str, key: str = SECRET, **claims: object) -> dict[str, str]:
    """The fields of a holder of these roles."""
    claims = {"sub": "x", "exp": int(time.time()) + 600, "roles": list(roles), **claims}
    return {"Authorization": "Bearer " + jwt.encode(claims, key, "HS256")}


def statuses(proxy: ProxyProcess, target: str, count: int, fields: dict[str, str] | None = None) -> list[str | None]:
    return [proxy.request("GET", target, fields).cache for _ in range(count)]


def in_parallel(count: int, ask: object) -> list[Response]:
    with ThreadPoolExecutor(count) as pool:
        return [future.result() for future in [pool.submit(ask) for _ in range(count)]]


# -- statuses and fields -------------------------------------------------------------------------------


def test_miss_then_hot_hit_then_hit(cool: ProxyProcess, backend: LiveBackend) -> None:
    first = cool.get("/tiers")
    assert first.cache == "MISS"
    wait_for(lambda: cool.get("/tiers").cache == "HIT", "the hot tier to forget")
    again = cool.get("/tiers")
    assert (again.cache, again.body) == ("HOT_HIT", first.body)
    assert len(backend.seen("/tiers")) == 1


def test_expiry_fields_and_age(proxy: ProxyProcess, backend: LiveBackend) -> None:
    backend.on("/expiry", answer(b"x", 200, ("Cache-Control", "max-age=100"), ("Age", "40")))
    before = time.time()
    first, second = proxy.get("/expiry"), proxy.get("/expiry")
    assert first["X-Cache-Expires-In"] == "60s"
    assert second["X-Cache-Expires-In"] in ("60s", "59s")
    at = datetime.datetime.fromisoformat(second["X-Cache-Expires-At"])
    assert at.tzinfo == datetime.UTC
    assert 59 <= at.timestamp() - before <= 62
    assert second["Age"] in ("40", "41")
    assert second["Cache-Status"].startswith("caching-proxy; hit; ttl=")


def test_default_ttl_and_errors(proxy: ProxyProcess, backend: LiveBackend) -> None:
    backend.on("/missing", answer(b"", 404))
    assert proxy.get("/default")["X-Cache-Expires-In"] == "1800s"
    assert statuses(proxy, "/missing", 2) == ["MISS", "MISS"]
    assert proxy.get("/missing").get("X-Cache-Expires-In") is None


def test_head_is_answered_from_a_stored_get(proxy: ProxyProcess, backend: LiveBackend) -> None:
    got = proxy.get("/head")
    head = proxy.request("HEAD", "/head")
    assert (head.status, head.cache, head.body) == (200, "HOT_HIT", b"")
    assert head["Content-Length"] == str(len(got.body))
    assert len(backend.seen("/head")) == 1


def test_trailing_slash_is_a_variant_and_a_query_another_key(proxy: ProxyProcess) -> None:
    for cache in ("MISS", "HOT_HIT"):
        assert proxy.get("/slash").cache == cache
        assert proxy.get("/slash/").cache == cache
    assert proxy.get("/slash?").cache == "MISS"
    assert proxy.get("/slash?a").cache == "MISS"


def test_revalidated(proxy: ProxyProcess, backend: LiveBackend) -> None:
    def tagged(exchange: Exchange) -> None:
        known = exchange.all("If-None-Match") == ['"v1"']
        exchange.reply(
            b"" if known else b"body", 304 if known else 200, [("ETag", '"v1"'), ("Cache-Control", "max-age=1")]
        )

    backend.on("/tagged", tagged)
    assert proxy.get("/tagged").cache == "MISS"
    answers: list[Response] = []

    def stale() -> bool:
        answers.append(proxy.get("/tagged"))
        return answers[-1].cache != "HOT_HIT"

    wait_for(stale, "the entry to be stale")
    assert (answers[-1].cache, answers[-1].status, answers[-1].body) == ("REVALIDATED", 200, b"body")
    assert proxy.get("/tagged").cache == "HOT_HIT"


def test_a_client_validates_against_the_cache(proxy: ProxyProcess, backend: LiveBackend) -> None:
    backend.on("/etag", answer(b"body", 200, ("ETag", '"e"'), ("Cache-Control", "max-age=60")))
    proxy.get("/etag")
    again = proxy.get("/etag", If_None_Match='"e"')
    assert (again.status, again.cache, again.body) == (304, "HOT_HIT", b"")


def test_stale_while_revalidate(proxy: ProxyProcess, backend: LiveBackend) -> None:
    def versions(exchange: Exchange) -> None:
        fields = [("Cache-Control", "max-age=1, stale-while-revalidate=60"), ("ETag", f'"{exchange.nth}"')]
        exchange.reply(b"%d" % exchange.nth, fields=fields)

    backend.on("/swr", versions)
    assert proxy.get("/swr").body == b"1"
    answers: list[Response] = []

    def stale() -> bool:
        answers.append(proxy.get("/swr"))
        return answers[-1].cache != "HOT_HIT"

    wait_for(stale, "the entry to be stale")
    assert (answers[-1].cache, answers[-1].body) == ("STALE", b"1")
    wait_for(lambda: proxy.get("/swr").body == b"2", "the background validation")


def test_stale_if_error(proxy: ProxyProcess, backend: LiveBackend) -> None:
    fields = [("Cache-Control", "max-age=1, stale-if-error=60"), ("ETag", '"1"')]
    backend.on("/sie", lambda e: e.reply(b"x", 200, fields) if e.nth == 1 else e.reply(b"down", 503))
    assert proxy.get("/sie").cache == "MISS"
    wait_for(lambda: proxy.get("/sie").cache == "STALE", "a stale answer in place of the error")
    assert proxy.get("/sie").body == b"x"


# -- client control ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "field",
    [
        ("Cache-Control", "no-cache"),
        ("Cache-Control", "max-age=0"),
        ("Pragma", "no-cache"),
        ("Cache-Refresh", "true"),
        ("X-Cache-Refresh", "true"),
    ],
    ids=lambda field: f"{field[0]}-{field[1]}".lower(),
)
def test_refresh(proxy: ProxyProcess, cool: ProxyProcess, backend: LiveBackend, field: tuple[str, str]) -> None:
    target = f"/refresh-{field[0]}-{field[1]}"
    proxy.get(target)
    fresh = proxy.request("GET", target, dict([field]))
    assert (fresh.cache, fresh.json()["n"]) == ("REFRESH", 2)
    assert (proxy.get(target).cache, proxy.get(target).json()["n"]) == ("HOT_HIT", 2)
    cool.get(target)
    assert cool.request("GET", target, dict([field])).cache in ("HOT_HIT", "HIT")


def test_no_store_bypasses(proxy: ProxyProcess) -> None:
    assert statuses(proxy, "/no-store", 2, {"Cache-Control": "no-store"}) == ["BYPASS", "BYPASS"]
    assert proxy.get("/no-store").cache == "MISS"


def test_only_if_cached(proxy: ProxyProcess, backend: LiveBackend) -> None:
    assert proxy.get("/only", Cache_Control="only-if-cached").status == 504
    assert backend.seen("/only") == []
    proxy.get("/only")
    assert proxy.get("/only", Cache_Control="only-if-cached").cache == "HOT_HIT"


@pytest.mark.parametrize("directive", ["no-store", "private", "max-age=0, s-maxage=0", "no-cache"])
def test_the_backend_wins_over_the_default(proxy: ProxyProcess, backend: LiveBackend, directive: str) -> None:
    target = f"/backend-{directive.split(',')[0]}"
    backend.on(target, answer(b"x", 200, ("Cache-Control", directive)))
    assert statuses(proxy, target, 2) == ["MISS", "MISS"]


# -- cookies -------------------------------------------------------------------------------------------


def test_cookies(proxy: ProxyProcess, backend: LiveBackend) -> None:
    backend.on("/sets", answer(b"x", 200, ("Set-Cookie", "a=b")))
    assert statuses(proxy, "/sets", 2) == ["MISS", "MISS"]
    assert statuses(proxy, "/cookie", 2, {"Cookie": "session=1"}) == ["BYPASS", "BYPASS"]
    assert statuses(proxy, "/cookie", 2, {"Cookie": "_ga_X=1; theme=dark"}) == ["MISS", "HOT_HIT"]
    assert backend.seen("/cookie")[0]["Cookie"] == "session=1"


def test_a_get_with_a_body_bypasses(proxy: ProxyProcess, backend: LiveBackend) -> None:
    assert proxy.request("GET", "/get-body", {}, b"x").cache == "BYPASS"
    assert backend.seen("/get-body")[0].body == b"x"


# -- roles ---------------------------------------------------------------------------------------------


def who(exchange: Exchange) -> None:
    """Answers with whom it was asked by, and lets everybody who is like that share it."""
    exchange.reply((exchange.all("Authorization") or ["nobody"])[0].encode(), 200, [("Cache-Control", "s-maxage=60")])


def test_isolated_tokens_share_nothing(proxy: ProxyProcess, backend: LiveBackend) -> None:
    backend.on("/isolated", who)
    holders = [token("editor", sub=str(n)) for n in range(3)] + [token("administrator"), {}]
    for expected in ("MISS", "HOT_HIT"):
        for holder in holders:
            answered = proxy.request("GET", "/isolated", holder)
            assert answered.cache == expected
            assert answered.body.decode() == holder.get("Authorization", "nobody")


def test_verified_roles(start_shared: StartProxy, backend: LiveBackend) -> None:
    verifying = start_shared(BACKEND_URL=backend.url, JWT_SECRET=SECRET, JWT_AUDIENCE="us", ADMIN_AUTH="none")

    def ask(fields: dict[str, str], target: str = "/roles") -> str | None:
        return verifying.request("GET", target, fields).cache

    assert ask(token("b", "a", aud="us")) == "MISS"
    assert ask(token("a", "b", aud="us", sub="somebody else")) == "HOT_HIT"
    assert ask(token("a-b", aud="us")) == "MISS"
    assert ask(token("administrator", "a", "b", aud="us")) == "MISS"
    assert ask(token("administrator", aud="us")) == "HOT_HIT"
    assert ask(token("admin", aud="us")) == "MISS"
    assert ask(token(aud="us")) == "MISS"
    assert ask({}) == "MISS"
    refused = [
        token("administrator", aud="us", key="another secret of the same length!!!"),
        token("administrator", aud="them"),
        token("administrator"),
        token("administrator", aud="us", exp=int(time.time()) - 5),
        {"Authorization": "Bearer " + jwt.encode({"roles": ["administrator"]}, None, "none")},
    ]
    assert [ask(fields) for fields in refused] == ["BYPASS"] * 5
    assert backend.seen("/roles")[-1]["Authorization"] == refused[-1]["Authorization"]
    listed = verifying.get("/keys").json()
    assert isinstance(listed, dict)
    assert set(listed["keysByRole"]) == {"a-b", "a%2Db", "admin", "%61dmin", "authenticated", "anonymous"}


def test_trusted_claims(start_shared: StartProxy, backend: LiveBackend) -> None:
    trusting = start_shared(BACKEND_URL=backend.url, JWT_TRUST="trust", JWT_ROLES_CLAIM="realm.roles")
    claims = {"realm": {"roles": ["editor"]}}
    assert trusting.request("GET", "/trust", token(key="any key will do, nobody looks at it", **claims)).cache == "MISS"
    assert trusting.request("GET", "/trust", token(sub="else", **claims)).cache == "HOT_HIT"
    assert trusting.get("/trust").cache == "MISS"
    assert "JWT_TRUST=trust" in trusting.log


def test_opaque_credentials_are_not_anonymous(proxy: ProxyProcess, backend: LiveBackend) -> None:
    basic = {"Authorization": "Basic dTpw"}
    assert statuses(proxy, "/opaque", 2, basic) == ["MISS", "MISS"]
    assert proxy.get("/opaque").cache == "MISS"
    assert proxy.request("GET", "/opaque", basic).cache == "MISS"
    assert len(backend.seen("/opaque")) == 4


# -- single flight -------------------------------------------------------------------------------------


def test_one_fetch_for_many(proxy: ProxyProcess, backend: LiveBackend) -> None:
    go_on = threading.Event()

    def slow(exchange: Exchange) -> None:
        assert go_on.wait(10)
        exchange.reply(b"shared")

    backend.on("/flight", slow)
    threading.Timer(0.5, go_on.set).start()
    answers = in_parallel(30, lambda: proxy.get("/flight"))
    assert {(a.status, a.body) for a in answers} == {(200, b"shared")}
    assert {a.cache for a in answers} <= {"MISS", "HOT_HIT"}
    assert len(backend.seen("/flight")) == 1


def test_a_refused_answer_is_not_shared(proxy: ProxyProcess, backend: LiveBackend) -> None:
    go_on = threading.Event()

    def slow(exchange: Exchange) -> None:
        assert go_on.wait(10)
        exchange.reply(b"%d" % exchange.nth, 200, [("Cache-Control", "private")])

    backend.on("/personal", slow)
    threading.Timer(0.3, go_on.set).start()
    answers = in_parallel(10, lambda: proxy.get("/personal"))
    assert len({a.body for a in answers}) == 10


def test_posts_are_not_merged(proxy: ProxyProcess, backend: LiveBackend) -> None:
    in_parallel(10, lambda: proxy.request("POST", "/posts", {}, b"x"))
    assert len(backend.seen("/posts")) == 10


def test_a_leader_that_leaves_does_not_take_the_others_along(proxy: ProxyProcess, backend: LiveBackend) -> None:
    asked, go_on = threading.Event(), threading.Event()

    def slow(exchange: Exchange) -> None:
        asked.set()
        assert go_on.wait(10)
        exchange.reply(b"shared")

    backend.on("/left", slow)
    leader = socket.create_connection(("127.0.0.1", proxy.port))
    leader.sendall(b"GET /left HTTP/1.1\r\nHost: x\r\n\r\n")
    assert asked.wait(10)
    with ThreadPoolExecutor(5) as pool:
        followers = [pool.submit(proxy.get, "/left") for _ in range(5)]
        time.sleep(0.1)  # nothing outside tells that they wait; if they do not yet, the test is merely easier
        leader.close()
        go_on.set()
        assert {f.result().body for f in followers} == {b"shared"}
    assert len(backend.seen("/left")) <= 2
