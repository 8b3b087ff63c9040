"""What a Redis server holds, as far as the proxy uses it: hashes and sorted sets that end by themselves.

Methods are named after the commands and answer what those answer: bytes, a count, None, a list. Times are
milliseconds of the server's own clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from zlib import crc32


class ReplyError(Exception):
    """An error reply: its text, with the word in capitals that begins it."""


WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"


class Hash(dict[bytes, bytes]):
    """The value of a hash."""

    kind = b"hash"


class SortedSet(dict[bytes, float]):
    """Members with their scores."""

    kind = b"zset"


class Text(dict[bytes, bytes]):
    """A string, which the proxy never writes: foreign data at a key of its own."""

    kind = b"string"


class Data:
    """Keys, values, ends. ``now`` gives the time; ``step`` is how many keys a walk looks at in one go."""

    def __init__(self, now: Callable[[], int]) -> None:
        self.now = now
        self.step = 1000
        self.values: dict[bytes, Hash | SortedSet | Text] = {}
        self.ends: dict[bytes, int] = {}

    def _value(self, key: bytes) -> Hash | SortedSet | Text | None:
        end = self.ends.get(key)
        if end is not None and end <= self.now():
            self._drop(key)
        return self.values.get(key)

    def _drop(self, key: bytes) -> None:
        del self.values[key]
        self.ends.pop(key, None)

    def _hash(self, key: bytes) -> Hash:
        value = self._value(key)
        if value is not None and not isinstance(value, Hash):
            raise ReplyError(WRONG_TYPE)
        return Hash() if value is None else value

    def _sorted(self, key: bytes) -> SortedSet:
        value = self._value(key)
        if value is not None and not isinstance(value, SortedSet):
            raise ReplyError(WRONG_TYPE)
        return SortedSet() if value is None else value

    def _keep(self, key: bytes, value: Hash | SortedSet) -> None:
        if value:
            self.values[key] = value
        elif key in self.values:
            self._drop(key)

    # -- keys ----------------------------------------------------------------------------------------

    def type(self, key: bytes) -> bytes:
        value = self._value(key)
        return b"none" if value is None else value.kind

    def pttl(self, key: bytes) -> int:
        if self._value(key) is None:
            return -2
        end = self.ends.get(key)
        return -1 if end is None else end - self.now()

    def pexpire(self, key: bytes, life: int) -> int:
        if self._value(key) is None:
            return 0
        self.ends[key] = self.now() + life
        self._value(key)
        return 1

    def unlink(self, key: bytes) -> int:
        if self._value(key) is None:
            return 0
        self._drop(key)
        return 1

    def exists(self, key: bytes) -> int:
        return int(self._value(key) is not None)

    def scan(self, cursor: bytes) -> tuple[bytes, list[bytes]]:
        """A step over all keys, and where it goes on."""
        return self._walked(cursor, [key for key in list(self.values) if self._value(key) is not None])

    def _walked(self, cursor: bytes, names: Iterable[bytes]) -> tuple[bytes, list[bytes]]:
        """In an order of their own, in which what is there from the first step to the last is met."""
        after = int(cursor)
        left = sorted((crc32(name) + 1, name) for name in names)
        left = [each for each in left if each[0] > after]
        some = left[: self.step]
        while len(left) > len(some) and left[len(some)][0] == some[-1][0]:
            some = left[: len(some) + 1]
        goes_on = len(left) > len(some)
        return (b"%d" % some[-1][0] if goes_on else b"0"), [name for _, name in some]

    # -- hashes --------------------------------------------------------------------------------------

    def hget(self, key: bytes, field: bytes) -> bytes | None:
        return self._hash(key).get(field)

    def hset(self, key: bytes, *pairs: bytes) -> int:
        value = self._hash(key)
        before = len(value)
        value.update(zip(pairs[::2], pairs[1::2], strict=True))
        self._keep(key, value)
        return len(value) - before

    def hdel(self, key: bytes, *fields: bytes) -> int:
        value = self._hash(key)
        gone = sum(value.pop(field, None) is not None for field in fields)
        self._keep(key, value)
        return gone

    def hkeys(self, key: bytes) -> list[bytes]:
        return list(self._hash(key))

    def hstrlen(self, key: bytes, field: bytes) -> int:
        return len(self._hash(key).get(field, b""))

    def hmget(self, key: bytes, *fields: bytes) -> list[bytes | None]:
        return list(map(self._hash(key).get, fields))

    def hgetall(self, key: bytes) -> list[bytes]:
        return [part for pair in self._hash(key).items() for part in pair]

    # -- sorted sets ---------------------------------------------------------------------------------

    def zadd(self, key: bytes, score: float, member: bytes) -> int:
        value = self._sorted(key)
        new = member not in value
        value[member] = score
        self._keep(key, value)
        return int(new)

    def zscore(self, key: bytes, member: bytes) -> float | None:
        return self._sorted(key).get(member)

    def zrem(self, key: bytes, member: bytes) -> int:
        value = self._sorted(key)
        gone = value.pop(member, None) is not None
        self._keep(key, value)
        return int(gone)

    def zrem_up_to(self, key: bytes, score: float) -> None:
        value = self._sorted(key)
        for member in [member for member, its in value.items() if its <= score]:
            del value[member]
        self._keep(key, value)

    def zpopmin(self, key: bytes, count: int) -> list[bytes]:
        """The members alone, the lowest scores first."""
        value = self._sorted(key)
        gone = sorted(value, key=lambda member: (value[member], member))[:count]
        for member in gone:
            del value[member]
        self._keep(key, value)
        return gone

    def zscan(self, key: bytes, cursor: bytes) -> tuple[bytes, list[bytes]]:
        """As :meth:`scan`, over members."""
        return self._walked(cursor, list(self._sorted(key)))
