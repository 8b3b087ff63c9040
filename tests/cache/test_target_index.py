"""The index of keys by target agrees with looking at every key."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from caching_proxy.cache.tiers.target_index import ByTarget
from caching_proxy.rules.key import build_key, parse_key, target_in

KEYS = st.sampled_from(
    [
        *(build_key(role, target) for role in (b"anonymous", b"a~1", b"a~2") for target in (b"/x", b"/y", b"/x?a:b")),
        *(b"cache:GET:/x", b"cache:GET::/x", b"cache:HEAD:a:/x", b"other", b"cache:GET:a/b:/x"),
    ]
)


@settings(deadline=None, derandomize=True, max_examples=150)
@given(st.lists(st.tuples(st.booleans(), KEYS), max_size=30))
def test_the_index_holds_what_was_added_and_not_discarded(steps):
    kept: set[bytes] = set()
    index = ByTarget(kept)
    for add, key in steps:
        if add:
            index.add(key)
            kept.add(key)
        else:
            index.discard(key)
            kept.discard(key)
    for target in {parse_key(key).target for _, key in steps} | {b"/none"}:
        assert sorted(index.of(target)) == sorted(key for key in kept if parse_key(key).target == target)
    index.clear()
    targets = {parse_key(key).target for key in kept}
    kept.clear()
    assert not any(map(index.of, targets))


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.one_of(KEYS, st.binary(max_size=40), st.binary(max_size=20).map(lambda rest: b"cache:GET:" + rest)))
def test_the_quick_way_to_a_target_agrees_with_parsing(key):
    assert target_in(key) == parse_key(key).target
