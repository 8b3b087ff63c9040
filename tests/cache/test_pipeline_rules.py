"""Rules per path, from the request to the next one that is answered from what was stored."""

from __future__ import annotations

import pytest
from support.memory_proxy import MemoryProxy

FRESH = "Cache-Control: max-age=900"


def ruled(*rules: dict[str, object], **policy: object) -> MemoryProxy:
    proxy = MemoryProxy(**policy)
    proxy.ruled(*rules)
    return proxy


def twice(proxy: MemoryProxy, target: str = "/x", first: tuple[str, ...] = (), then: tuple[str, ...] = ()) -> str:
    """How the second request is answered."""
    proxy.get(target, *first)
    return proxy.get(target, *then).cache


# -- how long


def test_Z7_ttl_stands_in_for_the_default_on_its_path_alone() -> None:
    proxy = ruled({"match": "^/x", "ttl": 5}, default_ttl=50)
    proxy.says()
    for target in ("/x", "/y"):
        proxy.get(target)
    proxy.advance(4)
    assert [proxy.get(target).cache for target in ("/x", "/y")] == ["HOT_HIT", "HOT_HIT"]
    proxy.advance(1)
    assert [proxy.get(target).cache for target in ("/x", "/y")] == ["MISS", "HOT_HIT"]


@pytest.mark.parametrize(
    "lines", [("Set-Cookie: a=1",), ("Cache-Control: no_store",), ("Cache-Control: private",)], ids=str
)
def test_ttl_is_a_guess_and_no_more(lines: tuple[str, ...]) -> None:
    proxy = ruled({"match": "^/x", "ttl": 5})
    proxy.says(*lines)
    assert twice(proxy) == "MISS"


def test_status_ttl() -> None:
    proxy = ruled({"match": "^/x", "status_ttl": {"404": 10, "503": 2}})
    for status, seconds in ((404, 10), (503, 2)):
        proxy.says(status=status, body=b"none")
        assert proxy.get(f"/x{status}").cache == "MISS"
        proxy.advance(seconds - 1)
        assert proxy.get(f"/x{status}").cache == "HOT_HIT"
        proxy.advance(1)
        assert proxy.get(f"/x{status}").cache == "MISS"
    proxy.says(status=200)
    assert twice(proxy, "/x200") == "MISS"


def test_Z7_override() -> None:
    proxy = ruled({"match": "^/x", "mode": "override", "ttl": 5})
    proxy.says("Cache-Control: no-cache, max-age=0", "Set-Cookie: sid=1")
    first = proxy.get("/x")
    assert (first["Set-Cookie"], first["X-Cache-Expires-In"]) == ("sid=1", "5s")
    second = proxy.get("/x")
    assert (second.cache, second["Set-Cookie"]) == ("HOT_HIT", None)
    assert second["Cache-Control"] == "no-cache, max-age=0", "clients still hear what the backend said"
    proxy.says("Cache-Control: private")
    assert twice(proxy, "/xp") == "MISS"


def test_override_private() -> None:
    proxy = ruled({"match": "^/x", "mode": "override", "ttl": 5, "override_private": True})
    proxy.says("Cache-Control: private, no-store")
    assert twice(proxy) == "HOT_HIT"


def test_an_overridden_response_is_validated_and_fresh_again() -> None:
    proxy = ruled({"match": "^/x", "mode": "override", "ttl": 5})
    proxy.says("Cache-Control: no-cache", 'ETag: "a"')
    proxy.get("/x")
    proxy.advance(5)
    proxy.says("Cache-Control: no-cache", 'ETag: "a"', status=304, body=b"")
    assert proxy.get("/x").cache == "REVALIDATED"
    proxy.advance(4)
    assert proxy.get("/x").cache == "HOT_HIT"


def test_stale_windows() -> None:
    proxy = ruled({"match": "^/a", "ttl": 5, "stale_while_revalidate": 10}, {"match": "^/b", "ttl": 5})
    proxy.says()
    for target in ("/a", "/b"):
        proxy.get(target)
    proxy.advance(6)
    assert [proxy.get(target).cache for target in ("/a", "/b")] == ["STALE", "MISS"]
    errs = ruled({"match": "^/a", "ttl": 5, "stale_if_error": 10})
    errs.says(body=b"good")
    errs.get("/a")
    errs.advance(6)
    errs.says(status=500, body=b"bad")
    assert (errs.get("/a").cache, errs.get("/a").body) == ("STALE", b"good")


# -- for whom

ADMIN, USER, OPAQUE = "Authorization: role admin", "Authorization: role user", "Authorization: Basic x"


@pytest.mark.parametrize(
    ("share", "first", "then", "status"),
    [
        ("everyone", (ADMIN,), (), "HOT_HIT"),
        ("everyone", (ADMIN,), (USER,), "HOT_HIT"),
        ("everyone", (), (ADMIN,), "HOT_HIT"),
        ("everyone", (OPAQUE,), (), "HOT_HIT"),
        ("everyone", (), (OPAQUE,), "HOT_HIT"),
        ("everyone", (ADMIN,), ("Authorization: none",), "BYPASS"),
        ("everyone", ("Authorization: none",), (), "MISS"),
        ("role", (ADMIN,), (ADMIN,), "HOT_HIT"),
        ("role", (ADMIN,), (), "MISS"),
        ("token", (ADMIN,), (ADMIN,), "HOT_HIT"),
        ("token", (ADMIN,), (USER,), "MISS"),
        ("token", (ADMIN,), (), "MISS"),
        ("token", (), (), "HOT_HIT"),
        ("token", (), (ADMIN,), "MISS"),
        ("token", (OPAQUE,), (OPAQUE,), "HOT_HIT"),
        ("token", (OPAQUE,), ("Authorization: Basic y",), "MISS"),
        ("token", (OPAQUE,), (), "MISS"),
        ("none", (), (), "BYPASS"),
        ("none", (ADMIN,), (ADMIN,), "BYPASS"),
    ],
)
def test_Z8_share(share: str, first: tuple[str, ...], then: tuple[str, ...], status: str) -> None:
    proxy = ruled({"match": "^/x", "share": share})
    proxy.says(FRESH)
    assert twice(proxy, "/x", first, then) == status


