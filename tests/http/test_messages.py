"""Fields: two forms of the same lines, look-ups, and what is remembered with them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from caching_proxy.http.messages import Field, Fields

NAMES = st.text("abcABC-", min_size=1, max_size=3).map(str.encode)
VALUES = st.text("abc:, ;", max_size=6).map(lambda value: value.strip().encode())
LINES = st.lists(st.tuples(NAMES, VALUES), max_size=6)


@settings(derandomize=True, deadline=None)
@given(LINES, LINES)
def test_both_forms_are_the_same_fields(pairs: list[Field], more: list[Field]) -> None:
    made, block = Fields(pairs), Fields(pairs).encoded()
    read = Fields.decoded(block)
    assert (read.encoded(), read.pairs, read.index) == (block, made.pairs, made.index)
    assert made.plus(*more) == made.plus_lines(Fields(more).encoded()) == Fields([*pairs, *more])


def test_the_index_is_by_lower_case_name_in_order() -> None:
    fields = Fields([(b"A", b"1"), (b"b", b"2"), (b"a", b"3")])
    assert fields.index == {b"a": [b"1", b"3"], b"b": [b"2"]}
    assert (fields.first(b"a"), fields.all(b"a"), fields.joined(b"a")) == (b"1", [b"1", b"3"], b"1, 3")
    assert (fields.first(b"c"), fields.all(b"c"), fields.joined(b"c")) == (None, [], None)
    assert fields.without((b"a",)) == Fields([(b"b", b"2")])
    assert b"b" in fields
    assert b"B" not in fields


def test_what_follows_from_fields_is_worked_out_once_for_each_rule() -> None:
    asked: list[int] = []

    def count(fields: Fields) -> int:
        asked.append(len(fields))
        return len(fields)

    def first(fields: Fields) -> bytes | None:
        return fields.first(b"a")

    fields = Fields([(b"A", b"1")])
    assert [fields.derived(count), fields.derived(count), fields.derived(first)] == [1, 1, b"1"]
    assert asked == [1]
    assert Fields([(b"A", b"1")]).derived(count) == 1
    assert asked == [1, 1]
