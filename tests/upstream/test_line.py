"""Who may have a backend connection, and who is next."""

from __future__ import annotations

import attrs
import pytest

from caching_proxy.upstream.line import Line


@attrs.define(eq=False)
class Request:
    name: str
    peer: bytes = b"a"
    streams: bool = False


def order(line: Line[Request], keep: bool = True) -> list[str]:
    """Who comes out of the line, one after another, each holding on to its connection (or giving it back)."""
    names = []
    while (request := line.next()) is not None:
        names.append(request.name)
        line.took(request)
        if not keep:
            line.gave_back(request)
    return names


@pytest.mark.parametrize(("size", "share"), [(100, 50), (5, 3), (2, 1), (1, 1)])
def test_half_of_them_is_the_share_by_default(size: int, share: int) -> None:
    assert Line(size).share == share


def test_no_peer_holds_more_than_its_share() -> None:
    line: Line[Request] = Line(10, 2)
    first, second, third = Request("1"), Request("2"), Request("3")
    for request in (first, second):
        assert line.may_start(request)
        line.took(request)
    assert not line.may_start(third)
    assert line.may_start(Request("other", b"b"))
    line.add(third)
    assert line.next() is None
    line.gave_back(first)
    assert line.held_by(b"a") == 1
    assert line.next() is third


def test_peers_take_turns_each_in_its_own_order() -> None:
    line: Line[Request] = Line(100)
    for name in ("a1", "a2", "a3", "b1", "c1", "b2"):
        line.add(Request(name, name[0].encode()))
    assert order(line) == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_who_has_its_share_is_passed_over() -> None:
    line: Line[Request] = Line(100, 1)
    line.took(Request("held", b"a"))
    for name in ("a1", "b1", "b2", "c1"):
        line.add(Request(name, name[0].encode()))
    assert order(line) == ["b1", "c1"]


def test_requests_without_a_body_come_first_but_uploads_come_too() -> None:
    line: Line[Request] = Line(1000)
    for n in range(3):
        line.add(Request(f"up{n}", streams=True))
    for n in range(8):
        line.add(Request(f"get{n}"))
    assert order(line, keep=False) == [
        *("get0", "get1", "get2", "up0", "get3", "get4", "get5", "up1", "get6", "get7", "up2")
    ]


def test_uploads_leave_connections_for_others() -> None:
    line: Line[Request] = Line(8, 8)
    uploads = [Request(f"up{n}", b"%d" % n, streams=True) for n in range(8)]
    started = [request for request in uploads if line.may_start(request) and not line.took(request)]
    assert len(started) == 6
    for request in uploads[6:]:
        line.add(request)
    assert line.next() is None
    assert line.may_start(Request("get"))
    line.gave_back(started[0])
    assert line.next() is uploads[6]


def test_who_left_is_not_next() -> None:
    line: Line[Request] = Line(10)
    gone, stays = Request("gone"), Request("stays", streams=True)
    line.add(gone)
    line.add(stays)
    line.remove(gone)
    line.remove(gone)
    assert order(line) == ["stays"]


def test_nothing_is_kept_of_those_who_are_gone() -> None:
    line: Line[Request] = Line(10)
    for n in range(100):
        request = Request("x", b"%d" % n)
        line.took(request)
        line.gave_back(request)
        line.add(request)
        line.remove(request)
    assert not line._held
    assert not line._plain