def test_Z8_what_is_never_stored_says_why() -> None:
    proxy = ruled({"match": "^/x", "share": "none"}, {"match": "^/y"})
    proxy.says(FRESH)
    assert proxy.get("/x").why == "fwd=bypass; detail=rule"
    assert proxy.head("/x").why == "fwd=bypass; detail=rule"
    assert proxy.get("/y/../x").why == "fwd=bypass; detail=ambiguous-target"
    assert "detail" not in proxy.get("/y", "Cache-Control: no-store").why
    assert proxy.store.calls == []


def test_a_rule_never_reaches_what_was_stored_for_others_before() -> None:
    """Entries of roles stay those of the roles when the rule changes, and back."""
    proxy = ruled({"match": "^/x", "share": "token"})
    proxy.says(FRESH, body=b"admin's")
    proxy.get("/x", ADMIN)
    proxy.says(FRESH, body=b"another")
    proxy.ruled({"match": "^/x", "share": "role"})
    assert proxy.get("/x", ADMIN).body == b"another"
    proxy.ruled()
    assert proxy.get("/x").cache == "MISS"


# -- under which key


def test_Z7_vary_selects_a_variant_though_the_backend_names_none() -> None:
    proxy = ruled({"match": "^/x", "vary": ["Accept-Language"]})
    proxy.backend.script = lambda head, body: proxy.reply(FRESH, body=head.fields.first(b"accept-language") or b"none")
    for language in ("de", "en", "de"):
        assert proxy.get("/x", f"Accept-Language: {language}").body == language.encode()
    assert proxy.get("/x").body == b"none"
    assert proxy.count == 3
    proxy.forget_memory()
    assert proxy.get("/x", "Accept-Language: de").cache == "HIT"
    assert proxy.get("/x", "Accept-Language: fr").body == b"fr"


def test_what_was_stored_before_a_rule_named_more_fields_is_not_taken_for_a_variant() -> None:
    proxy = MemoryProxy()
    proxy.says(FRESH, body=b"plain")
    proxy.get("/x", "Accept-Language: de")
    proxy.ruled({"match": "^/x", "vary": ["Accept-Language"]})
    proxy.says(FRESH, body=b"fr")
    proxy.get("/x", "Accept-Language: fr", "Cache-Control: no-cache")
    assert proxy.get("/x", "Accept-Language: fr").body == b"fr"
    assert proxy.get("/x", "Accept-Language: en").cache == "MISS"


def test_ignored_parameters_and_what_a_post_makes_obsolete() -> None:
    proxy = ruled({"match": "^/x", "ignore_params": ["ref", "utm_*"]})
    proxy.says(FRESH)
    proxy.get("/x?a=1&utm_source=me")
    assert proxy.get("/x?ref=9&a=1").cache == "HOT_HIT"
    assert proxy.get("/x?a=2").cache == "MISS"
    assert proxy.get("/y?ref=1").cache == "MISS"
    assert proxy.get("/y?ref=2").cache == "MISS"
    proxy.ask("POST", "/x?a=1&ref=post")
    assert proxy.get("/x?a=1").cache == "MISS"


def test_a_redirect_to_what_shares_its_key_is_not_stored() -> None:
    proxy = ruled({"match": "^/x", "ignore_params": ["ref"]})
    proxy.says(FRESH, "Location: /x", status=301)
    assert twice(proxy, "/x?ref=1") == "MISS"
    proxy.says(FRESH, "Location: /y", status=301)
    assert twice(proxy, "/x?ref=1") == "HOT_HIT"


# -- fetching


@pytest.mark.parametrize(("collapse", "fetches"), [(True, 1), (False, 3)])
def test_collapse(collapse: bool, fetches: int) -> None:
    proxy = ruled({"match": "^/x", "collapse": collapse})
    sources = []

    def script(head: object, body: object) -> object:
        sources.append(proxy.open_response(FRESH))
        return sources[-1]

    proxy.backend.script = script  # type: ignore[assignment]
    exchanges = [proxy.start("GET", "/x") for _ in range(3)]
    assert proxy.count == fetches
    for response in sources:
        response.body.feed(b"whole")
        response.body.end()
    assert [exchange.answer and exchange.answer.body for exchange in exchanges] == [b"whole"] * 3
    assert proxy.quiet


def test_a_posts_own_answer_is_kept_under_the_rule() -> None:
    proxy = ruled({"match": "^/x", "share": "everyone"}, {"match": "^/n", "share": "none"})
    proxy.says(FRESH, "Content-Location: /x", body=b"made")
    proxy.ask("POST", "/x", ADMIN, body=b"a")
    assert proxy.get("/x").body == b"made"
    assert proxy.count == 1
    proxy.says(FRESH, "Content-Location: /n", body=b"made")
    proxy.ask("POST", "/n", ADMIN, body=b"a")
    assert proxy.get("/n").cache == "BYPASS"
    assert proxy.store.fields_of(b"cache:GET:admin:/n") == []


def test_an_override_does_not_make_a_posts_answer_storable() -> None:
    proxy = ruled({"match": "^/x", "mode": "override", "ttl": 60})
    proxy.says("Content-Location: /x", body=b"made")
    proxy.ask("POST", "/x", body=b"a")
    assert proxy.get("/x").cache == "MISS"
