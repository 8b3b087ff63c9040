"""Slots of a Redis Cluster: which one a key is in, under which name so that a target stays together, who owns it.

Everything that is stored for one target, for whatever role, and the index of its roles, must be in one slot: a script
may touch keys of one slot only. So in a Cluster each name begins with a hash tag made of the target's checksum:
``{1c291ca3}cache:GET:anonymous:/x``. Only the first pair of braces counts, so braces in a target change nothing.
"""

from __future__ import annotations

from array import array
from binascii import crc_hqx
from collections.abc import Generator, Sequence
from typing import cast
from zlib import crc32

import attrs

from caching_proxy.rules.key import target_in
from caching_proxy.rules.store_topology import Address

SLOTS = 16384
TAG_SIZE = 10
ANY_TAG = b"{????????}"
"""A glob for every tag."""


def tag_of(target: bytes) -> bytes:
    """The hash tag of all names for ``target``."""
    return b"{%08x}" % crc32(target)


def name_of(key: bytes) -> bytes:
    """The name of ``key`` in a Cluster."""
    return b"{%08x}%b" % (crc32(target_in(key)), key)


def key_in(name: bytes) -> bytes | None:
    """The key whose name this is; None for what is no name of ours."""
    if name[:1] != b"{" or name[TAG_SIZE - 1 : TAG_SIZE] != b"}":
        return None
    return name[TAG_SIZE:]


def slot_of(name: bytes) -> int:
    """The slot of any name: CRC16 of what stands in its first braces, of the whole if that is empty."""
    start = name.find(b"{") + 1
    if start:
        end = name.find(b"}", start)
        if end > start:
            name = name[start:end]
    return crc_hqx(name, 0) % SLOTS


@attrs.frozen(eq=False)
class SlotMap:
    """Who owns which slot: ``owners`` by slot, None where nobody does. ``replicas`` may be asked about the map.

    ``mark`` is a checksum of who owns what.
    """

    owners: Sequence[Address | None]
    masters: tuple[Address, ...]
    replicas: tuple[Address, ...]
    mark: int = 0

    @property
    def nodes(self) -> tuple[Address, ...]:
        return (*self.masters, *self.replicas)


STEP = 512
"""Ranges of slots that are read in one go: a map in pieces may have 16384 of them, which take a tenth of a second."""


def parse_slots(reply: object, asked: Address) -> SlotMap:
    """The reply to CLUSTER SLOTS; a node that does not know its own address has that of who was ``asked``.

    Raises ValueError for what is none.
    """
    steps = slots_in_steps(reply, asked)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return cast("SlotMap", end.value)


def slots_in_steps(reply: object, asked: Address) -> Generator[None, None, SlotMap]:
    """:func:`parse_slots`, with a pause after each :data:`STEP` ranges."""
    owners: list[Address | None] = [None] * SLOTS
    addresses: dict[tuple[object, object], Address] = {}
    masters: dict[Address, None] = {}
    replicas: dict[Address, None] = {}
    try:
        for nth, (first, last, *nodes) in enumerate(cast("list[list[int]]", reply), 1):
            master, *others = [_address(cast("list[object]", node), asked, addresses) for node in nodes]
            if not 0 <= first <= last < SLOTS:
                raise ValueError("slots out of range")
            owners[first : last + 1] = [master] * (last - first + 1)
            masters[master] = None
            for other in others:
                replicas[other] = None
            if nth % STEP == 0:
                yield
    except (TypeError, IndexError, AttributeError, KeyError) as problem:
        raise ValueError("no map of slots") from problem
    yield
    order = tuple(sorted(masters))
    return SlotMap(tuple(owners), order, tuple(sorted(replicas)), _mark(owners, order))


def _mark(owners: list[Address | None], masters: tuple[Address, ...]) -> int:
    positions: dict[Address | None, int] = {master: nth for nth, master in enumerate(masters, 1)}
    return crc32(array("H", [positions.get(owner, 0) for owner in owners]), crc32(repr(masters).encode()))


def _address(node: list[object], asked: Address, known: dict[tuple[object, object], Address]) -> Address:
    """The address in a reply, one object for each; most of a large map are repetitions."""
    host, port = node[:2]
    address = known.get((host, port))
    if address is None:
        address = known[host, port] = _parsed(host, port, asked)
    return address


def _parsed(host: object, port: object, asked: Address) -> Address:
    if not isinstance(port, int) or not 0 < port < 65536:
        raise ValueError("no port")
    name = host.decode("latin-1") if isinstance(host, bytes) else ""
    return (name if name not in ("", "?") else asked[0], port)


def parse_redirection(text: str) -> tuple[bool, int, Address] | None:
    """``MOVED slot host:port`` or ``ASK …``: whether it is only for now, the slot, and where to; None for other errors.

    An empty host means the host of the server that said so.
    """
    kind, _, rest = text.partition(" ")
    if kind not in ("MOVED", "ASK"):
        return None
    slot, _, where = rest.partition(" ")
    host, _, port = where.partition(" ")[0].rpartition(":")
    if not (slot.isdecimal() and port.isdecimal() and int(slot) < SLOTS and 0 < int(port) < 65536):
        return None
    return kind == "ASK", int(slot), (host.strip("[]"), int(port))
