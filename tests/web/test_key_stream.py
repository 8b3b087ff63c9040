"""A list of more keys than fit on a page: what it says, and what it does not hold, ask for or write."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock

from caching_proxy.interfaces import StoreError
from caching_proxy.rules.key import key_text, role_label
from caching_proxy.rules.listing import Cursor, Page
from caching_proxy.web.admin import key_stream
from caching_proxy.web.admin.key_stream import KeyStream, Spool

SIZE = 700


class Client:
    """Takes ``patience`` pieces, then nothing until ``reads``."""

    def __init__(self, patience: int = 10**9) -> None:
        self.written = b""
        self.pieces: list[int] = []
        self.finished = self.aborted = False
        self._patience = patience
        self._producer: Any = None
        self.gone: Deferred[None] = Deferred()

    def notifyFinish(self) -> Deferred[None]:
        return self.gone

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming
        self._producer = producer

    def unregisterProducer(self) -> None:
        self._producer = None

    def write(self, data: bytes) -> None:
        assert not self.finished
        self.written += data
        self.pieces.append(len(data))
        self._patience -= 1
        if self._patience <= 0:
            self._producer.pauseProducing()

    def reads(self, pieces: int = 10**9) -> None:
        self._patience = pieces
        self._producer.resumeProducing()

    def finish(self) -> None:
        self.finished = True

    def abort(self) -> None:
        self.aborted = True


class Listing:
    """``keys`` in pages; the walk fails ``after`` so many of them."""

    def __init__(self, keys: Sequence[bytes], after: int = 10**9) -> None:
        self.clock = Clock()
        self.asked: list[int] = []
        self.counted: list[int] = []
        self._keys = keys
        self._after = after

    def page(self, size: int, cursor: Cursor) -> Deferred[Page]:
        start = int(cursor.step)
        self.asked.append(size)
        if len(self.asked) > self._after:
            return fail(StoreError("away"))
        end = start + size
        return succeed(Page(sorted(self._keys[start:end]), b"s%d" % end if end < len(self._keys) else None))

    def begin(self, client: Client, limit: int | None = None) -> KeyStream:
        first = self.page(min(limit or SIZE, SIZE), Cursor(b"s", b"0")).result  # type: ignore[attr-defined]
        stream = KeyStream(self.clock, first, self.page, limit, SIZE, self.counted.append)
        stream.begin(client)  # type: ignore[arg-type]
        return stream

    def run(self, client: Client) -> None:
        for _ in range(10_000):
            if not self.clock.getDelayedCalls():
                return
            self.clock.advance(0)


def many(count: int) -> list[bytes]:
    roles = (b"anonymous", b"editor", b"editor-x", b"editor~00112233445566778899aabbccddeeff", b"a b", b'"', b"\xff")
    keys = [b"cache:GET:%b:/%d\n" % (roles[nth % len(roles)], nth) for nth in range(count)]
    random.Random(1).shuffle(keys)
    return keys


def listed(keys: Sequence[bytes], limit: int | None = None) -> tuple[Any, Listing, Client]:
    listing, client = Listing(keys), Client()
    listing.begin(client, limit)
    listing.run(client)
    assert client.finished
    return json.loads(client.written), listing, client


@pytest.mark.parametrize("count", [1, SIZE, SIZE + 1, 10 * SIZE, 10 * SIZE + 3])
def test_all_keys_come_once_and_by_role(count: int) -> None:
    keys = many(count)
    answer, listing, client = listed(keys)
    assert sorted(answer["keys"]) == sorted(map(key_text, keys))
    assert answer["keyCount"] == count
    assert "cursor" not in answer
    by_role: dict[str, list[str]] = {}
    for key in keys:
        by_role.setdefault(role_label(key), []).append(key_text(key))
    assert {role: sorted(some) for role, some in answer["keysByRole"].items()} == {
        role: sorted(some) for role, some in by_role.items()
    }
    assert list(answer) == ["keys", "keysByRole", "keyCount"]
    assert listing.counted == [count]
    assert max(client.pieces) < 60 * key_stream.BLOCK


def test_a_limit_of_more_than_a_page_ends_with_a_cursor() -> None:
    answer, listing, _ = listed(many(5 * SIZE), limit=2 * SIZE + 5)
    assert (answer["keyCount"], answer["cursor"]) == (2 * SIZE + 5, f"s{2 * SIZE + 5}")
    assert listing.asked == [SIZE, SIZE, 5]
    assert listing.counted == []


def test_an_answer_has_so_many_pages_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_stream, "MOST_PAGES", 3)
    answer, _, _ = listed(many(5 * SIZE))
    assert (answer["keyCount"], answer["cursor"]) == (3 * SIZE, f"s{3 * SIZE}")


def test_what_comes_twice_is_told_once() -> None:
    keys = many(2 * SIZE)
    answer, _, _ = listed([*keys, *keys])
    assert answer["keyCount"] == len(answer["keys"]) == len(keys)


def test_a_client_that_does_not_read_asks_for_nothing() -> None:
    listing, client = Listing(many(10 * SIZE)), Client(patience=2)
    listing.begin(client)
    listing.run(client)
    assert (len(client.pieces), len(listing.asked)) == (2, 1)
    client.reads(4)
    listing.run(client)
    assert (len(client.pieces), len(listing.asked)) == (6, 3)
    client.reads()
    listing.run(client)
    assert json.loads(client.written)["keyCount"] == 10 * SIZE


def leaves(client: Client) -> None:
    client.gone.callback(None)


def is_dropped(client: Client) -> None:
    client._producer.stopProducing()


@pytest.mark.parametrize("way", [leaves, is_dropped])
def test_a_client_that_leaves_ends_the_walk(way: Callable[[Client], None]) -> None:
    listing, client = Listing(many(10 * SIZE)), Client(patience=3)
    listing.begin(client)
    listing.run(client)
    asked = len(listing.asked)
    way(client)
    listing.run(client)
    assert (len(listing.asked), client.finished, client.aborted, listing.counted) == (asked, False, False, [])
    assert not listing.clock.getDelayedCalls()


def test_a_store_that_fails_breaks_the_answer_off(logged_lines: list[tuple[str, str]]) -> None:
    listing, client = Listing(many(10 * SIZE), after=3), Client()
    listing.begin(client)
    listing.run(client)
    assert (client.aborted, client.finished, listing.counted) == (True, False, [])
    assert ("warn", "a list of keys ends early: away") in logged_lines
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        json.loads(client.written)


def test_what_is_kept_is_small() -> None:
    """Keys of a shop; a list of them takes more than a hundred bytes for each."""
    spool = Spool()
    count = 20_000
    for start in range(0, count, SIZE):
        keys = [
            b"cache:GET:anonymous:/shop/products/%06d/reviews?page=%d" % (n, n % 9) for n in range(start, start + SIZE)
        ]
        for _ in spool.add(sorted(keys)):
            pass
    kept = sum(len(block) for blocks in spool.pages for block in blocks)
    assert kept < spool.count * 15
