"""POST /invalidate: what a pattern matches, or what carries one of some tags, leaves every tier."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
from twisted.internet.defer import Deferred

from caching_proxy.interfaces import Postponed, StoreError
from caching_proxy.rules.key import key_text
from caching_proxy.rules.tags import MAX_TAG
from caching_proxy.web.admin.cache import MAX_PATTERN_BYTES, encoded, text_of
from caching_proxy.web.admin.json_answers import AdminRequest, JsonAnswer, RequestRefused, json_object, json_reply
from caching_proxy.web.admin.services import AdminResource, AdminServices

MAX_TAGS = 1000

POSTPONED = (
    "the store cannot do this now: memory was cleared, and what is left to do in the store waits {where} until it can"
)


@attrs.frozen(slots=True)
class Wish:
    """What is to be invalidated: what a ``pattern`` matches, or what carries one of ``tags``; for good or ``soft``."""

    pattern: bytes | None
    tags: Sequence[bytes]
    soft: bool

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


class InvalidateResource(AdminResource):
    """Removes from every tier, or makes stale."""

    methods = (b"POST",)
    guarded = True
    abandoned_with_client = False  # half an invalidation is worse than one nobody waits for

    async def act(self, request: AdminRequest) -> JsonAnswer:
        wish = _wish(await json_object(request))
        try:
            count = await wish.granted(self.services)
        except StoreError as error:
            self._note(request, wish, None)
            raise _postponed(error) from error
        self._note(request, wish, count)
        done = "marked as stale" if wish.soft else "invalidated"
        return json_reply({"message": f"{done} {count} keys that {wish.told}", "deletedCount": count})

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
    soft = _flag(asked, "soft")
    if "tags" in asked:
        if "pattern" in asked:
            raise RequestRefused(400, 'give "pattern" or "tags", not both')
        return Wish(None, _tags(asked["tags"]), soft)
    pattern = text_of(asked, "pattern")
    if len(pattern) > MAX_PATTERN_BYTES:
        raise RequestRefused(400, f'"pattern" is longer than {MAX_PATTERN_BYTES} bytes')
    return Wish(pattern, (), soft)


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
