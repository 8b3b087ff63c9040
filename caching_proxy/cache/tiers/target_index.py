"""Which keys of a tier belong to a target, so that a request that changes it need not walk the whole tier."""

from __future__ import annotations

from collections.abc import Container

from caching_proxy.rules.key import build_key, target_in
from caching_proxy.rules.role import ADMIN, ANONYMOUS, AUTHENTICATED, OPAQUE

NAMED_BY_ROLE = tuple(build_key(role.identifier, b"") for role in (ANONYMOUS, AUTHENTICATED, ADMIN, OPAQUE))
"""What keys begin with that are found by their names: noting one changes nothing."""


class ByTarget:
    """Keys by target, of those in ``held``.

    Most keys are of the built-in roles: these are found by their names, and cost no room here. Of other roles most
    targets have one key, which then stands for itself.
    """

    __slots__ = ("_held", "_keys")

    def __init__(self, held: Container[bytes]) -> None:
        self._held = held
        self._keys: dict[bytes, bytes | set[bytes]] = {}

    def add(self, key: bytes) -> None:
        """Note ``key``; a second time changes nothing."""
        if key.startswith(NAMED_BY_ROLE):
            return
        target = target_in(key)
        held = self._keys.setdefault(target, key)
        if held is key:
            return
        if isinstance(held, set):
            held.add(key)
        elif held != key:
            self._keys[target] = {held, key}

    def discard(self, key: bytes) -> None:
        """Forget ``key``, if it was noted."""
        if key.startswith(NAMED_BY_ROLE):
            return
        target = target_in(key)
        held = self._keys.get(target)
        if held == key:
            del self._keys[target]
        elif isinstance(held, set):
            held.discard(key)
            if not held:
                del self._keys[target]

    def of(self, target: bytes) -> list[bytes]:
        """The keys of ``target``, in any order."""
        found = []
        for prefix in NAMED_BY_ROLE:
            key = prefix + target
            if key in self._held:
                found.append(key)
        others = self._keys.get(target)
        if others is not None:
            found += others if isinstance(others, set) else (others,)
        return found

    def clear(self) -> None:
        """Forget everything."""
        self._keys.clear()
