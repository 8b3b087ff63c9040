"""No input makes a regular expression of ours work more than in step with its length.

Every compiled pattern at the top of a module has a row here; a new one without a row fails. A row has what its inputs
begin with, so that the later parts of the pattern are come by, and what else they may consist of. Each beginning is
followed by each of many repeated pieces, and these by what may make the pattern fail in the end.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache, partial
from itertools import product

import attrs
import pytest
from support import patterns as patterns_support
from support.patterns import ENDS, PUMPS, Pattern, all_patterns, is_slow

pytestmark = pytest.mark.slow


@attrs.frozen
class Row:
    begin: tuple[bytes, ...] = (b"",)
    pumps: tuple[bytes, ...] = ()


def row(*begin: bytes, pumps: tuple[bytes, ...] = ()) -> Row:
    return Row((b"", *begin), pumps)


PLAIN = Row()
"""One class of characters, or one after the other: nothing has to come first."""

HEX, QUOTED = (b"f" * 16, b"f;", b"f ;"), (b'"', b'""', b'"\\')
DATES = (b"Mon, 01 Jan", b"Monday, 01-Jan-", b"Mon Jan ", b"Mon, 01 Jan 2023 00:00:00 ", b"Mon Jan  1 00:00:00 ")
DATE_PUMPS = (b"mon, ", b"jan ", b"00:")
MEMBERS = (b"a=(", b'a=("', b"a=( a ", b"a=(a;b", b'a=(a;b="', b"a=:", b'a="', b"a=1;b", b"a;b=:", b"a=(1 :a: ", b"a=a")
MEMBER_PUMPS = (b";a", b"; a", b'" "', b' "a"', b" ;a", b";a=:a:", b" ?1", b" 1.1", b"a;b;c ", b" a;  b", b":a: ")
LINE = b"HTTP/1.1 200 OK\r\n"

ROWS: dict[str, Row] = {
    "ctl.warm._LOC": row(b"<loc>", pumps=(b"<loc>", b"<loc>a</loc>", b"<loc><![CDATA[", b"<loc> ")),
    "http.cache_control._MEANT": row(b"no", b"s-max", b"max", pumps=(b"no", b"no-", b"s-", b"s-max-", b"_-", b"max ")),
    "http.cache_control._MEMBER": row(*QUOTED, b'a"', pumps=(b'a"b"', b'""', b'"\\"', b'"a\\')),
    "http.cache_control._QUOTED": row(*QUOTED),
    "http.cache_control._ESCAPE": row(b"\\"),
    "http.chunked._SIZE_LINE": row(*HEX),
    "http.chunked._LENIENT_SIZE_LINE": row(*HEX),
    "http.chunked._TRAILER": row(b"a:"),
    "http.dates._IMF": row(*DATES, pumps=DATE_PUMPS),
    "http.dates._RFC850": row(*DATES, pumps=DATE_PUMPS),
    "http.dates._ASCTIME": row(*DATES, pumps=DATE_PUMPS),
    "http.hop_by_hop._REQUEST_ID": PLAIN,
    "http.negotiation._QUOTED": row(*QUOTED, b'a"'),
    "http.negotiation._GRAMMARS[accept-language]": row(b"a", b"a-b", b"a;q=0.", b"a ; ", pumps=(b"-a", b"-abcdefgh")),
    "http.negotiation._GRAMMARS[accept-encoding]": row(b"a", b"a;q=0.", b"a ; "),
    "http.negotiation._GRAMMARS[accept-charset]": row(b"a", b"a;q=0.", b"a ; "),
    "http.targeted_control._MEMBER": row(b"a", *MEMBERS, pumps=MEMBER_PUMPS),
    "http.targeted_control._SEPARATOR": row(b" ", b" ,"),
    "http.targeted_control._REST": PLAIN,
    "http.targeted_control._INTEGER": row(b"-"),
    "http.targeted_control._ESCAPE": row(b"\\"),
    "rules.cache_hosts._HOST": row(b"a", b"[", b"a:", b"[::1]:"),
    "rules.cache_hosts._NAME": PLAIN,
    "rules.cache_hosts._DB": PLAIN,
    "rules.cache_rules._STATUS": PLAIN,
    "rules.cache_status._TOKEN": row(b"a"),
    "rules.cache_status._UNSAFE": PLAIN,
    "rules.cache_url._BARE_PERCENT": row(b"%"),
    "rules.cache_url._FORBIDDEN": PLAIN,
    "rules.climbing._SEPARATORS": row(b"a/"),
    "rules.conditional._TAG": row(b'W/"', b'"', pumps=(b"W/", b'W/"')),
    "rules.conditional._LIST_MEMBER": row(
        b"\t", b'W/"', b'"a"', b'"', pumps=(b'W/"a"', b'W/"', b'\t"', b'"a"b,', b'"a, ')
    ),
    "rules.cookies._SPACE": PLAIN,
    "rules.glob._ESCAPED": PLAIN,
    "rules.glob._SPECIAL": PLAIN,
    "rules.invalidation_rules._REFERENCE": row(b"\\", b"$"),
    "rules.listing._CURSOR": row(b"s1", b"m1.", b"s1-", b"s1-1-"),
    "rules.locations._REFERENCE": row(b"a", b"a://", b"//a", b"http://a/", pumps=(b"a.", b"a:a")),
    "rules.locations._HOST": row(b"a", b"[", b"a:", b"[::1]:"),
    "rules.locations._PORT": row(b"1"),
    "rules.locations._HAS_PORT": row(b":", b"a:", b"a:1"),
    "rules.own_prefix._SEPARATORS": row(b"a/"),
    "rules.ranges._SPEC": row(b"1", b"1-", b"-"),
    "rules.ranges._CONTENT_RANGE": row(b"bytes ", b"bytes 1-", b"bytes 1-2/"),
    "rules.references._ABSOLUTE": row(b"a", b"a:"),
    "rules.references._AUTHORITY": row(b"//", b"//a/"),
    "rules.role._UNSAFE": PLAIN,
    "rules.scope._PARAMETER": row(
        b"proto=", b'host="', b"host=a", pumps=(b"proto=", b'host="', b'host="\\', b"proto=a;", b'host="a"')
    ),
    "rules.terms_by_target._ENCODED": row(b"%2"),
    "rules.terms_by_target._PECULIAR": row(b"/", b"/.", pumps=(b"/.", b"/./", b"//", b"%2f")),
    "server.http2.heads._BROKEN": row(b" ", b"a"),
    "server.http2.heads._NAME": PLAIN,
    "server.http2.heads._TARGET": PLAIN,
    "server.request_head._TOKEN_FIRST": PLAIN,
    "server.request_line._REQUEST_LINE": row(b"GET ", b"GET / ", b"GET / HTTP/1.", pumps=(b"GET ", b" HTTP/1.1")),
    "server.request_line._PLAIN_LINE": row(b"GET /", b"GET / HTTP/1.", pumps=(b"GET /", b" HTTP/1.1")),
    "server.request_line._VISIBLE": PLAIN,
    "server.request_line._ABSOLUTE": row(b"http://", b"http://a", b"http://a?"),
    "server.request_line._HOST": row(b"a", b"[", b"a:", b"[::1]:"),
    "settings.dotenv._QUOTED": row(b"'", b'"'),
    "settings.parsers._SECRET_PARAMETER": row(b"?", pumps=(b"?a", b"&password=", b"&pass")),
    "settings.parsers._SIZE": row(b"1", b"1 "),
    "settings.parsers._SECONDS": row(b"1."),
    "settings.parsers._HOST": row(b"a", b"[", b"a:", b"[::1]:", pumps=(b"a.", b"a_")),
    "store.memory._CURSOR": row(b"1", b"1:"),
    "store.redis.errors._SICK": row(b"ERR -", pumps=(b"-LOADING", b" -", b"LOADING")),
    "store.redis.errors._READ_ONLY": row(b"ERR -", pumps=(b"-READONLY", b" -")),
    "store.redis.errors._FORBIDDEN": row(b"ERR ", pumps=(b"-NOPERM", b" -", b"ERR ACL ")),
    "store.redis.errors._FOREIGN": row(b"ERR -", pumps=(b"-WRONGTYPE", b" -")),
    "store.redis.walk_cursor._STEP": row(b"1", b"1-", b"1-1-"),
    "telemetry.metrics.exposition._PREFIX": row(b"a"),
    "telemetry.metrics.path_labels._IDENTIFIER": row(
        b"/", b"/1", pumps=(b"/1a", b"/0123abcd-0123", b"/0123456789abcdef0123")
    ),
    "telemetry.metrics.path_labels._UNPRINTABLE": PLAIN,
    "telemetry.redaction._SUSPECT": row(pumps=(b"tok", b"api", b"api ", b"passs")),
    "telemetry.redaction._NAME": row(b"x-amz-sig", pumps=(b"_sig", b"tok", b"api_key", b"session_", b".code")),
    "telemetry.redaction._SEPARATORS": PLAIN,
    "telemetry.redaction._CREDENTIALS": row(
        b"bearer", b"bearer ", b"Basic a", pumps=(b"bearer", b"bearer ", b"basic a ")
    ),
    "telemetry.redaction._USERINFO": row(b"://", pumps=(b"://a", b"://a@")),
    "telemetry.redaction._QUERY": row(b"?", pumps=(b"?a", b"?'")),
    "testing.backend._LENGTH": row(b"\r\ncontent-length:", pumps=(b"\r\ncontent-length: ",)),
    "testing.backend._CHUNKED": row(b"\r\ntransfer-encoding:", pumps=(b"\r\ntransfer-encoding: chunke", b"chunked")),
    "upstream.backend._NAME": row(b"a", pumps=(b"a.", b"a_")),
    "upstream.backend._PATH": PLAIN,
    "upstream.backend._UNSEEN": PLAIN,
    "upstream.response_head.START": row(LINE[:12], LINE[:13], LINE, pumps=(b"\r\n ", LINE)),
    "upstream.response_head._LINE": row(
        LINE, LINE + b"A:", b"\nA", b"\nA:", pumps=(b"A: b\r\n", b"\nA", b"\nA: ", b"A:\r\n")
    ),
    "upstream.response_head._SPACE_BEFORE_COLON": row(b"\nA", b"\nA ", pumps=(b"\nA", b"\nA ", b"A : b\r\n")),
    "upstream.response_head._BARE": row(b"\r"),
    "upstream.response_head._BARE_LF": row(b"\r"),
    "web.admin.why._ABSOLUTE": row(b"http"),
    "web.admin.why._FORBIDDEN": PLAIN,
}

TRUSTED = {"settings.dotenv._ASSIGNMENT"}
"""Reads a file of the operator's, once, and has to read it just as another program does."""


