"""The scripts, in Lua on a real server and as the played Redis carries them out: the same replies, the same data."""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from simulation.redis_data import ReplyError, Text
from simulation.redis_scripts import MODELS, digest
from simulation.redis_server import Server
from support.redis_server import RedisError, RedisServer

from caching_proxy.rules.codec import PREAMBLE
from caching_proxy.store.redis import claims, ledger_calls, put, scripts, stale_scripts
from caching_proxy.store.redis.script_call import Script

KEYS = (b"cache:GET:anonymous:/x", b"cache:GET:editor:/x", b"cache:GET:editor:/y", b"cache:GET:-")
TARGETS = (b"/x", b"/y")
FIELDS = (b"-", b"a" * 32, b"b" * 32)
LEDGER = b"cacheindex:invalidations"
TAGS = (b"red", b"blue")
SECONDS = 600_000
"""Milliseconds within which times of both may differ; lives are longer, so that nothing ends."""


class Scripts:
    """Calls of scripts with what proxies send, and what they do not, chosen by ``random``."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._pick = random.choice
        self._mark = b""
        self._word = 0

    def learn(self, reply: Any) -> None:
        """Marks that scripts have told are used by later ones."""
        for part in reply if isinstance(reply, list) else ():
            if isinstance(part, bytes) and part[:1].isdigit() and b":" in part:
                self._mark = part.partition(b" ")[0]
            else:
                self.learn(part)

    def next(self) -> tuple[Script, list[bytes], list[bytes]]:
        kinds: tuple[Callable[[], tuple[Script, list[bytes], list[bytes]]], ...]
        kinds = (self._put, self._put, self._put, self._drop, self._ledger, self._stale, self._claim, self._unlist)
        return self._pick(kinds)()

    def _said(self) -> list[bytes]:
        self._word += 1
        return [b"channel", b"w%d" % self._word, self._pick((b"{}", b"m" * 9000))]

    def _value(self) -> bytes:
        outline = b"o" * self._random.randrange(30)
        known = PREAMBLE + len(outline).to_bytes(4, "big") + outline + b"body"
        return self._pick((known, known, PREAMBLE[:3] + b"\x09rest", b"", b"foreign"))

    def _put(self) -> tuple[Script, list[bytes], list[bytes]]:
        key, role, mark = self._pick(KEYS), b"", self._pick((b"", b"", self._mark, b"-"))
        keys, tags = [key], self._pick(((), (), TAGS[:1], TAGS))
        if key.startswith(b"cache:GET:editor"):
            role = b"editor"
            keys.append(b"cacheindex:" + key[17:])
        keys += [b"cacheindex:#" + tag for tag in tags]
        keys += [LEDGER] * bool(mark)
        latest = b"%d" % self._pick((-1000 * int(time.time()), 10**15, 10**15, 1))
        most = self._pick((b"64", b"1", b"2")), self._pick((b"1000000", b"60"))
        life = b"%d" % self._random.randrange(2 * SECONDS, 9 * SECONDS)
        args = [self._pick(FIELDS), self._value(), life, latest, *most, mark, role]
        return put._PUT_FORMS[1], keys, args + [b"\n".join(tags)] * bool(tags)

    def _drop(self) -> tuple[Script, list[bytes], list[bytes]]:
        if self._random.random() < 0.3:
            return self._drop_all()
        target = self._pick(TARGETS)
        index, args = b"cacheindex:" + target, [target, self._pick((b"1", b"1000"))]
        if self._random.random() < 0.5:
            return scripts.DROP_TARGET, [index], args
        return scripts.DROP_TARGET_IN_ORDER, [index, LEDGER], args + self._said()

    def _drop_all(self) -> tuple[Script, list[bytes], list[bytes]]:
        in_order, targets = self._random.random() < 0.5, self._random.sample(TARGETS, 2)
        keys, args = [b"cacheindex:" + target for target in targets], [self._pick((b"1", b"1000")), *targets]
        if not in_order:
            return scripts.drop_targets(2, False), keys, args
        return scripts.drop_targets(2, True), [*keys, LEDGER], args + self._said()

    def _ledger(self) -> tuple[Script, list[bytes], list[bytes]]:
        mark = self._pick((self._mark, b"", b"0:x", b"1:w1", b"7:z"))
        if self._random.random() < 0.3:
            return ledger_calls._MARK, [LEDGER], self._said()
        if self._random.random() < 0.3:
            return ledger_calls._LIFT, [LEDGER], [*self._said(), mark]
        return ledger_calls._SINCE, [LEDGER], [mark, self._said()[1]]

    def _stale(self) -> tuple[Script, list[bytes], list[bytes]]:
        tag, target = self._pick(TAGS), self._pick(TARGETS)
        fate = self._pick((b"kept", b"stale", b"deleted"))
        return self._pick(
            (
                (stale_scripts.TAGGED, [b"cacheindex:#" + tag], [tag, b"0", b"200", fate, b"17.000"]),
                (stale_scripts.SOFTEN, [self._pick(KEYS)], [b"18.000"]),
                (stale_scripts.SOFTEN_TARGET, [b"cacheindex:" + target], [target, b"0", b"200", b"19.000"]),
            )
        )

    def _unlist(self) -> tuple[Script, list[bytes], list[bytes]]:
        if self._random.random() < 0.3:
            return scripts.FORGET, [self._pick(KEYS)], []
        return scripts.UNLIST, [self._pick(KEYS)], [self._pick(FIELDS)]

    def _claim(self) -> tuple[Script, list[bytes], list[bytes]]:
        key, who = b"cacheindex:!x", self._pick((b"a", b"b", b"-"))
        if self._random.random() < 0.5:
            return claims._CLAIM, [key], [who, b"%d" % (2 * SECONDS)]
        return claims._END, [key], [who, self._pick((b"a", b"-")), self._pick((b"0", b"%d" % (2 * SECONDS)))]


def alike(ours: Any, theirs: Any) -> bool:
    """The same, but for moments, which are of two clocks, and the order in which names are told."""
    if isinstance(ours, list | tuple) and isinstance(theirs, list):
        plain = all(isinstance(each, bytes) for each in (*ours, *theirs))
        pairs = zip(sorted(ours), sorted(theirs), strict=False) if plain else zip(ours, theirs, strict=False)
        return len(ours) == len(theirs) and all(alike(*pair) for pair in pairs)
    if isinstance(ours, int) and isinstance(theirs, int) and abs(ours) > SECONDS:
        return abs(ours - theirs) < SECONDS
    return bool(ours == theirs)


def source_of(script: Script) -> bytes:
    """The text of a script."""
    opening = script.whole.split(b"$%d\r\n%b\r\n")[0].replace(b"%%", b"%")
    size, _, rest = opening.partition(b"EVAL\r\n$")[2].partition(b"\r\n")
    return rest[: int(size)]


class Both:
    """A real server and a played one, which are told the same."""

    def __init__(self, real: RedisServer) -> None:
        self.real = real
        self.played = Server(time.time)

    def run(self, script: Script, keys: list[bytes], args: list[bytes]) -> tuple[Any, Any]:
        """The replies of both, ``"error"`` for one that is."""
        theirs: Any
        try:
            theirs = self.real.cli("EVAL", source_of(script), len(keys), *keys, *args)
        except RedisError:
            theirs = "error"
        try:
            ours = MODELS[digest(script)](self.played.machine, list(keys), list(args))
        except ReplyError:
            ours = "error"
        return ours, theirs

    def spoil(self, key: bytes) -> None:
        """Somebody else writes there."""
        self.real.cli("SET", key, "foreign")
        self.played.data.unlink(key)
        self.played.data.values[key] = Text({b"": b"foreign"})

    def differences(self) -> list[object]:
        """Keys that do not hold the same."""
        data, found = self.played.data, list[object]()
        names = self.real.cli("KEYS", "*")
        assert isinstance(names, list)
        for key in {*names, *data.values}:
            ours = [data.type(key), data.pttl(key), self._ours(key)]
            theirs = [self.real.cli("TYPE", key), self.real.cli("PTTL", key), self._theirs(key)]
            if not alike(ours, theirs):
                found.append((key, ours, theirs))
        return found

    def _ours(self, key: bytes) -> list[Any]:
        value = self.played.data.values.get(key, Text())
        return [[name, int(each) if isinstance(each, float) else each] for name, each in sorted(value.items())]

    def _theirs(self, key: bytes) -> list[Any]:
        kind = self.real.cli("TYPE", key)
        if kind == b"string":
            return [[b"", self.real.cli("GET", key)]]
        command = ("ZRANGE", key, 0, -1, "WITHSCORES") if kind == b"zset" else ("HGETALL", key)
        flat = self.real.cli(*command) if kind != b"none" else []
        assert isinstance(flat, list)
        pairs = zip(flat[::2], flat[1::2], strict=True)
        return sorted([name, int(float(each)) if kind == b"zset" else each] for name, each in pairs)


@pytest.mark.parametrize("seed", range(8))
def test_scripts_do_what_the_played_redis_does(redis_server: RedisServer, seed: int) -> None:
    random = Random(seed)
    both, some = Both(redis_server), Scripts(random)
    for _ in range(120):
        if random.random() < 0.03:
            both.spoil(random.choice((*KEYS, LEDGER, b"cacheindex:/x", b"cacheindex:#red")))
        script, keys, args = some.next()
        ours, theirs = both.run(script, keys, args)
        told = (MODELS[digest(script)].__name__, keys, args, ours, theirs)
        assert alike(ours, theirs), told
        assert both.differences() == [], told
        some.learn(theirs)
