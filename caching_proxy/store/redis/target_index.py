"""Which keys belong to one target, so that a target can be dropped without walking every key.

The keys of the built-in roles are known by name. For all other roles the store keeps an index beside the entries,
one per target, of the roles that wrote one. Under the same prefix stand the indexes of tags.
"""

from __future__ import annotations

from collections.abc import Sequence

from caching_proxy.rules.key import GET_PREFIX
from caching_proxy.rules.role import ADMIN, ANONYMOUS, AUTHENTICATED, OPAQUE
from caching_proxy.store.redis.slots import TAG_SIZE, key_in

INDEX_PREFIX = b"cacheindex:"
"""Under it stand the indexes; it is no prefix of a cache key, nor the other way round."""

_BUILT_IN = tuple(role.identifier for role in (ANONYMOUS, AUTHENTICATED, ADMIN, OPAQUE))
_START = len(GET_PREFIX)

KNOWN_PREFIXES = (*(GET_PREFIX + role + b":" for role in _BUILT_IN), GET_PREFIX)
"""What stands before the target in keys that no index lists: of the built-in roles, and old ones without a role."""


NEVER_LISTED = KNOWN_PREFIXES[:-1]
"""Those of them that say so by themselves: what begins with one has no index."""


def indexed(key: bytes) -> tuple[bytes, bytes] | None:
    """The role of a key that an index must list, and that index; None for a key that is found by its name."""
    colon = key.find(b":", _START)
    if colon < 0 or not key.startswith(GET_PREFIX):
        return _tagged(key) if key.startswith(b"{") else None
    role = key[_START:colon]
    if role in _BUILT_IN or not role or b"/" in role:  # a slash: an old key without a role
        return None
    return role, INDEX_PREFIX + key[colon + 1 :]


def _tagged(name: bytes) -> tuple[bytes, bytes] | None:
    """The same for a name in a Cluster: the index has the tag of its entries."""
    key = key_in(name)
    where = indexed(key) if key is not None and key.startswith(GET_PREFIX) else None
    return None if where is None else (where[0], name[:TAG_SIZE] + where[1])


def index_key(target: bytes) -> bytes:
    return INDEX_PREFIX + target


def tag_keys(key: bytes, tags: Sequence[bytes]) -> tuple[bytes, ...]:
    """The indexes of ``tags`` that a write of ``key`` must keep; none in a Cluster, where they are in other slots."""
    return () if key.startswith(b"{") else tuple(map(tag_key, tags))


def tag_key(tag: bytes) -> bytes:
    """Where the keys stand that carry ``tag``; a target begins with ``/``, so this is none of one."""
    return INDEX_PREFIX + b"#" + tag