@cache
def patterns() -> dict[str, Pattern]:
    """By name; only once they are asked for, as every module of the package is read for them."""
    return {pattern.name: pattern for pattern in all_patterns()}


def slow_input(pattern: Pattern, row: Row) -> tuple[bytes, bytes, bytes] | None:
    """Beginning, repeated piece and end of an input on which ``pattern`` is slow."""

    def make(begin: bytes, pump: bytes, end: bytes, size: int) -> bytes | str:
        return pattern.text(begin + pump * size + end)

    inputs = product(pattern.uses(), row.begin, (*PUMPS, *row.pumps), ENDS)
    return next((each for use, *each in inputs if is_slow(use, partial(make, *each))), None)


def test_every_pattern_has_a_row_and_every_row_a_pattern():
    assert set(patterns()) == set(ROWS) | TRUSTED


@pytest.mark.parametrize("name", sorted(ROWS))
def test_no_input_is_read_again_and_again(name):
    assert slow_input(patterns()[name], ROWS[name]) is None


@pytest.mark.parametrize(
    ("pattern", "method", "begin"),
    [
        (rb"[ \t]*\r\n", "search", b""),
        (rb"(?<=://).*@", "search", b""),
        (rb"a=(?:a*a*)!", "match", b"a="),
        (rb"(?:a|b)*[ab]*;", "match", b""),
    ],
)
def test_slow_patterns_are_found(pattern, method, begin):
    assert slow_input(Pattern("x", re.compile(pattern), (method,)), Row((begin,))) is not None


class BusyMachine:
    """A clock on which each byte costs one step to the power of ``growth``, times what the load makes of it."""

    def __init__(self, growth: int, load: Callable[[int], float]) -> None:
        self.now = 0
        self._growth, self._load = growth, load

    def __call__(self) -> int:
        return self.now

    def read(self, text: bytes) -> None:
        self.now += int(len(text) ** self._growth * self._load(len(text)))


@pytest.mark.parametrize(
    "load",
    [
        lambda size: 1,
        lambda size: 2.5 if size > 3 * patterns_support.SIZE else 1,
        lambda size: 2.5 if size == patterns_support.SIZE else 1,
    ],
    ids=["idle", "long inputs are dearer", "short inputs are dearer"],
)
@pytest.mark.parametrize(("growth", "slow"), [(1, False), (2, True)])
def test_a_busy_machine_changes_no_verdict(monkeypatch, growth, slow, load):
    machine = BusyMachine(growth, load)
    monkeypatch.setattr(patterns_support, "process_time_ns", machine)
    assert is_slow(machine.read, lambda size: b"a" * size) is slow
