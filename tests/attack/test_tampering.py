"""Invariant 8: what stands in the store is used only where it is intact and stands under its own key."""

from __future__ import annotations

import pytest
from support.whole_proxy import ok

from caching_proxy.cache.tiers.writer import field_name
from caching_proxy.rules.codec import decode, encode

A, B = b"cache:GET:anonymous:/a", b"cache:GET:anonymous:/b"


def stored(whole, key):
    """The one variant under ``key``."""
    found = []
    whole.proxy.store.lookup(key).addCallback(found.append)
    [(field, value)] = found[0].variants.items()
    return field, value


def put(whole, key, field, value):
    whole.proxy.store.put(key, field, value, 60_000)


@pytest.fixture
def filled(make_whole):
    """``/a`` and ``/b`` are in the store and, since the memory tiers keep nothing, only there."""
    whole = make_whole(
        lambda message: ok(b"body of " + message.target, b"Cache-Control: max-age=600"),
        HOT_CACHE_MAX_ENTRIES="0",
        BURST_CACHE_MAX_ENTRIES="0",
    )
    whole.get("/a")
    whole.get("/b")
    assert whole.get("/a").cache == "HIT"
    whole.backend.requests.clear()
    return whole


def flip(value, at):
    return value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :]


def refetched(whole):
    """The next answer comes from the backend and says why; the one after that is served from the mended store."""
    answer = whole.get("/a")
    assert (answer.status, answer.cache, answer.body) == (200, "ERROR", b"body of /a")
    assert whole.backend.targets == [b"/a"]
    assert whole.get("/a").cache == "HIT"


@pytest.mark.parametrize("where", ["magic", "checksum", "numbers", "key", "head", "body"])
def test_a_changed_value(filled, where):
    field, value = stored(filled, A)
    at = {
        "magic": 0,
        "checksum": 10,
        "numbers": 24,
        "key": value.index(A) + len(A) - 1,
        "head": value.index(b"max-age") + 1,
        "body": len(value) - 1,
    }[where]
    put(filled, A, field, flip(value, at))
    refetched(filled)


@pytest.mark.parametrize("cut", [0, 3, 4, 19, 20, 60, -1])
def test_a_truncated_value(filled, cut):
    field, value = stored(filled, A)
    put(filled, A, field, value[:cut])
    refetched(filled)


@pytest.mark.parametrize(
    "forged",
    [b"", b"{}", b"\x80\x04\x95cos\nsystem\n(S'true'\ntR.", b"null", b"x" * 1000],
    ids=["empty", "json", "pickle", "null", "long"],
)
def test_a_value_that_is_none_of_ours(filled, forged):
    put(filled, A, stored(filled, A)[0], forged)
    refetched(filled)


def test_a_value_from_another_key(filled):
    """Intact, checksum and all, but written for ``/b``: it must not answer for ``/a``."""
    field, _ = stored(filled, A)
    put(filled, A, field, stored(filled, B)[1])
    refetched(filled)


def test_a_value_from_another_role(filled):
    """What an administrator was given cannot be moved under the key of anonymous."""
    field, value = stored(filled, A)
    admin = decode(value, A)
    admin.key = b"cache:GET:admin:/a"
    admin.body = b"secret"
    put(filled, A, field, encode(admin))
    refetched(filled)


def test_a_value_under_the_name_of_another_variant(make_whole):
    """The entry itself says what it was selected by; the field's name is not believed."""
    whole = make_whole(
        lambda message: ok(
            message.get("accept-language") or b"", b"Cache-Control: max-age=600", b"Vary: Accept-Language"
        ),
        HOT_CACHE_MAX_ENTRIES="0",
        BURST_CACHE_MAX_ENTRIES="0",
    )
    whole.get("/a", b"Accept-Language: de")
    german = stored(whole, A)
    whole.get("/a", b"Accept-Language: fr")
    found = []
    whole.proxy.store.lookup(A).addCallback(found.append)
    [french] = [name for name in found[0].variants if name != german[0]]
    put(whole, A, french, german[1])
    assert whole.get("/a", b"Accept-Language: fr").body == b"fr"


def test_a_value_of_a_later_version_is_left_alone(filled):
    """Another release shares the store: a miss here, but what it wrote is not ours to delete."""
    field, value = stored(filled, A)
    put(filled, A, b"other", value[:3] + b"\xff" + value[4:])
    answer = filled.get("/a")
    assert answer.body == b"body of /a"
    found = []
    filled.proxy.store.lookup(A).addCallback(found.append)
    assert b"other" in found[0].variants
    assert field_name(decode(value, A)) == field
