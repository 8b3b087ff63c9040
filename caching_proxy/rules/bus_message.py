"""What one proxy tells the others that share its store: which keys it has invalidated.

A message that cannot be read, perhaps one of a later version, means everything: too much is forgotten, never too
little.
"""

from __future__ import annotations

import json
from typing import Any

import attrs

_quoted = json.encoder.encode_basestring_ascii

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


_MESSAGE = b'{"origin": %b, "targets": [%b], "keys": [%b], "patterns": [%b]%b}'
"""What ``json.dumps`` would make of it, in a fifth of the time."""


def _listed(words: tuple[bytes, ...]) -> bytes:
    return ", ".join([_quoted(word.decode("latin-1")) for word in words]).encode() if words else b""


EVERYTHING = Invalidation(patterns=(b"cache:*",))


def encode(origin: bytes, invalidation: Invalidation) -> bytes:
    """The message in which the proxy named ``origin`` tells of ``invalidation``."""
    # older versions take a message with a word that is news to them for one of everything
    tags = b', "tags": [%b]' % _listed(invalidation.tags) if invalidation.tags else b""
    keys, patterns = invalidation.keys, invalidation.patterns
    message = _MESSAGE % (
        _listed((origin,)),
        _listed(invalidation.targets),
        _listed(keys) if keys else b"",  # most have targets alone
        _listed(patterns) if patterns else b"",
        tags,
    )
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
