"""Small messages of one turn of the loop leave in one call, in order with everything else."""

from __future__ import annotations

import pytest

from caching_proxy.transport.native import NativeTransport


class Native:
    """What a native transport was asked to do."""

    def __init__(self) -> None:
        self.calls: list[bytes | str] = []

    def set_write_buffer_limits(self, high: int) -> None: ...

    def get_extra_info(self, name: str) -> None: ...

    def write(self, data: bytes) -> None:
        self.calls.append(data)

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")

    def is_closing(self) -> bool:
        return False

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.calls.append("end")


class Loop:
    """Runs what is due at the end of a turn."""

    def __init__(self) -> None:
        self.due = []

    def call_soon(self, call) -> None:
        self.due.append(call)

    def turn(self) -> None:
        due, self.due = self.due, []
        for call in due:
            call()


@pytest.fixture
def wired():
    native, loop = Native(), Loop()
    return NativeTransport(native, loop), native, loop


def test_one_write_a_turn(wired):
    transport, native, loop = wired
    transport.write_together(b"a")
    transport.write_together(b"b")
    assert (native.calls, len(loop.due)) == ([], 1)
    loop.turn()
    assert native.calls == [b"ab"]
    transport.write_together(b"c")
    loop.turn()
    assert native.calls == [b"ab", b"c"]


def test_an_ordinary_write_keeps_its_place(wired):
    transport, native, loop = wired
    transport.write_together(b"a")
    transport.write(b"b")
    transport.write_together(b"c")
    loop.turn()
    assert native.calls == [b"a", b"b", b"c"]


@pytest.mark.parametrize(("how", "then"), [("loseConnection", "close"), ("loseWriteConnection", "end")])
def test_nothing_is_forgotten_at_the_end(wired, how, then):
    transport, native, loop = wired
    transport.write_together(b"a")
    getattr(transport, how)()
    loop.turn()
    assert native.calls == [b"a", then]


def test_an_aborted_connection_sends_nothing_more(wired):
    transport, native, loop = wired
    transport.write_together(b"a")
    transport.abortConnection()
    transport.lost(None)
    loop.turn()
    assert native.calls == ["abort"]
