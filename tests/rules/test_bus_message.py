"""Messages between proxies: nothing is lost on the way, and what cannot be read means everything."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caching_proxy.rules.bus_message import EVERYTHING, KINDS, MAX_MESSAGE_BYTES, Invalidation, decode, encode


@pytest.mark.parametrize(
    "invalidation",
    [
        Invalidation(),
        Invalidation(targets=(b"/x", b"/y?a=1")),
        Invalidation(keys=(b"cache:GET:a:/x",)),
        Invalidation(patterns=(b"cache:*:/[^x]\\*", b"\n", bytes(range(256)))),
        EVERYTHING,
    ],
)
def test_there_and_back(invalidation: Invalidation) -> None:
    assert decode(encode(b"me", invalidation)) == (b"me", invalidation)


@given(st.binary(), st.tuples(*[st.lists(st.binary(), max_size=3).map(tuple)] * 4))
def test_it_is_json_as_other_versions_write_it(origin: bytes, words: tuple[tuple[bytes, ...], ...]) -> None:
    told = Invalidation(*words)
    names = KINDS if told.tags else KINDS[:-1]
    lists = {name: [word.decode("latin-1") for word in getattr(told, name)] for name in names}
    assert encode(origin, told) == json.dumps({"origin": origin.decode("latin-1"), **lists}).encode()


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xff",
        b"[]",
        b"7",
        b"null",
        b"[" * 100_000,
        b'{"origin": "me"}',
        b'{"origin": 1, "targets": [], "keys": [], "patterns": []}',
        b'{"origin": "me", "targets": [1], "keys": [], "patterns": []}',
        b'{"origin": "me", "targets": ["\\u1234"], "keys": [], "patterns": []}',
        b'{"origin": "me", "targets": [], "keys": [], "patterns": [], "tags": [["a"]]}',
        b'{"origin": "me", "targets": [], "keys": [], "patterns": [], "news": ["a"]}',
    ],
)
def test_what_cannot_be_read_means_everything(message: bytes) -> None:
    assert decode(message) == (b"", EVERYTHING)


def test_a_message_is_bounded() -> None:
    long = Invalidation(targets=(b"/x" * MAX_MESSAGE_BYTES,))
    assert decode(encode(b"me", long)) == (b"me", EVERYTHING)
