"""What the proxy's scripts do, in Python: one function each, found by the digest of the Lua text.

A script whose text changes keeps its function here; ``test_scripts_as_modelled.py`` holds both against each other on a
real server.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from struct import Struct
from typing import Any

from simulation.redis_data import Data

from caching_proxy.rules.codec import PREAMBLE
from caching_proxy.rules.key import GET_PREFIX
from caching_proxy.rules.ledger import LEDGER_LENGTH, MAX_ENTRY_BYTES
from caching_proxy.store.redis import claims, ledger_calls, scripts, stale_scripts
from caching_proxy.store.redis import put as writing
from caching_proxy.store.redis.script_call import Script
from caching_proxy.store.redis.target_index import KNOWN_PREFIXES

_RECORD = Struct("!III")
Records = list[tuple[bytes, int, bytes]]


class Machine:
    """What scripts work on: the data, and those who listen. ``ledger_length`` may be less than the real one."""

    def __init__(self, data: Data, publish: Callable[[bytes, bytes], object]) -> None:
        self.data = data
        self.publish = publish
        self.ledger_length = LEDGER_LENGTH
        self.entered: Callable[[bytes], object] = lambda mark: None


# -- the index of a key ------------------------------------------------------------------------------


def _record(name: bytes, value: bytes) -> tuple[bytes, int, bytes]:
    outline = b""
    if len(value) > 8 and value.startswith(PREAMBLE):
        outline = value[8 : 8 + int.from_bytes(value[4:8], "big")]
    elif value.startswith(PREAMBLE[:3]):
        outline = value[:4]
    return name, len(value), _RECORD.pack(len(name), len(value), len(outline)) + name + outline


def _records(index: bytes | None, without: bytes) -> Records | None:
    if not index or not index.startswith(PREAMBLE):
        return None
    found, at = [], 4
    while at + 12 <= len(index):
        name, value, outline = _RECORD.unpack_from(index, at)
        stop = at + 12 + name + outline
        field = index[at + 12 : at + 12 + name]
        if field != without:
            found.append((field, value, index[at:stop]))
        at = stop
    return found


def _written(found: Records) -> bytes:
    return PREAMBLE + b"".join(record for _, _, record in found)


def _unlist(data: Data, key: bytes, field: bytes) -> None:
    found = _records(data.hget(key, b"#"), field)
    if found:
        data.hset(key, b"#", _written(found))
    elif found is not None:
        data.hdel(key, b"#")


# -- the ledger --------------------------------------------------------------------------------------


def _number(mark: bytes | None) -> int:
    digits = re.match(rb"\d+", mark or b"")
    return int(digits[0]) if digits else -1


def _newest(data: Data, ledger: bytes) -> bytes | None:
    kind = data.type(ledger)
    if kind == b"hash":
        return data.hget(ledger, b"last") or None
    if kind != b"none":
        data.unlink(ledger)
    return None


def _mark(machine: Machine, ledger: bytes, channel: bytes, word: bytes, message: bytes, least: int = 0) -> list[bytes]:
    data = machine.data
    last = _newest(data, ledger) or b""
    number = max(_number(last), least) + 1
    own = b"%d:%b" % (number, word)
    entry = own + b" " + (b"?" if len(message) > MAX_ENTRY_BYTES else message)
    data.hdel(ledger, b"%d" % (number - machine.ledger_length))
    data.hset(ledger, b"last", own, b"%d" % number, entry)
    machine.entered(own)
    machine.publish(channel, last + b" " + own + b" " + message)
    return [last, own, b""]


def mark(machine: Machine, keys: list[bytes], args: list[bytes]) -> Any:
    return _mark(machine, keys[0], *args)


def lift(machine: Machine, keys: list[bytes], args: list[bytes]) -> Any:
    data = machine.data
    last = _newest(data, keys[0]) or b""
    least = _number(args[3])
    if _number(last) > least or last == args[3]:
        return None
    lifted = _mark(machine, keys[0], args[0], args[1], args[2], least)
    name = b"%d" % _number(lifted[1])
    entry = data.hget(keys[0], name) or b""
    data.unlink(keys[0])
    data.hset(keys[0], b"last", lifted[1], name, entry)
    return lifted


def since(machine: Machine, keys: list[bytes], args: list[bytes]) -> Any:
    data = machine.data
    last = _newest(data, keys[0])
    if last is None:
        last = b"0:" + args[1]
        data.hset(keys[0], b"last", last, b"0", last + b" ")
        machine.entered(last)
    start, end = _number(args[0]), _number(last)
    if last == args[0] or not 0 <= start < end or end - start >= machine.ledger_length:
        return [last]
    return [last, *(data.hget(keys[0], b"%d" % number) for number in range(start, end + 1))]


# -- entries -----------------------------------------------------------------------------------------


def _remaining(data: Data, key: bytes, wanted: bytes) -> int:
    left = data.pttl(key)
    if left != -2 and data.type(key) != wanted:
        data.unlink(key)
        return -2
    return left


def put(machine: Machine, keys: list[bytes], args: list[bytes]) -> Any:
    data = machine.data
    field, value, life, latest, mark, role = args[0], args[1], int(args[2]), float(args[3]), args[6], args[7]
    if mark:
        newest = data.hget(keys[-1], b"last")
        if newest != mark:
            return newest or b""
    now = -latest
    if now < 0:
        now = data.now()
        if now > latest:
            return now
    key = keys[0]
    left = _remaining(data, key, b"hash")
    if role:
        left = _listed(data, key, keys[1], role, left, life, now)
    data.hset(key, field, value)
    if left != -2:
        data.hdel(key, b"@" + field, b"!" + field)
    if len(args) > 8 and args[8]:
        data.hset(key, b"@" + field, args[8])
        for index in keys[2 if role else 1 : -1 if mark else None]:
            known = _remaining(data, index, b"zset")
            data.zadd(index, now + life, key)
            if known != -2:
                data.zrem_up_to(index, now)
            if known < life:
                data.pexpire(index, life)
    if left < life:
        data.pexpire(key, life)
    _indexed(data, key, field, value, left, int(args[4]), int(args[5]))
    return 0


def _listed(data: Data, key: bytes, index: bytes, role: bytes, left: int, life: int, now: float) -> int:
    listed = _remaining(data, index, b"zset")
    if left != -2 and data.zscore(index, role) is None:
        data.unlink(key)
        left = -2
    life = max(left, life)
    data.zadd(index, now + life, role)
    if listed != -2:
        data.zrem_up_to(index, now)
    if listed < life:
        data.pexpire(index, life)
    return left


def _indexed(data: Data, key: bytes, field: bytes, value: bytes, left: int, most: int, most_bytes: int) -> None:
    if left == -2 and field == b"-":
        return
    found = _records(data.hget(key, b"#"), field) if left != -2 else None
    if found is None:
        if field == b"-":
            return
        found = []
        for name in data.hkeys(key) if left != -2 else ():
            if name == b"-":
                found = [_record(name, data.hget(key, name) or b"")]
            elif name != field and name[:1] not in (b"@", b"!"):
                data.hdel(key, name)
    found.append(_record(field, value))
    size = sum(each[1] for each in found)
    while len(found) > 1 and (len(found) > most or size > most_bytes):
        oldest = found.pop(0)
        data.hdel(key, oldest[0], b"@" + oldest[0], b"!" + oldest[0])
        size -= oldest[1]
    data.hset(key, b"#", _written(found))


def unlist(machine: Machine, keys: list[bytes], args: list[bytes]) -> Any:
    data = machine.data
    if data.hget(keys[0], b"#") is not None and not data.hstrlen(keys[0], args[0]):
        _unlist(data, keys[0], args[0])
    return 0


def forget(machine: Machine, keys: list[bytes], args: list[bytes]) -> Any:
    data, key = machine.data, keys[0]
    fields = data.hkeys(key) if data.type(key) == b"hash" else []
    largest = max([0, *(data.hstrlen(key, field) for field in fields)])
    data.unlink(key)
    return largest


def drop_target(machine: Machine, keys: list[bytes], args: list[bytes]) -> Any:
    data, target = machine.data, args[0]
    marked = _mark(machine, keys[1], *args[2:5]) if len(keys) > 1 else []
    gone = [prefix + target for prefix in KNOWN_PREFIXES if data.unlink(prefix + target)]
    if data.type(keys[0]) != b"zset":
        data.unlink(keys[0])
        return [0, gone, marked]
    roles = data.zpopmin(keys[0], int(args[1]))
    listed = [GET_PREFIX + role + b":" + target for role in roles]
    return [len(roles), gone + [key for key in listed if data.unlink(key)], marked]


def drop_targets(machine: Machine, keys: list[bytes], args: list[bytes]) -> Any:
    most, count = int(args[0]), len(keys) - (len(args) > 1 + len(keys))
    marked = _mark(machine, keys[count], *args[1 + count :]) if count < len(keys) else []
    found = []
    for index, target in zip(keys[:count], args[1 : 1 + count], strict=True):
        if most <= 0:
            break
        roles, gone, _ = drop_target(machine, [index], [target, b"%d" % most])
        most -= roles
        found.append(gone)
    return [most, found, marked]


# -- tags, and what is stale -------------------------------------------------------------------------


def tagged(machine: Machine, keys: list[bytes], args: list[bytes]) -> Any:
    data, index, (tag, cursor, _, fate, moment) = machine.data, keys[0], args
    if data.type(index) != b"zset":
        data.unlink(index)
        return [b"0", []]
    cursor, members = data.zscan(index, cursor)
    found = []
    for key in members:
        fields = _carrying(data, key, tag)
        if fields:
            found.append(key)
        for field in fields:
            if fate == b"deleted":
                data.hdel(key, field, b"@" + field, b"!" + field)
                _unlist(data, key, field)
            elif fate == b"stale":
                data.hset(key, b"!" + field, moment)
        if fate == b"deleted":
            data.zrem(index, key)
    return [cursor, found]


def _carrying(data: Data, key: bytes, tag: bytes) -> list[bytes]:
    if data.type(key) != b"hash":
        return []
    names = [name for name in data.hkeys(key) if name.startswith(b"@")]
    return [name[1:] for name in names if tag in (data.hget(key, name) or b"").split(b"\n")]


def _softened(data: Data, key: bytes, moment: bytes) -> bool:
    if data.type(key) != b"hash":
        return False
    for name in data.hkeys(key):
        if name[:1] not in (b"#", b"@", b"!"):
            data.hset(key, b"!" + name, moment)
    return True


def soften(machine: Machine, keys: list[bytes], args: list[bytes]) -> Any:
    return int(_softened(machine.data, keys[0], args[0]))


def soften_target(machine: Machine, keys: list[bytes], args: list[bytes]) -> Any:
    data, (target, cursor, _, moment) = machine.data, args
    found = []
    if cursor == b"0":
        found += [prefix + target for prefix in KNOWN_PREFIXES if _softened(data, prefix + target, moment)]
    if data.type(keys[0]) != b"zset":
        return [b"0", found]
    cursor, roles = data.zscan(keys[0], cursor)
    listed = [GET_PREFIX + role + b":" + target for role in roles]
    return [cursor, found + [key for key in listed if _softened(data, key, moment)]]


# -- claims ------------------------------------------------------------------------------------------


def claim(machine: Machine, keys: list[bytes], args: list[bytes]) -> Any:
    data, by = machine.data, machine.data.hget(keys[0], b"by")
    if by and by != args[0]:
        return 2 if by == b"-" else 0
    data.hset(keys[0], b"by", args[0])
    data.pexpire(keys[0], int(args[1]))
    return 1


def end_claim(machine: Machine, keys: list[bytes], args: list[bytes]) -> Any:
    data = machine.data
    if data.hget(keys[0], b"by") != args[0]:
        return 0
    if args[2] == b"0":
        return data.unlink(keys[0])
    data.hset(keys[0], b"by", args[1])
    data.pexpire(keys[0], int(args[2]))
    return 1


Model = Callable[[Machine, list[bytes], list[bytes]], Any]


def digest(script: Script) -> bytes:
    """How calls name it."""
    found = re.search(rb"[0-9a-f]{40}", script.known)
    assert found is not None
    return found[0]


MODELS: dict[bytes, Model] = {
    digest(script): model
    for script, model in (
        (writing._PUT_FORMS[1], put),
        (scripts.UNLIST, unlist),
        (scripts.FORGET, forget),
        (scripts.DROP_TARGET, drop_target),
        (scripts.drop_targets(2, True), drop_targets),
        (ledger_calls._MARK, mark),
        (ledger_calls._SINCE, since),
        (ledger_calls._LIFT, lift),
        (stale_scripts.TAGGED, tagged),
        (stale_scripts.SOFTEN, soften),
        (stale_scripts.SOFTEN_TARGET, soften_target),
        (claims._CLAIM, claim),
        (claims._END, end_claim),
    )
}
