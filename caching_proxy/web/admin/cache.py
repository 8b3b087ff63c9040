"""The guarded endpoints that look into the cache: keys, key. A store that fails is a 503."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar
from urllib.parse import unquote_to_bytes

from twisted.internet.defer import Deferred

from caching_proxy.interfaces import StoreError
from caching_proxy.rules.key import key_bytes, key_text
from caching_proxy.rules.listing import Cursor, Page, parse_cursor
from caching_proxy.web.admin.json_answers import AdminRequest, JsonAnswer, RequestRefused, json_object, json_reply
from caching_proxy.web.admin.key_listing import PIECE, listing
from caching_proxy.web.admin.key_stream import KeyStream
from caching_proxy.web.admin.presentation import cache_entry, entry_facts
from caching_proxy.web.admin.services import AdminResource

MAX_PATTERN_BYTES = 4096

PAGE = 10_000
"""Keys that are asked for at a time."""

FAILED = "the store could not do this"

T = TypeVar("T")


class KeysResource(AdminResource):
    """The keys in the store, also by role: all of them, or a page at a time.

    ``?match=`` is a glob, ``?limit=`` the number of keys on a page, ``?cursor=`` what the page before gave; a page
    that goes on from there has :data:`PAGE` unless it is said.
    """

    guarded = True

    async def act(self, request: AdminRequest) -> JsonAnswer:
        match, limit, cursor = _listing(request.head.target)
        page = await stored(self.services.keys(match, limit and min(limit, PAGE), cursor))
        whole = match is None and cursor is None
        if page.cursor is not None and (cursor is None if limit is None else limit > PAGE):
            return JsonAnswer(200, self._stream(match, limit, page, whole))
        if whole and page.cursor is None:
            self._counted(len(page.keys))
        pieces = listing(page.keys, page.cursor)
        return JsonAnswer(200, b"".join(pieces) if len(page.keys) <= PIECE else pieces)

    def _stream(self, match: bytes | None, limit: int | None, first: Page, whole: bool) -> KeyStream:
        def next_page(size: int, cursor: Cursor) -> Deferred[Page]:
            return self.services.keys(match, size, cursor)

        counted = self._counted if whole else _uncounted
        return KeyStream(self.services.clock, first, next_page, limit, PAGE, counted)

    def _counted(self, count: int) -> None:
        self.services.metrics.gauge("cache_keys_total").set(count)


class KeyResource(AdminResource):
    """What is stored under one key; with ``"body": false`` without the body, but with what tells its size and age."""

    methods = (b"POST",)
    guarded = True

    async def act(self, request: AdminRequest) -> JsonAnswer:
        asked = await json_object(request)
        key, body = text_of(asked, "key"), asked.get("body", True)
        if not isinstance(body, bool):
            raise RequestRefused(400, '"body" must be true or false')
        entries = await stored(self.services.entries(key))
        if not entries:
            raise RequestRefused(404, f"there is no key {key_text(key)}")
        shown = (cache_entry if body else entry_facts)(entries, self.services.clock.seconds())
        return json_reply({"message": f"found {key_text(key)}", "cacheEntry": shown})


def _uncounted(count: int) -> None:
    """These are not all keys."""


async def stored(asking: Awaitable[T]) -> T:
    """What the store says, or a 503 if it does not."""
    try:
        return await asking
    except StoreError as error:
        raise RequestRefused(503, FAILED) from error


def text_of(asked: dict[str, object], name: str) -> bytes:
    """A member that must be a text and not empty, as key bytes."""
    value = asked.get(name)
    if not isinstance(value, str) or not value:
        raise RequestRefused(400, f'"{name}" must be a text that is not empty')
    return encoded(value, name)


def encoded(value: str, name: str) -> bytes:
    try:
        return key_bytes(value)
    except ValueError as error:
        raise RequestRefused(400, f'"{name}" holds a lone surrogate') from error


def _listing(target: bytes) -> tuple[bytes | None, int | None, Cursor | None]:
    """``match``, ``limit`` and ``cursor`` of the query, None where not given."""
    match, limit, cursor = None, None, None
    for pair in target.partition(b"?")[2].split(b"&"):
        name, _, raw = pair.partition(b"=")
        value = unquote_to_bytes(raw.replace(b"+", b" "))
        if name == b"match":
            if not 0 < len(value) <= MAX_PATTERN_BYTES:
                raise RequestRefused(400, f'"match" must be a pattern of 1 to {MAX_PATTERN_BYTES} bytes')
            match = value
        elif name == b"limit":
            if not (value.isdigit() and len(value) <= 9 and int(value) > 0):
                raise RequestRefused(400, '"limit" must be a whole number from 1 to 999999999')
            limit = int(value)
        elif name == b"cursor":
            cursor = parse_cursor(value)
            if cursor is None:
                raise RequestRefused(400, '"cursor" must be one that an earlier page gave')
    return match, limit, cursor
