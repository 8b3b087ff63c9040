"""What one proxy tells the others that share its store: which keys it has invalidated.

A message that cannot be read, perhaps one of a later version, means everything: too much is forgotten, never too
little.
"""

from __future__ import annotations

import json

import attrs

MAX_MESSAGE_BYTES = 1024 * 1024
"""What is longer is sent as an invalidation of everything."""


@attrs.frozen(slots=True)
class Invalidation:
    """Targets for every role, keys, and Redis globs on keys."""

    targets: tuple[bytes, ...] = ()
    keys: tuple[bytes, ...] = ()
    patterns: tuple[bytes, ...] = ()


EVERYTHING = Invalidation(patterns=(b"cache:*",))


def encode(origin: bytes, invalidation: Invalidation) -> bytes:
    """The message in which the proxy named ``origin`` tells of ``invalidation``."""
    words = {name: [each.decode("latin-1") for each in value] for name, value in attrs.asdict(invalidation).items()}
    message = json.dumps({"origin": origin.decode("latin-1"), **words}).encode()
    return message if len(message) <= MAX_MESSAGE_BYTES else encode(origin, EVERYTHING)


def decode(message: bytes) -> tuple[bytes, Invalidation]:
    """Who sent ``message`` (empty if that cannot be told), and what it invalidates."""
    try:
        fields = json.loads(message)
        origin = fields["origin"].encode("latin-1")
        lists = [tuple(one.encode("latin-1") for one in fields[name]) for name in ("targets", "keys", "patterns")]
        if len(fields) == 1 + len(lists):
            return origin, Invalidation(*lists)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        pass
    return b"", EVERYTHING
