"""Which keys of a tier belong to a target, so that a request that changes it need not walk the whole tier."""

from __future__ import annotations

from caching_proxy.rules.key import target_in


class ByTarget:
    """Keys by target; most targets have one key, which then stands for itself."""

    __slots__ = ("_keys",)

    def __init__(self) -> None:
        self._keys: dict[bytes, bytes | set[bytes]] = {}

    def add(self, key: bytes) -> None:
        """Note ``key``; a second time changes nothing."""
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
        held = self._keys.get(target)
        if held is None:
            return []
        return list(held) if isinstance(held, set) else [held]

    def clear(self) -> None:
        """Forget everything."""
        self._keys.clear()
