"""URI references in Location and Content-Location."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caching_proxy.http.messages import Fields, RequestHead, ResponseHead
from caching_proxy.rules.references import describes_target, origin_of, same_origin_target

ORIGINS = (b"http://here", b"https://there:8443")


@pytest.mark.parametrize(
    ("scheme", "authority", "origin"),
    [
        (b"HTTP", b"Here:80", b"http://here"),
        (b"https", b"here:443", b"https://here"),
        (b"https", b"here:80", b"https://here:80"),
        (b"http", b"here:", b"http://here"),
        (b"http", b"[::1]:8080", b"http://[::1]:8080"),
    ],
)
def test_origin_of(scheme: bytes, authority: bytes, origin: bytes) -> None:
    assert origin_of(scheme, authority) == origin


@pytest.mark.parametrize(
    ("reference", "target"),
    [
        (b"/b", b"/b"),
        (b"/b?q=/../x#f", b"/b?q=/../x"),
        (b"/a%7Eb", b"/a%7Eb"),
        (b"e", b"/c/e"),
        (b"./e/", b"/c/e/"),
        (b"../e", b"/e"),
        (b"../../../e", b"/e"),
        (b"..", b"/"),
        (b"/x/y/..", b"/x/"),
        (b"?z", b"/c/d?z"),
        (b"", b"/c/d?q"),
        (b"#f", b"/c/d?q"),
        (b"http://here/b", b"/b"),
        (b"HTTP://HERE:80", b"/"),
        (b"http://here?x", b"/?x"),
        (b"//there:8443/b", b"/b"),
        (b"/a//b", b"/a//b"),
    ],
)
def test_I3_references_to_this_origin(reference: bytes, target: bytes) -> None:
    assert same_origin_target(reference, b"/c/d?q", ORIGINS) == target


@pytest.mark.parametrize(
    "reference",
    [b"http://other/b", b"https://here/b", b"http://here:81/b", b"//other/b", b"mailto:a@b", b"http:b", b"//here@x/"],
)
def test_I4_never_another_origin(reference: bytes) -> None:
    assert same_origin_target(reference, b"/c/d?q", ORIGINS) is None


@pytest.mark.parametrize(
    ("lines", "describes"),
    [
        ([b"/a"], True),
        ([b"http://here/a"], True),
        ([b"a"], True),
        ([b"/b"], False),
        ([], False),
        ([b"/a", b"/a"], False),
    ],
)
def test_M8_content_location_names_the_target(lines: list[bytes], describes: bool) -> None:
    response = ResponseHead(201, b"", Fields((b"Content-Location", line) for line in lines))
    assert describes_target(RequestHead(b"POST", b"/a"), response, ORIGINS) is describes


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.binary(max_size=20) | st.text("/.:?#ahtp", max_size=20).map(str.encode))
def test_no_bytes_raise(reference: bytes) -> None:
    target = same_origin_target(reference, b"/c", ORIGINS)
    assert target is None or target.startswith(b"/")
