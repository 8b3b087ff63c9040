"""Tags and soft invalidations through real proxies: on both stores, and between two proxies on one Redis."""

from __future__ import annotations

import json
from collections.abc import Iterator

import attrs
import pytest
from support.live_backend import LiveBackend, answer
from support.proxy_process import ProxyProcess, StartProxy, wait_for
from support.redis_server import RedisServer
from support.workers import Line, lines, wait_for_workers

pytestmark = pytest.mark.live
OVER_H2 = True

JSON = {"Content-Type": "application/json"}
FRESH = ("Cache-Control", "max-age=900, stale-while-revalidate=60")
RULES = [
    {"post_path_regex": r"^/buy/(\w+)$", "invalidate_tags": ["item-$1"]},
    {"post_path_regex": r"^/look/(\w+)$", "invalidate_tags": ["item-$1"], "soft": True},
]


@attrs.frozen
class Fleet:
    """Proxies on one store, in front of one backend."""

    proxies: list[ProxyProcess]
    backend: LiveBackend
    prefix: str

    @property
    def proxy(self) -> ProxyProcess:
        return self.proxies[0]

    def says(self, target: str, *fields: tuple[str, str], body: bytes = b"one") -> None:
        self.backend.on(self.prefix + target, answer(body, 200, FRESH, *fields))

    def invalidate(self, **asked: object) -> int:
        answered = self.proxy.request("POST", "/invalidate", JSON, json.dumps(asked).encode())
        assert answered.status == 200, answered.body
        told = answered.json()
        assert isinstance(told, dict)
        count = told["deletedCount"]
        assert isinstance(count, int)
        return count


