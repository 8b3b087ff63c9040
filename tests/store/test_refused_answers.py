"""A server that closes connections rather than answer: what is as large is not stored for a while, if that is why.

A game found the second row (``tests/simulation``): connections that were cut twice in a row, over a value of 346 bytes,
kept a proxy from storing anything for ten minutes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.redis_in_memory import Command, Rig

KEY = b"cache:GET:anonymous:/x"


@pytest.mark.parametrize(("size", "sent"), [(100_000, b"HDEL"), (346, b"EVALSHA")])
def test_only_what_is_large_can_be_refused(rigs: Callable[..., Rig], size: int, sent: bytes) -> None:
    from support.redis_in_memory import outcome

    from caching_proxy.store.redis.store import RedisStore

    rig = rigs(minimum=1, maximum=1).started()
    server, store = rig.server, RedisStore(rig.pool)

    def cut_or_told(command: Command) -> bytes | None:
        if command[0] == b"HMGET":
            server.wires[-1].lose()
        return b":%d\r\n" % size if command[0] == b"EVALSHA" else None

    server.special = cut_or_told
    answers = outcome(store.lookup(KEY, [b"-"]))
    for _ in range(20):
        server.clock.advance(0.1)
    assert [type(answer).__name__ for answer in answers] == ["AnswerLost"]
    server.commands.clear()
    server.special = lambda command: b":0\r\n" if command[0] != b"TIME" else None
    outcome(store.put(KEY, b"-", b"v" * size, 1000))
    rig.settle()
    assert server.commands[0][0] == sent
