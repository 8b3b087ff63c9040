"""Reading the tags of a response, and what is too much of them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.judged import FRESH, verdict

from caching_proxy.http.messages import Field, Fields
from caching_proxy.rules.outcome import Refusal
from caching_proxy.rules.policy import CachePolicy
from caching_proxy.rules.tag_index import ByTag
from caching_proxy.rules.tags import MAX_TAG, MAX_TAGS, MAX_TAGS_BYTES, joined, split, tags_of


def sk(value: bytes) -> Field:
    return b"Surrogate-Key", value


def ct(value: bytes) -> Field:
    return b"Cache-Tag", value


@pytest.mark.parametrize(
    ("fields", "tags"),
    [
        ([], ()),
        ([sk(b"a")], (b"a",)),
        ([sk(b"a b  c\td ")], (b"a", b"b", b"c", b"d")),
        ([sk(b"")], ()),
        ([sk(b"   "), ct(b" , ,,")], ()),
        ([sk(b"a,b c")], (b"a,b", b"c")),
        ([ct(b"a,b , c d,")], (b"a", b"b", b"c d")),
        ([ct(b"a"), sk(b"b"), ct(b"c"), (b"SURROGATE-KEY", b"a d")], (b"b", b"a", b"d", b"c")),
        ([sk(b"* [a] ?\\ \xc3\xa9 \xff")], (b"*", b"[a]", b"?\\", b"\xc3\xa9", b"\xff")),
        ([sk(b"A a A")], (b"A", b"a")),
    ],
    ids=str,
)
def test_Z9_reading(fields: list[Field], tags: tuple[bytes, ...]) -> None:
    assert tags_of(Fields(fields)) == tags
    assert tags_of(Fields(fields), (b"rule", b"a")) == tuple(dict.fromkeys((b"rule", b"a", *tags)))


NUMBERED = [b"%d" % number for number in range(10_000)]


@pytest.mark.parametrize(
    ("field", "refusal"),
    [
        (sk(b" ".join(NUMBERED[:MAX_TAGS])), None),
        (ct(b",".join(NUMBERED[: MAX_TAGS + 1])), Refusal.TAGS),
        (sk(b" ".join(NUMBERED)), Refusal.TAGS),
        (sk(b"a " * 10_000), None),
        (sk(b"x" * MAX_TAG), None),
        (sk(b"x" * (MAX_TAG + 1)), Refusal.TAGS),
        (ct(b",".join(b"%04d" % number + b"x" * 1000 for number in range(MAX_TAGS_BYTES // 1000 + 1))), Refusal.TAGS),
    ],
    ids=["most", "one more", "10,000", "one again and again", "longest", "too long", "too long together"],
)
def test_Z9_what_has_too_many_tags_is_not_stored(field: Field, refusal: Refusal | None) -> None:
    assert verdict(FRESH, field).refusal is refusal
    assert verdict(FRESH, field, policy=CachePolicy(tags=(b"1",))).refusal is refusal


@settings(deadline=None, derandomize=True)
@given(st.lists(st.binary(min_size=1).filter(lambda tag: b"\n" not in tag), unique=True).map(tuple))
def test_joining(tags: tuple[bytes, ...]) -> None:
    assert split(joined(tags)) == tags


@settings(deadline=None, derandomize=True, max_examples=300)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abc"), st.sets(st.sampled_from("xyz"), min_size=1))))
def test_an_index_is_what_sets_would_be(steps: list[tuple[bool, str, set[str]]]) -> None:
    index, model = ByTag(), dict[bytes, set[bytes]]()
    for add, key, tags in steps:
        names = [tag.encode() for tag in tags]
        (index.add if add else index.discard)(key.encode(), names)
        for name in names:
            held = model.setdefault(name, set())
            (held.add if add else held.discard)(key.encode())
    for tag in (b"x", b"y", b"z"):
        assert index.of(tag) == model.get(tag, set())
    assert len(index) == sum(map(bool, model.values()))
