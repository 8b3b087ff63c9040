"""Cache keys: SPEC section 5."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caching_proxy.rules.key import (
    KeyPolicy,
    ParsedKey,
    build_key,
    key_bytes,
    key_text,
    parse_key,
    role_label,
    target_of,
)
from caching_proxy.rules.role import isolated, role_of

PLAIN = KeyPolicy()
CAMPAIGNS = KeyPolicy(ignore_params=(b"utm_*", b"gclid"))
SORTED = KeyPolicy(sort_query=True)
BOTH = KeyPolicy(ignore_params=(b"x",), sort_query=True)
HOSTS = KeyPolicy(host_in_key=True)


@pytest.mark.parametrize(
    ("target", "policy", "expected"),
    [
        (b"/", PLAIN, b"/"),
        (b"/a", PLAIN, b"/a"),
        (b"/a/", PLAIN, b"/a"),
        (b"/a//", PLAIN, b"/a/"),
        (b"//a", PLAIN, b"//a"),
        (b"/?q", PLAIN, b"/?q"),
        (b"/a/?q=/", PLAIN, b"/a?q=/"),
        (b"/a?", PLAIN, b"/a?"),
        (b"/a?b?c/", PLAIN, b"/a?b?c/"),
        (b"/A/%7euser?B=2&a=1", PLAIN, b"/A/%7euser?B=2&a=1"),
        (b"/a?utm_source=x&b=1&gclid=2", CAMPAIGNS, b"/a?b=1"),
        (b"/a?utm_source=x", CAMPAIGNS, b"/a"),
        (b"/a?utm%5Fsource=x", CAMPAIGNS, b"/a?utm%5Fsource=x"),
        (b"/a?my_utm_x=1", CAMPAIGNS, b"/a?my_utm_x=1"),
        (b"/a?&b", CAMPAIGNS, b"/a?&b"),
        (b"/a?", CAMPAIGNS, b"/a?"),
        (b"/utm_x/?b", CAMPAIGNS, b"/utm_x?b"),
        (b"/a?b=2&a=1", SORTED, b"/a?a=1&b=2"),
        (b"/a?b=2&a=9&b=1", SORTED, b"/a?a=9&b=2&b=1"),
        (b"/a?b=2&x=0&a=1", BOTH, b"/a?a=1&b=2"),
        (b"/a/?b", HOSTS, b"//www.example.org/a?b"),
        (b"/", HOSTS, b"//www.example.org/"),
    ],
)
def test_B18_target(target: bytes, policy: KeyPolicy, expected: bytes) -> None:
    assert target_of(target, policy, b"WWW.example.org") == expected


@pytest.mark.parametrize(
    ("key", "method", "role", "target"),
    [
        (b"cache:GET:anonymous:/x", b"GET", b"anonymous", b"/x"),
        (b"cache:GET:a-b~0f:/x:y?z", b"GET", b"a-b~0f", b"/x:y?z"),
        (b"cache:GET:%:/x", b"GET", b"%", b"/x"),
        (b"cache:GET:/x", b"GET", None, b"/x"),
        (b"cache:GET:/x:y", b"GET", None, b"/x:y"),
        (b"cache:GET::/x", b"GET", None, b":/x"),
        (b"cache:GET:", b"GET", None, b""),
        (b"cache:GET", b"", None, b"cache:GET"),
        (b"session:1", b"", None, b"session:1"),
        (b"", b"", None, b""),
    ],
)
def test_parsing(key: bytes, method: bytes, role: bytes | None, target: bytes) -> None:
    assert parse_key(key) == ParsedKey(method, role, target)


def test_role_label() -> None:
    keys = [b"cache:GET:admin:/b", b"cache:GET:/old", b"other", b"cache:GET:a:/\xff", b"cache:GET:\xff:/x"]
    assert [role_label(key) for key in keys] == ["admin", "legacy", "legacy", "a", "\udcff"]


targets = st.lists(st.sampled_from([b"/", b":", b"a", b"-", b"?", b"cache:GET:", b"%"]), max_size=6).map(
    lambda parts: b"/" + b"".join(parts)
)
names = st.lists(st.sampled_from(["", "a", ":", "/", "a:/", "-", "~"]), min_size=1, max_size=3)
roles = st.builds(lambda one: role_of({"roles": one}), names)
identifiers = (roles | st.builds(isolated, roles, st.binary(max_size=4))).map(lambda role: role.identifier)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(identifiers, targets, identifiers, targets)
def test_no_two_pairs_share_a_key(role: bytes, target: bytes, other_role: bytes, other_target: bytes) -> None:
    key, other = build_key(role, target), build_key(other_role, other_target)
    assert (key == other) is ((role, target) == (other_role, other_target))
    assert parse_key(key) == ParsedKey(b"GET", role, target)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.binary(max_size=20))
def test_text_of_a_key_survives_json(key: bytes) -> None:
    assert key_bytes(json.loads(json.dumps(key_text(key)))) == key


def test_text_that_no_key_gives() -> None:
    with pytest.raises(ValueError, match="surrogates"):
        key_bytes("\ud800")


@settings(deadline=None, derandomize=True, max_examples=200)
@given(targets)
def test_plain_targets_lose_one_slash_at_most(target: bytes) -> None:
    short = target_of(target, PLAIN)
    path, mark, query = target.partition(b"?")
    assert target in (short, short.partition(b"?")[0] + b"/" + mark + query)
    assert short.startswith(b"/")
    assert path == b"/" or not path.endswith(b"/") or len(short) == len(target) - 1
