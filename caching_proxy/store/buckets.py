"""The keys of the embedded store in an order that stands still, so that a walk over them can pause anywhere."""

from __future__ import annotations

BUCKETS = 4096


class Buckets:
    """Keys by their hash, which differs from process to process: nobody can aim at one bucket."""

    __slots__ = ("_buckets",)

    def __init__(self) -> None:
        self._buckets: list[set[bytes] | None] = [None] * BUCKETS

    def add(self, key: bytes) -> None:
        number = hash(key) % BUCKETS
        held = self._buckets[number]
        if held is None:
            self._buckets[number] = {key}
        else:
            held.add(key)

    def discard(self, key: bytes) -> None:
        number = hash(key) % BUCKETS
        held = self._buckets[number]
        if held is not None:
            held.discard(key)
            if not held:
                self._buckets[number] = None

    def step(self, start: int, most: int) -> tuple[list[bytes], int]:
        """The keys from bucket ``start`` on, whole buckets until there are ``most`` or more; the next one, 0 at the
        end."""
        keys: list[bytes] = []
        for number in range(start, BUCKETS):
            held = self._buckets[number]
            if held is not None:
                keys += held
                if len(keys) >= most:
                    return keys, (number + 1) % BUCKETS
        return keys, 0
