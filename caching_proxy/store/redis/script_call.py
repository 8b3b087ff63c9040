"""A call of a script: by its digest, and with the whole script only to a server that does not know it yet."""

from __future__ import annotations

from hashlib import sha1
from typing import TypeVar

from txredisapi import ResponseError

from caching_proxy.store.redis.commands import Call, SendAgain
from caching_proxy.store.redis.connection import RedisConnection, RedisReply, form
from caching_proxy.store.redis.errors import from_reply

T = TypeVar("T")


def sized(*parts: bytes) -> tuple[int | bytes, ...]:
    """Each with its length before it, as forms take them."""
    return tuple([word for part in parts for word in (len(part), part)])


class Script:
    """A Lua script as it is called with so many keys and arguments: forms for the length and the bytes of each.

    ``known`` is for servers that have it, ``whole`` for others.
    """

    __slots__ = ("known", "whole")

    def __init__(self, source: bytes, keys: int, args: int) -> None:
        digest = sha1(source, usedforsecurity=False).hexdigest().encode()
        self.known = form(b"EVALSHA", digest, b"%d" % keys, blanks=keys + args)
        self.whole = form(b"EVAL", source, b"%d" % keys, blanks=keys + args)


class ScriptCall(Call[T]):
    """A call of ``script``."""

    __slots__ = ("_sent_whole", "script")

    def __init__(self, script: Script) -> None:
        self.script = script
        self._sent_whole = False

    def payload(self, connection: RedisConnection) -> bytes:
        script = self.script
        return (script.whole if self._sent_whole else script.known) % self.parts(connection)

    def parts(self, connection: RedisConnection) -> tuple[int | bytes, ...]:
        """Keys and arguments, the length of each before it."""
        raise NotImplementedError

    def read(self, replies: list[RedisReply]) -> T:
        reply = replies[0]
        if isinstance(reply, ResponseError):
            if self._sent_whole or not str(reply).startswith("NOSCRIPT"):
                raise from_reply(reply)
            self._sent_whole = True
            raise SendAgain
        return self.told(reply)

    def told(self, reply: RedisReply) -> T:
        """What the script's reply means."""
        raise NotImplementedError
