"""Targets that lead out of the tree that they are sent into."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caching_proxy.rules.climbing import climbs

OUT = [
    *(b"/..", b"/../", b"/../secret", b"/../../x", b"/..?x", b"/../?a=/b/c", b"/a/../..", b"/a/../../secret"),
    *(b"/%2e%2e/secret", b"/%2E%2e/secret", b"/.%2e/x", b"/%2e./x", b"/%2e%2e", b"/a/..%2f..%2fsecret"),
    *(b"/..%2fsecret", b"/%2e%2e%2fsecret", b"/..\\secret", b"/..%5csecret", b"/%5c..%5cx", b"/a\\..\\..\\x"),
    *(b"/./../x", b"/.%2f../x", b"//../x", b"/a//../../x", b"/a/.//../../x", b"/..;/x", b"/a/..;x=1/..;/x"),
    *(b"/%2e%2e;a=b/x", b"/..%3b/x", b"/a/../../a/b/c", b"/../base/x", b"..", b"/a/b/../../../x"),
]
IN = [
    *(b"/", b"/x", b"*", b"", b"/a/..", b"/a/../b", b"/a/b/../../c", b"/...", b"/..x", b"/x..", b"/x../y", b"/a/...;"),
    *(b"/?../..", b"/x?y=/../../z", b"/%252e%252e/x", b"/a%2f..%2fb", b"/.", b"/./x", b"/%2e/x", b"/a/%2e%2e", b"/%2"),
    *(b"/.;/x", b"/;../x", b"/a;b/../c", b"/caf%C3%A9/..", b"/..%00/x", b"/%2", b"/x%2"),
]


@pytest.mark.parametrize("target", OUT)
def test_leads_out(target: bytes) -> None:
    assert climbs(target)
    assert climbs(target.partition(b"?")[0] + b"?q")


@pytest.mark.parametrize("target", IN)
def test_stays_inside(target: bytes) -> None:
    assert not climbs(target)


segments = st.lists(st.sampled_from(["..", ".", "a", "b", ""]), max_size=8)
spellings = st.sampled_from([("..", "/"), ("%2e%2e", "/"), (".%2E", "%2f"), ("..", "\\"), ("..", "%5C"), ("..;p", "/")])


@given(segments, spellings)
def test_whatever_resolves_above_its_beginning_leads_out(parts: list[str], spelling: tuple[str, str]) -> None:
    dots, slash = spelling
    target = "/" + slash.join(dots if part == ".." else part for part in parts)
    path, base = "/".join(parts), "/keep/this"
    inside = (posixpath.normpath(f"{base}/{path}") + "/").startswith(base + "/")
    if not inside:
        assert climbs(target.encode())


@given(segments.filter(lambda parts: ".." not in parts), st.binary(max_size=20))
def test_nothing_leads_out_without_two_dots(parts: list[str], query: bytes) -> None:
    assert not climbs("/".join(["", *parts]).encode() + b"?" + query)


@given(st.binary(max_size=60))
def test_any_bytes_will_do(target: bytes) -> None:
    assert climbs(target) in (True, False)