@pytest.fixture(scope="module", params=["memory", "redis"])
def fleet(
    request: pytest.FixtureRequest,
    start_shared: StartProxy,
    backend: LiveBackend,
    shared_redis: RedisServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> Fleet:
    shared_redis.cli("FLUSHALL")
    directory = tmp_path_factory.mktemp("rules")
    (directory / "rules.json").write_text(json.dumps(RULES))
    (directory / "paths.json").write_text('[{"match": "^/shop/", "tags": ["shop"]}]')
    shared = request.param == "redis"
    proxies = [
        start_shared(
            BACKEND_URL=f"{backend.url}/{request.param}",
            CACHE_URL=shared_redis.url if shared else "memory:",
            INVALIDATION_CONFIG=str(directory / "rules.json"),
            CACHE_RULES=str(directory / "paths.json"),
            HOT_CACHE_TTL_SECONDS="600",
            ADMIN_AUTH="none",
        )
        for _ in range(2 if shared else 1)
    ]
    if shared:
        for proxy in proxies:
            wait_for(lambda proxy=proxy: b"bus_subscribed 1" in proxy.get("/metrics").body, "a bus")  # type: ignore[misc]
    return Fleet(proxies, backend, f"/{request.param}")


def fill(fleet: Fleet, *targets: str) -> None:
    """Into the memory of each proxy."""
    for target in targets:
        for proxy in fleet.proxies:
            wait_for(lambda proxy=proxy, target=target: proxy.get(target).cache == "HOT_HIT", target)  # type: ignore[misc]


def test_fields_are_for_the_proxy_alone(fleet: Fleet) -> None:
    fleet.says("/fields", ("Surrogate-Key", "a b"), ("Cache-Tag", "c"))
    for _ in range(3):
        answered = fleet.proxy.get("/fields")
        assert answered.get("Surrogate-Key") is answered.get("Cache-Tag") is None
    assert fleet.proxy.request("HEAD", "/fields").get("Surrogate-Key") is None


def test_exactly_what_carries_them_goes_everywhere(fleet: Fleet) -> None:
    fleet.says("/t1", ("Surrogate-Key", "alpha beta"))
    fleet.says("/t2", ("Cache-Tag", "beta,gamma"))
    fleet.says("/shop/t3")
    fleet.says("/t4", ("Surrogate-Key", "alphabeta"))
    targets = ("/t1", "/t2", "/shop/t3", "/t4")
    fill(fleet, *targets)
    assert fleet.invalidate(tags=["beta", "shop", "al*", "ALPHA"]) == 3
    assert fleet.proxy.get("/t4").cache == "HOT_HIT"
    assert fleet.proxy.get("/t2").cache == "MISS"
    assert fleet.proxy.get("/shop/t3").cache == "MISS"
    assert fleet.invalidate(tags=["beta"]) >= 1
    assert fleet.invalidate(tags=["beta"]) == 0


def test_the_other_proxy_hears_of_it(fleet: Fleet) -> None:
    fleet.says("/heard", ("Surrogate-Key", "heard"), body=b"old")
    fill(fleet, "/heard")
    fleet.says("/heard", ("Surrogate-Key", "heard"), body=b"new")
    assert fleet.invalidate(tags=["heard"]) == 1
    for proxy in reversed(fleet.proxies):
        wait_for(lambda proxy=proxy: proxy.get("/heard").body == b"new", "the new answer")  # type: ignore[misc]


@pytest.mark.parametrize("way", ["tags", "pattern", "rule"])
def test_soft(fleet: Fleet, way: str) -> None:
    target = f"/soft-{way}"
    fleet.says(target, ("Surrogate-Key", f"item-{way}"), body=b"old")
    fill(fleet, target)
    fleet.says(target, ("Surrogate-Key", f"item-{way}"), body=b"new")
    if way == "rule":
        assert fleet.proxy.request("POST", "/look/rule").status == 200
    else:
        asked: dict[str, object] = {"tags": [f"item-{way}"]} if way == "tags" else {"pattern": f"cache:*:{target}"}
        assert fleet.invalidate(soft=True, **asked) == 1
    seen: list[tuple[str | None, bytes]] = []

    def asked_at_the_last() -> bool:
        answered = fleet.proxies[-1].get(target)
        seen.append((answered.cache, answered.body))
        return answered.cache not in ("HOT_HIT", "HIT")

    wait_for(asked_at_the_last, "news of the invalidation")
    # a rule is carried out behind the answer: what reads the store in the middle of it believes nothing, and fetches
    assert seen[-1] in [("STALE", b"old"), *([("MISS", b"new")] if way == "rule" else [])]
    for proxy in fleet.proxies:
        wait_for(lambda proxy=proxy: proxy.get(target).body == b"new", "what was fetched behind it")  # type: ignore[misc]


def test_a_rule_with_a_captured_tag(fleet: Fleet) -> None:
    for name in ("ink", "pen"):
        fleet.says(f"/{name}", ("Cache-Tag", f"item-{name}"))
    fill(fleet, "/ink", "/pen")
    assert fleet.proxy.request("POST", "/buy/ink").status == 200
    wait_for(lambda: fleet.proxy.get("/ink").cache == "MISS", "a miss")
    assert fleet.proxy.get("/pen").cache == "HOT_HIT"


HOSTILE: list[tuple[str, tuple[tuple[str, str], ...], str | None]] = [
    ("ten-thousand", (("Surrogate-Key", " ".join(map(str, range(10_000)))),), None),
    ("long", (("Cache-Tag", "x" * 2000),), None),
    ("glob", (("Surrogate-Key", "* ?[a] \\"),), "*"),
    ("latin-1", (("Surrogate-Key", "caf\xe9"),), "caf\udce9"),
    ("empty", (("Surrogate-Key", ""), ("Cache-Tag", " ,, ")), ""),
    ("twice", (("Cache-Tag", "d1"), ("Cache-Tag", "d2,d1"), ("Surrogate-Key", "d3")), "d2"),
]


@pytest.mark.parametrize(("name", "fields", "tag"), HOSTILE, ids=[name for name, _, _ in HOSTILE])
def test_hostile_fields(fleet: Fleet, name: str, fields: tuple[tuple[str, str], ...], tag: str | None) -> None:
    """None: too much of them, so it is not stored; empty: there is no tag at all."""
    target = f"/hostile-{name}"
    fleet.says(target, *fields)
    seen = [fleet.proxy.get(target).cache for _ in range(3)]
    assert seen[1:] == (["MISS", "MISS"] if tag is None else ["HOT_HIT", "HOT_HIT"])
    if tag:
        assert fleet.invalidate(tags=[tag]) == 1
        assert fleet.proxy.get(target).cache == "MISS"


@pytest.mark.parametrize("tags", [[], [""], ["x" * 1025], [1], "a", ["a"] * 1001, None])
def test_tags_that_are_refused(fleet: Fleet, tags: object) -> None:
    assert fleet.proxy.request("POST", "/invalidate", JSON, json.dumps({"tags": tags}).encode()).status == 400


# -- dry runs


@pytest.mark.parametrize("by", [{"pattern": "cache:GET:/dry/*"}, {"tags": ["dry", "none"]}], ids=["pattern", "tags"])
@pytest.mark.parametrize("soft", [False, True])
def test_a_dry_run_removes_nothing(fleet: Fleet, by: dict[str, object], soft: bool) -> None:
    targets = [f"/dry/{number}" for number in range(5)]
    for target in targets:
        fleet.says(target, ("Cache-Tag", "dry"))
    fill(fleet, *targets)
    words = {**by, "soft": soft, "dry_run": True}
    answered = fleet.proxy.request("POST", "/invalidate", JSON, json.dumps(words).encode())
    told = answered.json()
    assert isinstance(told, dict)
    assert (told["deletedCount"], told["wouldDelete"]) == (0, 5)
    assert sorted(told["sample"]) == [f"cache:GET:anonymous:{target}" for target in targets]
    assert [fleet.proxy.get(target).cache for target in targets] == ["HOT_HIT"] * 5


# -- several workers

WORKERS = 2


@pytest.fixture(scope="module", params=["memory", "redis"])
def each(
    request: pytest.FixtureRequest, start_shared: StartProxy, backend: LiveBackend, shared_redis: RedisServer
) -> Iterator[list[Line]]:
    """A connection to each worker."""
    proxy = start_shared(
        BACKEND_URL=f"{backend.url}/workers-{request.param}",
        WORKERS=str(WORKERS),
        CACHE_URL="memory:" if request.param == "memory" else shared_redis.url,
        ADMIN_AUTH="none",
        HOT_CACHE_TTL_SECONDS="600",
    )
    backend.on(f"/workers-{request.param}/w", answer(b"w", 200, FRESH, ("Surrogate-Key", "w")))
    found = list(lines(proxy, wait_for_workers(proxy, WORKERS)).values())
    yield found
    for line in found:
        line.close()


def asked(line: Line, **words: object) -> dict[str, object]:
    body = json.dumps({"tags": ["w"], **words}).encode()
    told = line.ask("POST", "/invalidate", body, Content_Type="application/json").json()
    assert isinstance(told, dict)
    return told


def test_tags_reach_every_worker(each: list[Line]) -> None:
    for words, then in (({"soft": True}, "STALE"), ({}, "MISS")):
        for line in each:
            wait_for(lambda line=line: line.ask("GET", "/w").cache == "HOT_HIT", "/w in memory")  # type: ignore[misc]
        for line in each:
            assert asked(line, dry_run=True)["wouldDelete"] == 1
        assert asked(each[0], **words)["deletedCount"] == 1
        assert each[-1].ask("GET", "/w").cache == then
        assert asked(each[-1])["deletedCount"] in (0, 1)
