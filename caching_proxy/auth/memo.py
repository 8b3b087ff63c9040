"""A bounded memory of tokens that were judged good, so that each is verified once in a while and not per request.

Nothing is remembered past the token's own expiry. Refusals are not remembered: keys may arrive and moments come.
"""

from __future__ import annotations

from collections import OrderedDict

from caching_proxy.interfaces import Identity

MAX_ENTRIES = 1000
MAX_SECONDS = 300.0


class Memo:
    """Exact ``Authorization`` field value → identity; least recently used goes first. Times are POSIX seconds."""

    __slots__ = ("_entries", "_max_entries", "_max_seconds")

    def __init__(self, max_entries: int = MAX_ENTRIES, max_seconds: float = MAX_SECONDS) -> None:
        self._entries: OrderedDict[bytes, tuple[float, Identity]] = OrderedDict()
        self._max_entries = max_entries
        self._max_seconds = max_seconds

    def get(self, authorization: bytes, now: float) -> Identity | None:
        """The identity if it is known and still holds at ``now``."""
        entry = self._entries.get(authorization)
        if entry is None:
            return None
        if now >= entry[0]:
            del self._entries[authorization]
            return None
        self._entries.move_to_end(authorization)
        return entry[1]

    def put(self, authorization: bytes, identity: Identity, expires: float | None, now: float) -> None:
        """Remember until ``expires`` or for the memo's own time, whichever is sooner."""
        until = now + self._max_seconds
        if expires is not None:
            until = min(until, expires)
        self._entries[authorization] = (until, identity)
        self._entries.move_to_end(authorization)
        if len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)

    def clear(self) -> None:
        """Forget everything: the keys have changed."""
        self._entries.clear()

    def __len__(self) -> int:
        return len(self._entries)
