"""What goes on for a key: leases, reads, the flight and turns, and that nothing of it is left when it is over."""

from __future__ import annotations

from twisted.internet.task import Clock

from caching_proxy.cache.flights import FlightResult
from caching_proxy.cache.key_state import KeyState, StoreRead
from caching_proxy.cache.voided_tags import NEVER
from caching_proxy.rules.glob import compile_glob

A, B = b"a", b"b"


def voided_at(keys: KeyState, key: bytes) -> float:
    """The latest moment that a lease of ``key`` was voided at."""
    record = keys.records.get(key)
    return max([NEVER, *([] if record is None else [lease.voided_at for lease in record.leases])])


# -- the record


def test_a_record_is_here_while_anything_goes_on() -> None:
    keys = KeyState(Clock(), 60.0)
    flight, lease = keys.begin_flight(A), keys.open(A)
    keys.in_turn(A, lambda: None)
    assert list(keys) == [A]
    lease.close()
    assert list(keys) == [A], "a flight and a write are left"
    flight.land(FlightResult.UNSHAREABLE)
    assert list(keys) == [A], "a write is left"
    keys.end_turn(A)
    assert list(keys) == []
    keys.in_turn(A, lambda: None)
    keys.end_turn(A)
    assert list(keys) == []
    keys.begin_flight(A)
    keys.void(A.__eq__, 5.0)
    assert list(keys) == []


def test_an_invalidation_takes_the_flight_off_with_the_leases() -> None:
    keys = KeyState(Clock(), 60.0)
    leases = [keys.open(key) for key in (A, B)]
    flights = [keys.begin_flight(key) for key in (A, B)]
    leases[1].carry({b"tag"})
    keys.void_tags({b"tag"}, 5.0)
    assert [lease.valid for lease in leases] == [True, False]
    assert [keys.flight(key) for key in (A, B)] == [flights[0], None]
    keys.void(A.__eq__, 5.0)
    assert (leases[0].valid, keys.flight(A)) == (False, None)


def test_a_read_is_shared_until_it_is_outdated_or_over() -> None:
    keys = KeyState(Clock(), 60.0)
    read = keys.read(A, (b"-",), StoreRead)
    other = keys.read(A, (b"other",), StoreRead)
    assert read is keys.read(A, (b"-",), StoreRead) is not other
    keys.outdate(A)
    later = keys.read(A, (b"-",), StoreRead)
    assert later is not read
    keys.end_read(read)
    assert keys.read(A, (b"-",), StoreRead) is later, "the old one takes only itself off"
    keys.void(A.__eq__, 5.0)
    last = keys.read(A, (b"-",), StoreRead)
    assert last is not later
    keys.end_read(last)
    for each in (read, other, later, last):
        each.close()
    assert list(keys) == []


def test_tags_are_remembered_while_work_is_under_way() -> None:
    keys = KeyState(Clock(), 60.0)
    keys.void_tags({b"tag"}, 5.0)
    keys.remove_tags({b"tag"}, 5.0)
    assert len(keys.tags) == 0, "nobody is concerned"
    lease = keys.open(A)
    keys.void_tags({b"tag"}, 5.0)
    later = keys.open(A)
    assert (later.carry({b"tag"}), lease.carry({b"tag"}), lease.voided_at) == (True, False, 5.0)
    for each in (lease, later):
        each.close()
    assert len(keys.tags) == 0


# -- leases


def test_leases_are_voided_and_outdated() -> None:
    keys = KeyState(Clock(), 60.0)
    one, same, other = keys.open(b"a"), keys.open(b"a"), keys.open(b"b")
    keys.outdate(b"a")
    assert [(lease.valid, lease.current) for lease in (one, other)] == [(True, False), (True, True)]
    assert voided_at(keys, b"a") == NEVER
    keys.void(compile_glob(b"a"), 5.0)
    assert [(lease.valid, lease.voided_at) for lease in (one, same)] == [(False, 5.0)] * 2
    assert keys.open(b"a").valid, "what begins now is not concerned"
    keys.void(compile_glob(b"*"), 4.0)
    assert (voided_at(keys, b"a"), voided_at(keys, b"b")) == (5.0, 4.0)


def test_leases_are_forgotten() -> None:
    keys = KeyState(Clock(), 60.0)
    one, same = keys.open(b"a"), keys.open(b"a")
    keys.void(compile_glob(b"a"), 5.0)
    one.close()
    one.close()
    assert (list(keys), voided_at(keys, b"a")) == ([b"a"], 5.0)
    same.close()
    assert (len(keys), voided_at(keys, b"a")) == (0, NEVER)


# -- turns


def test_those_on_one_key_wait_for_each_other() -> None:
    keys, begun = KeyState(Clock(), 60.0), []  # type: ignore[var-annotated]
    for number in range(3):
        keys.in_turn(A, begun.append, number)
    keys.in_turn(B, begun.append, 9)
    assert (begun, len(keys)) == ([0, 9], 2)
    keys.end_turn(A)
    assert begun == [0, 9, 1]
    keys.end_turn(B)
    keys.end_turn(A)
    assert (begun, len(keys)) == ([0, 9, 1, 2], 1)
    keys.end_turn(A)
    assert len(keys) == 0
    keys.in_turn(A, begun.append, 3)
    assert begun[-1] == 3


def test_thousands_that_end_as_they_begin_do_not_nest() -> None:
    keys, begun = KeyState(Clock(), 60.0), []  # type: ignore[var-annotated]

    def operation(number: int) -> None:
        begun.append(number)
        keys.end_turn(A)

    keys.in_turn(A, begun.append, 0)
    for number in range(1, 5000):
        keys.in_turn(A, operation, number)
    keys.end_turn(A)
    assert (begun, len(keys)) == (list(range(5000)), 0)


def test_one_that_ends_as_it_begins_may_start_another() -> None:
    keys, begun = KeyState(Clock(), 60.0), []  # type: ignore[var-annotated]

    def operation(number: int) -> None:
        begun.append(number)
        if number < 3:
            keys.in_turn(A, operation, number + 1)
        keys.end_turn(A)

    keys.in_turn(A, operation, 0)
    assert (begun, len(keys)) == ([0, 1, 2, 3], 0)


def test_drained_when_what_was_there_is_over() -> None:
    keys, drained = KeyState(Clock(), 60.0), []  # type: ignore[var-annotated]
    keys.drain().addCallback(lambda _: drained.append("at once"))
    assert drained == ["at once"]
    for key in (A, A, B):
        keys.in_turn(key, drained.append, key)
    keys.drain().addCallback(lambda _: drained.append("later"))
    keys.in_turn(A, drained.append, b"behind")
    keys.end_turn(A)
    keys.end_turn(B)
    assert "later" not in drained
    keys.end_turn(A)
    assert drained[-2:] == ["later", b"behind"]
