"""An IStore made of values that are elsewhere: what the contract does not say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from zope.interface import implementer
from zope.interface.verify import verifyObject

from caching_proxy.interfaces import IStore, IValues, Stored, StoreError
from caching_proxy.store.indexed import IndexedStore

KEY, OTHER = b"cache:GET:anonymous:/x", b"cache:GET:anonymous:/y"


@implementer(IValues)
class Values:
    """In a dictionary; ``held`` writes wait, and it fails while ``down``."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.down = False
        self.hold = False
        self.held: list[tuple[bytes, bytes, Deferred[None]]] = []

    def get(self, names: Sequence[bytes]) -> Deferred[Mapping[bytes, bytes]]:
        if self.down:
            return fail(StoreError("down"))
        return succeed({name: self.values[name] for name in names if name in self.values})

    def set(self, name: bytes, value: bytes, ttl_ms: int) -> Deferred[None]:
        if self.down:
            return fail(StoreError("down"))
        if self.hold:
            self.held.append((name, value, Deferred()))
            return self.held[-1][2]
        self.values[name] = value
        return succeed(None)

    def delete(self, names: Sequence[bytes]) -> Deferred[None]:
        if self.down:
            return fail(StoreError("down"))
        for name in names:
            self.values.pop(name, None)
        return succeed(None)

    def release(self) -> None:
        held, self.held = self.held, []
        for name, value, done in held:
            self.values[name] = value
            done.callback(None)

    def ping(self) -> Deferred[None]:
        return fail(StoreError("down")) if self.down else succeed(None)

    def start(self) -> Deferred[None]:
        return succeed(None)

    def stop(self) -> Deferred[None]:
        return succeed(None)


class Rig:
    def __init__(self, **more: int) -> None:
        self.values = Values()
        self.clock = Clock()
        self.store = IndexedStore(self.values, self.clock, **more)

    def put(self, key: bytes = KEY, field: bytes = b"-", value: bytes = b"v", ttl_ms: int = 60_000) -> Deferred[None]:
        return self.store.put(key, field, value, ttl_ms)

    def found(self, key: bytes = KEY, fields: Sequence[bytes] | None = None) -> dict[bytes, bytes] | None:
        results: list[Stored | None] = []
        self.store.lookup(key, fields).addCallback(results.append)
        return None if results[0] is None else dict(results[0].variants)


@pytest.fixture
def rig() -> Rig:
    return Rig()


def test_both_sides_provide_their_interface(rig: Rig) -> None:
    assert verifyObject(IStore, rig.store)
    assert verifyObject(IValues, rig.values)


def test_names_are_short_and_never_given_twice(rig: Rig) -> None:
    names = set()
    for _ in range(5):
        rig.put()
        names |= set(rig.values.values)
    assert len(names) == 5
    assert all(len(name) == 40 and name.isalnum() for name in names)
    assert len(rig.values.values) == 1, "what was replaced is deleted"


def test_a_value_that_went_before_its_time_is_no_variant(rig: Rig) -> None:
    rig.put(field=b"a")
    rig.put(field=b"b", value=b"w")
    rig.values.values = {name: value for name, value in rig.values.values.items() if value == b"w"}
    assert rig.found() == {b"b": b"w"}
    assert rig.found(fields=[b"a"]) == {}
    rig.values.values.clear()
    assert rig.found() is None


def test_an_invalidation_overtakes_a_write(rig: Rig) -> None:
    rig.values.hold = True
    done = rig.put()
    rig.store.delete([KEY])
    rig.values.release()
    assert done.called
    assert rig.found() is None
    assert not rig.values.values, "nobody can ask for it any more"


def test_a_variant_that_is_being_written_stays(rig: Rig) -> None:
    rig.values.hold = True
    rig.put()
    assert rig.found(fields=[b"-"]) == {}
    rig.values.release()
    assert rig.found() == {b"-": b"v"}


def test_a_write_that_fails_leaves_nothing(rig: Rig) -> None:
    rig.values.down = True
    failed = rig.put()
    failed.addErrback(lambda failure: failure.trap(StoreError))
    rig.values.down = False
    assert rig.found() is None


def test_bytes_are_those_of_the_values_elsewhere() -> None:
    rig = Rig(max_bytes=20_000)
    for number in range(10):
        rig.put(b"cache:GET:anonymous:/%d" % number, value=b"x" * 3000)
    assert 0 < len(rig.values.values) <= 6
    assert rig.found(b"cache:GET:anonymous:/9") == {b"-": b"x" * 3000}
    assert rig.found(b"cache:GET:anonymous:/0") is None


def test_deleting_while_the_store_is_away_is_no_error(rig: Rig) -> None:
    rig.put()
    rig.values.down = True
    assert rig.store.delete([KEY]).result == {KEY}
    rig.values.down = False
    assert rig.found() is None


def test_what_ends_is_deleted(rig: Rig) -> None:
    rig.store.start()
    rig.put(ttl_ms=5000)
    rig.clock.advance(10)
    rig.put(OTHER)
    assert len(rig.values.values) == 1
    rig.store.stop()
