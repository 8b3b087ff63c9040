"""Messages between proxies: nothing is lost on the way, and what cannot be read means everything."""

from __future__ import annotations

import pytest

from caching_proxy.rules.bus_message import EVERYTHING, MAX_MESSAGE_BYTES, Invalidation, decode, encode


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
