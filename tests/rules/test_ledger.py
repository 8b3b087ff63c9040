"""What a proxy has yet to apply, from what it knows and what the ledger has."""

from __future__ import annotations

import pytest

from caching_proxy.rules.bus_message import EVERYTHING, Invalidation, encode
from caching_proxy.rules.ledger import MAX_PATTERNS, UNKNOWN, Entry, merged, missed, number_of, published

X, Y = Invalidation(targets=(b"/x",)), Invalidation(patterns=(b"cache:*:/y",))


def mark(number: int) -> bytes:
    return b"%d:word%d" % (number, number)


def entry(number: int, invalidation: Invalidation = X) -> bytes:
    return mark(number) + b" " + encode(b"other", invalidation)


def told(number: int, invalidation: Invalidation = X) -> Entry:
    return Entry(mark(number), b"other", invalidation)


CREATED = mark(0) + b" "

TABLE: list[tuple[str, bytes, bytes, list[bytes | None], tuple[Entry, ...] | None]] = [
    ("nothing happened", mark(5), mark(5), [], ()),
    ("one", mark(5), mark(6), [entry(5), entry(6, Y)], (told(6, Y),)),
    ("in order", mark(5), mark(7), [entry(5), entry(6), entry(7, Y)], (told(6), told(7, Y))),
    ("the first of all", mark(0), mark(1), [CREATED, entry(1)], (told(1),)),
    ("unreadable means everything", mark(5), mark(6), [entry(5), mark(6) + b" ?"], (Entry(mark(6), b"", EVERYTHING),)),
    ("nothing known yet", UNKNOWN, mark(5), [], None),
    ("the log no longer reaches back", mark(5), mark(2000), [], None),
    ("our own place is gone", mark(5), mark(6), [None, entry(6)], None),
    ("one in between is gone", mark(5), mark(7), [entry(5), None, entry(7)], None),
    ("the last is gone", mark(5), mark(6), [entry(5), None], None),
    ("emptied: it begins anew", mark(5), mark(0), [], None),
    ("a failover lost some", mark(5), mark(4), [], None),
    ("lost some and counted on", mark(5), b"5:later", [], None),
    ("lost some and counted further", mark(5), mark(6), [b"5:later " + encode(b"other", X), entry(6)], None),
    ("the newest is another", mark(5), b"6:later", [entry(5), entry(6)], None),
    ("an entry in a wrong place", mark(5), mark(7), [entry(5), entry(7), entry(7)], None),
    ("too few", mark(5), mark(7), [entry(5), entry(6)], None),
    ("damaged", mark(5), mark(6), [entry(5), b"6"], None),
    ("no marks at all", b"what", b"ever", [], None),
]


@pytest.mark.parametrize(
    ("known", "newest", "log", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_what_was_missed(
    known: bytes, newest: bytes, log: list[bytes | None], expected: tuple[Entry, ...] | None
) -> None:
    assert missed(known, newest, log) == expected


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (mark(4) + b" " + entry(5, Y), Entry(mark(5), b"other", Y, mark(4))),
        (b" " + entry(1), Entry(mark(1), b"other", X, UNKNOWN)),
        (encode(b"other", X), Entry(UNKNOWN, b"other", X)),
        (b"", Entry(UNKNOWN, b"", EVERYTHING)),
        (b"a b c", Entry(UNKNOWN, b"", EVERYTHING)),
        (mark(4) + b" " + mark(5) + b" ?", Entry(mark(5), b"", EVERYTHING, mark(4))),
    ],
)
def test_what_was_published(payload: bytes, expected: Entry) -> None:
    assert published(payload) == expected


@pytest.mark.parametrize(
    ("word", "number"),
    [(b"0:a", 0), (b"12:a", 12), (b"", -1), (b":a", -1), (b"x:a", -1), (b"-1:a", -1), (b"9" * 30 + b":a", -1)],
)
def test_numbers(word: bytes, number: int) -> None:
    assert number_of(word) == number


def patterns(count: int) -> list[Invalidation]:
    return [Invalidation(patterns=(b"cache:*:/%d" % n,)) for n in range(count)]


@pytest.mark.parametrize(
    ("several", "one"),
    [
        ([X], X),
        ([X, Y, X], Invalidation(targets=(b"/x",), patterns=(b"cache:*:/y",))),
        (
            [Invalidation(keys=(b"k",), tags=(b"t",)), Invalidation(keys=(b"l", b"k"), tags=(b"u",))],
            Invalidation(keys=(b"k", b"l"), tags=(b"t", b"u")),
        ),
        (patterns(1) * 100, patterns(1)[0]),
        (patterns(MAX_PATTERNS + 1), EVERYTHING),
        ([EVERYTHING, X], Invalidation(targets=(b"/x",), patterns=EVERYTHING.patterns)),
    ],
)
def test_several_as_one(several: list[Invalidation], one: Invalidation) -> None:
    assert merged(several) == one
