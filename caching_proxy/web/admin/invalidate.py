"""POST /invalidate: what a pattern matches, or what carries one of some tags, leaves every tier."""

from __future__ import annotations

import json
from collections.abc import Sequence

import attrs
from twisted.internet.defer import Deferred

from caching_proxy.interfaces import Postponed, StoreError
from caching_proxy.rules.invalidation_rules import spellings
from caching_proxy.rules.key import key_text
from caching_proxy.rules.listing import Cursor, parse_cursor
from caching_proxy.rules.tags import MAX_TAG
from caching_proxy.web.admin.cache import MAX_PATTERN_BYTES, encoded, stored, text_of
from caching_proxy.web.admin.json_answers import AdminRequest, JsonAnswer, RequestRefused, json_object, json_reply
from caching_proxy.web.admin.services import AdminResource, AdminServices

MEMBERS = ("pattern", "tags", "soft", "dry_run")
MAX_TAGS = 1000
SAMPLE = 100
"""Keys that a dry run names."""

MOST_TOLD_APART = 200_000

POSTPONED = (
    "the store cannot do this now: memory was cleared, and what is left to do in the store waits {where} until it can"
)


@attrs.frozen(slots=True)
class Wish:
    """What is to be invalidated: what a ``pattern`` matches, or what carries one of ``tags``; for good or ``soft``.

    ``dry``: only to see what that would be.
    """

    pattern: bytes | None
    tags: Sequence[bytes]
    soft: bool
    dry: bool

    @property
    def named(self) -> str:
        """For whoever watches."""
        return "tags " + " ".join(map(key_text, self.tags)) if self.pattern is None else key_text(self.pattern)

    @property
    def told(self) -> str:
        """For the answer."""
        return "carry one of the tags" if self.pattern is None else f"match {key_text(self.pattern)}"

    def granted(self, services: AdminServices) -> Deferred[int]:
        """How many keys it concerned, when they are gone."""
        if self.pattern is None:
            return services.invalidate_tags(self.tags, self.soft)
        return services.invalidate(self.pattern, self.soft)


class Tally:
    """Counts distinct keys and keeps the first as a sample; past :data:`MOST_TOLD_APART` one that comes twice counts
    twice, as a walk over a store that grows or shrinks meanwhile may give it."""

    def __init__(self) -> None:
        self.count = 0
        self.sample: list[bytes] = []
        self._seen: set[bytes] = set()

    def add(self, keys: Sequence[bytes]) -> None:
        news = [key for key in dict.fromkeys(keys) if key not in self._seen]
        self.count += len(news)
        self.sample += news[: SAMPLE - len(self.sample)]
        self._seen.update(news[: MOST_TOLD_APART - len(self._seen)])


class InvalidateResource(AdminResource):
    """Removes from every tier, or makes stale."""

    methods = (b"POST",)
    guarded = True
    abandoned_with_client = False  # half an invalidation is worse than one nobody waits for

    async def act(self, request: AdminRequest) -> JsonAnswer:
        wish = _wish(await json_object(request))
        if wish.dry:
            return await self._rehearsed(wish)
        try:
            count = await wish.granted(self.services)
        except StoreError as error:
            self._note(request, wish, None)
            raise _postponed(error) from error
        self._note(request, wish, count)
        done = "marked as stale" if wish.soft else "invalidated"
        return json_reply({"message": f"{done} {count} keys that {wish.told}", "deletedCount": count})

    async def _rehearsed(self, wish: Wish) -> JsonAnswer:
        """What would be invalidated; nothing is."""
        tally = Tally()
        if wish.pattern is None:
            tally.add(sorted(await stored(self.services.tagged(wish.tags))))
        else:
            for match in spellings(wish.pattern):
                await self._count(match, tally)
        done = "be marked as stale" if wish.soft else "be invalidated"
        return json_reply(
            {
                "message": f"{tally.count} keys that {wish.told} would {done}; nothing was",
                "deletedCount": 0,
                "wouldDelete": tally.count,
                "sample": [key_text(key) for key in tally.sample],
            }
        )

    async def _count(self, match: bytes, tally: Tally) -> None:
        cursor: Cursor | None = None
        while True:
            page = await stored(self.services.keys(match, None, cursor))
            tally.add(page.keys)
            cursor = parse_cursor(page.cursor) if page.cursor is not None else None
            if cursor is None:
                return

    def _note(self, request: AdminRequest, wish: Wish, count: int | None) -> None:
        """Tell who watches; ``count`` None: the store has yet to do it."""
        who = "admin at " + (request.client_ip.decode("latin-1") or "a Unix socket")
        self.services.insight.happenings.invalidation(wish.named, who, count, soft=wish.soft)


def _postponed(error: StoreError) -> RequestRefused:
    """A 503 that names what was cleared, what was not, and what becomes of that."""
    kept = isinstance(error, Postponed) and error.kept
    where = "in the journal in STATE_DIR" if kept else "in the memory of this process"
    also = {"cleared": ["hot", "burst"], "notCleared": ["store"], "pending": "journal" if kept else "memory"}
    return RequestRefused(503, POSTPONED.format(where=where), also=also)


def _wish(asked: dict[str, object]) -> Wish:
    for name in asked:
        if name not in MEMBERS:  # "dry-run" would invalidate what was only to be looked at
            raise RequestRefused(400, f"{json.dumps(name[:50])} is not known here; known are {', '.join(MEMBERS)}")
    soft, dry = _flag(asked, "soft"), _flag(asked, "dry_run")
    if "tags" in asked:
        if "pattern" in asked:
            raise RequestRefused(400, 'give "pattern" or "tags", not both')
        return Wish(None, _tags(asked["tags"]), soft, dry)
    pattern = text_of(asked, "pattern")
    if len(pattern) > MAX_PATTERN_BYTES:
        raise RequestRefused(400, f'"pattern" is longer than {MAX_PATTERN_BYTES} bytes')
    return Wish(pattern, (), soft, dry)


def _flag(asked: dict[str, object], name: str) -> bool:
    value = asked.get(name, False)
    if not isinstance(value, bool):
        raise RequestRefused(400, f'"{name}" must be true or false')
    return value


def _tags(given: object) -> Sequence[bytes]:
    if not isinstance(given, list) or not given or len(given) > MAX_TAGS:
        raise RequestRefused(400, f'"tags" must be a list of 1 to {MAX_TAGS} tags')
    if not all(isinstance(tag, str) and tag for tag in given):
        raise RequestRefused(400, '"tags" must hold texts that are not empty')
    tags = [encoded(tag, "tags") for tag in given]
    if max(map(len, tags)) > MAX_TAG:
        raise RequestRefused(400, f'"tags" must be of at most {MAX_TAG} bytes each')
    return tags
