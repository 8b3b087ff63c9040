"""What one proxy tells the others that share its store: which keys it has invalidated.

A message that cannot be read, perhaps one of a later version, means everything: too much is forgotten, never too
little.
"""

from __future__ import annotations

import json
from typing import Any

import attrs

KINDS = ("targets", "keys", "patterns", "tags")

MAX_MESSAGE_BYTES = 1024 * 1024
"""What is longer is sent as an invalidation of everything."""


@attrs.frozen(slots=True)
class Invalidation:
    """Targets for every role, keys, Redis globs on keys, and tags.

    ``soft``: a store of its own is to make it stale instead of deleting it. Proxies that share a store need not know:
    what the store has carried out they find there.
    """

    targets: tuple[bytes, ...] = ()
    keys: tuple[bytes, ...] = ()
    patterns: tuple[bytes, ...] = ()
    tags: tuple[bytes, ...] = ()
    soft: bool = False


EVERYTHING = Invalidation(patterns=(b"cache:*",))


def encode(origin: bytes, invalidation: Invalidation) -> bytes:
    """The message in which the proxy named ``origin`` tells of ``invalidation``."""
    # older versions take a message with a word that is news to them for one of everything
    names = KINDS if invalidation.tags else KINDS[:-1]
    words = {name: [each.decode("latin-1") for each in getattr(invalidation, name)] for name in names}
    message = json.dumps({"origin": origin.decode("latin-1"), **words}).encode()
    return message if len(message) <= MAX_MESSAGE_BYTES else encode(origin, EVERYTHING)


def decode(message: bytes) -> tuple[bytes, Invalidation]:
    """Who sent ``message`` (empty if that cannot be told), and what it invalidates."""
    try:
        fields = json.loads(message)
        origin = fields["origin"].encode("latin-1")
        fields.setdefault("tags", [])
        lists: dict[str, Any] = {name: tuple(one.encode("latin-1") for one in fields[name]) for name in KINDS}
        if len(fields) == 1 + len(lists):
            return origin, Invalidation(**lists)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    return b"", EVERYTHING
