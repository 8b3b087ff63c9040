"""Which keys of a tier, or of the embedded store, carry a tag."""

from __future__ import annotations

from collections.abc import Iterable


class ByTag:
    """Keys by tag; a tag of one key has that key in place of a set of one."""

    __slots__ = ("_keys",)

    def __init__(self) -> None:
        self._keys: dict[bytes, bytes | set[bytes]] = {}

    def add(self, key: bytes, tags: Iterable[bytes]) -> None:
        """Note that ``key`` carries ``tags``."""
        for tag in tags:
            held = self._keys.setdefault(tag, key)
            if isinstance(held, set):
                held.add(key)
            elif held != key:
                self._keys[tag] = {held, key}

    def discard(self, key: bytes, tags: Iterable[bytes]) -> None:
        """Forget that ``key`` carries ``tags``, as far as it was noted."""
        for tag in tags:
            held = self._keys.get(tag)
            if held == key:
                del self._keys[tag]
            elif isinstance(held, set):
                held.discard(key)
                if not held:
                    del self._keys[tag]

    def of(self, tag: bytes) -> set[bytes]:
        """The keys that carry ``tag``; the set is the caller's."""
        held = self._keys.get(tag)
        if held is None:
            return set()
        return set(held) if isinstance(held, set) else {held}

    def keys(self, tag: bytes) -> list[bytes]:
        """The same as a list, at half the cost."""
        held = self._keys.get(tag)
        if held is None:
            return []
        return list(held) if isinstance(held, set) else [held]

    def take(self, tags: Iterable[bytes]) -> set[bytes]:
        """The keys that carry one of ``tags``, which are forgotten here, as the caller removes all of them. A tag may
        have very many, so they are not copied without need."""
        taken: set[bytes] = set()
        for tag in tags:
            held = self._keys.pop(tag, None)
            if isinstance(held, set):
                small, taken = sorted((held, taken), key=len)
                taken |= small
            elif held is not None:
                taken.add(held)
        return taken

    def clear(self) -> None:
        """Forget everything."""
        self._keys.clear()

    def __len__(self) -> int:
        return len(self._keys)
