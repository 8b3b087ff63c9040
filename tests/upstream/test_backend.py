"""BACKEND_URL, taken apart."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caching_proxy.upstream.backend import Backend


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://api", Backend(b"http", "api", 80, b"", b"api")),
        ("http://API.example:8080/", Backend(b"http", "api.example", 8080, b"", b"api.example:8080")),
        ("https://api", Backend(b"https", "api", 443, b"", b"api")),
        ("https://api:443/v1/x/", Backend(b"https", "api", 443, b"/v1/x", b"api")),
        ("https://api:80", Backend(b"https", "api", 80, b"", b"api:80")),
        ("HTTP://10.0.0.1:81/a%20b", Backend(b"http", "10.0.0.1", 81, b"/a%20b", b"10.0.0.1:81")),
        ("http://[::1]:81", Backend(b"http", "::1", 81, b"", b"[::1]:81")),
        ("http://my_service:3000", Backend(b"http", "my_service", 3000, b"", b"my_service:3000")),
        ("http://bücher.example", Backend(b"http", "xn--bcher-kva.example", 80, b"", b"xn--bcher-kva.example")),
    ],
)
def test_urls(url: str, expected: Backend) -> None:
    assert Backend.parse(url) == expected


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "must start with http"),
        ("api:8080", "must start with http"),
        ("ftp://api", "must start with http"),
        ("http://", "no host name"),
        ("http://:80", "no host name"),
        ("http://a b", "spaces"),
        ("http://a\tb", "spaces"),
        ("http://-a", "not a host name"),
        ("http://u:p@api", "user name or password"),
        ("http://u@api", "user name or password"),
        ("http://@api", "user name or password"),
        ("http://api:0", "port 0"),
        ("http://127.0.0.1:", "port after ':' is missing"),
        ("http://[::1]:/base", "port after ':' is missing"),
        ("http://api:99999", "not a URL"),
        ("http://api:x", "not a URL"),
        ("http://[::1", "not a URL"),
        ("http://api/?x=1", "query or fragment"),
        ("http://api/#", "query or fragment"),
        ("http://api/a b", "spaces"),
        ("http://api/ä", "percent-encoded"),
    ],
)
def test_what_is_no_backend(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Backend.parse(url)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.text(max_size=20))
def test_any_text_is_a_backend_or_a_value_error(text: str) -> None:
    try:
        backend = Backend.parse("http://" + text)
    except ValueError:
        return
    assert 0 < backend.port < 65536
    assert backend.authority.isascii()
    assert not set(backend.authority + backend.base_path) & set(b" \r\n\t@?#")
