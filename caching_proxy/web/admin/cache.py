"""The guarded endpoints over the cache: invalidate, keys, key. A store that fails is a 503."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar
from urllib.parse import unquote_to_bytes

from twisted.internet.defer import Deferred

from caching_proxy.interfaces import StoreError
from caching_proxy.rules.key import key_bytes, key_text
from caching_proxy.rules.listing import Cursor, parse_cursor
from caching_proxy.web.admin.json_answers import AdminRequest, JsonAnswer, RequestRefused, json_object, json_reply
from caching_proxy.web.admin.key_listing import PIECE, listing
from caching_proxy.web.admin.presentation import cache_entry, entry_facts
from caching_proxy.web.admin.services import AdminResource

MAX_PATTERN_BYTES = 4096
MAX_TAGS = 1000

FAILED = "the store could not do this"
POSTPONED = (
    "the store is unreachable: memory was cleared, and the store's part is kept and will be carried out when it is back"
)

T = TypeVar("T")


class InvalidateResource(AdminResource):
    """Removes what a pattern matches, or what carries one of some tags, from every tier."""

    methods = (b"POST",)
    guarded = True
    abandoned_with_client = False  # half an invalidation is worse than one nobody waits for

    async def act(self, request: AdminRequest) -> JsonAnswer:
        asked = await json_object(request)
        if "tags" in asked:
            removing, what = self._by_tags(asked), "carry one of the tags"
            named = "tags " + " ".join(map(str, asked["tags"])) if isinstance(asked["tags"], list) else ""
        else:
            pattern = _text_of(asked, "pattern")
            if len(pattern) > MAX_PATTERN_BYTES:
                raise RequestRefused(400, f'"pattern" is longer than {MAX_PATTERN_BYTES} bytes')
            removing, what = self._invalidator(asked)(pattern), f"match {key_text(pattern)}"
            named = key_text(pattern)
        try:
            count = await _stored(removing, POSTPONED)
        except RequestRefused:
            self._note(request, named, None, asked)
            raise
        self._note(request, named, count, asked)
        return json_reply({"message": f"invalidated {count} keys that {what}", "deletedCount": count})

    def _note(self, request: AdminRequest, named: str, count: int | None, asked: dict[str, object]) -> None:
        """Tell who watches; ``count`` None: the store has yet to do it."""
        who = "admin at " + (request.client_ip.decode("latin-1") or "a Unix socket")
        self.services.insight.happenings.invalidation(named, who, count, soft=bool(asked.get("soft")))

    def _invalidator(self, asked: dict[str, object]) -> Callable[[bytes], Deferred[int]]:
        soft = asked.get("soft", False)
        if not isinstance(soft, bool):
            raise RequestRefused(400, '"soft" must be true or false')
        chosen = self.services.invalidate_softly if soft else self.services.invalidate
        if chosen is None:
            raise RequestRefused(400, '"soft" is not supported')
        return chosen

    def _by_tags(self, asked: dict[str, object]) -> Deferred[int]:
        tags = asked["tags"]
        if "pattern" in asked:
            raise RequestRefused(400, 'give "pattern" or "tags", not both')
        if not isinstance(tags, list) or not tags or len(tags) > MAX_TAGS:
            raise RequestRefused(400, f'"tags" must be a list of 1 to {MAX_TAGS} tags')
        if not all(isinstance(tag, str) and tag for tag in tags):
            raise RequestRefused(400, '"tags" must hold texts that are not empty')
        if self.services.invalidate_tags is None or asked.get("soft"):
            raise RequestRefused(400, '"tags" are not supported')
        return self.services.invalidate_tags([_encoded(tag, "tags") for tag in tags])


class KeysResource(AdminResource):
    """The keys in the store, grouped by role, a page at a time.

    ``?match=`` is a glob, ``?limit=`` the number of keys on a page, ``?cursor=`` what the page before gave.
    """

    guarded = True

    async def act(self, request: AdminRequest) -> JsonAnswer:
        match, limit, cursor = _listing(request.head.target)
        page = await _stored(self.services.keys(match, limit, cursor))
        if match is None and cursor is None and page.cursor is None:
            self.services.metrics.gauge("cache_keys_total").set(len(page.keys))
        pieces = listing(page.keys, page.cursor)
        return JsonAnswer(200, b"".join(pieces) if len(page.keys) <= PIECE else pieces)


class KeyResource(AdminResource):
    """What is stored under one key; with ``"body": false`` without the body, but with what tells its size and age."""

    methods = (b"POST",)
    guarded = True

    async def act(self, request: AdminRequest) -> JsonAnswer:
        asked = await json_object(request)
        key, body = _text_of(asked, "key"), asked.get("body", True)
        if not isinstance(body, bool):
            raise RequestRefused(400, '"body" must be true or false')
        entries = await _stored(self.services.entries(key))
        if not entries:
            raise RequestRefused(404, f"there is no key {key_text(key)}")
        shown = (cache_entry if body else entry_facts)(entries, self.services.clock.seconds())
        return json_reply({"message": f"found {key_text(key)}", "cacheEntry": shown})


async def _stored(asking: Awaitable[T], otherwise: str = FAILED) -> T:
    """What the store says, or a 503 that says ``otherwise`` if it does not."""
    try:
        return await asking
    except StoreError as error:
        raise RequestRefused(503, otherwise) from error


def _text_of(asked: dict[str, object], name: str) -> bytes:
    """A member that must be a text and not empty, as key bytes."""
    value = asked.get(name)
    if not isinstance(value, str) or not value:
        raise RequestRefused(400, f'"{name}" must be a text that is not empty')
    return _encoded(value, name)


def _encoded(value: str, name: str) -> bytes:
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
