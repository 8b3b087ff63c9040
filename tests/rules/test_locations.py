"""Location and Content-Location that name the backend: what is stored of them, and what each client gets."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caching_proxy.http.messages import Field, Fields
from caching_proxy.rules.locations import BackendUrl, client_origin, for_client, is_marked

BACKEND = BackendUrl(b"http://backend.test:8080", b"")
BELOW = BackendUrl(b"http://backend.test:8080", b"/base")
USUAL = BackendUrl(b"https://backend.test", b"")


def shown(backend: BackendUrl, value: bytes, name: bytes = b"Location", host: bytes = b"shop.test") -> bytes:
    fields = for_client(backend.marked(Fields([(b"A", b"1"), (name, value)])), b"https", host)
    assert [line for line, _ in fields] == [b"A", name]
    return fields.pairs[1][1]


FOREIGN: list[tuple[BackendUrl, tuple[bytes, ...]]] = [
    (BACKEND, (b"/x", b"x", b"", b"?y", b"#z", b"./x", b"../x", b"//other.test/x", b"mailto:a", b"http:/x")),
    (BACKEND, (b"http://other.test/", b"http://backend.test/x", b"http://backend.test:80800/")),
    (BACKEND, (b"https://backend.test:8080/x", b"http://me@backend.test:8080/x")),
    (BACKEND, (b"http://backend.test:8080.evil.test/", b"http://backend.test:8080\\@evil/")),
    (BACKEND, (b"http://backend.test:8080/../x", b"http://backend.test:8080/%2e%2e/x")),
    (BELOW, (b"http://backend.test:8080/other", b"http://backend.test:8080/baseline", b"/base/x")),
    (BELOW, (b"http://backend.test:8080/base/../x", b"http://backend.test:8080/")),
    (USUAL, (b"http://backend.test/x", b"https://backend.test:8443/x")),
]


@pytest.mark.parametrize("name", [b"Location", b"location", b"Content-Location", b"CONTENT-LOCATION"])
@pytest.mark.parametrize(
    ("backend", "value", "expected"),
    [
        (BACKEND, b"http://backend.test:8080/x?y=1#z", b"https://shop.test/x?y=1#z"),
        (BACKEND, b"HTTP://Backend.TEST:8080/x", b"https://shop.test/x"),
        (BACKEND, b"//backend.test:8080/x", b"https://shop.test/x"),
        (BACKEND, b"http://backend.test:8080", b"https://shop.test/"),
        (BACKEND, b"http://backend.test:8080?y", b"https://shop.test/?y"),
        (BACKEND, b"http://backend.test:8080#z", b"https://shop.test/#z"),
        (BACKEND, b"http://backend.test:8080//evil.test/x", b"https://shop.test//evil.test/x"),
        (BACKEND, b"http://backend.test:8080/a/../b", b"https://shop.test/a/../b"),
        (BELOW, b"http://backend.test:8080/base/x", b"https://shop.test/x"),
        (BELOW, b"http://backend.test:8080/base", b"https://shop.test/"),
        (BELOW, b"http://backend.test:8080/base?q", b"https://shop.test/?q"),
        (USUAL, b"https://backend.test:443/x", b"https://shop.test/x"),
        (USUAL, b"https://backend.test/x", b"https://shop.test/x"),
    ],
)
def test_the_backends_own_authority_becomes_the_clients(
    backend: BackendUrl, value: bytes, expected: bytes, name: bytes
) -> None:
    assert shown(backend, value, name) == expected


@pytest.mark.parametrize(
    ("backend", "value"),
    [(backend, value) for backend, values in FOREIGN for value in values],
)
def test_everything_else_stays_as_it_came(backend: BackendUrl, value: bytes) -> None:
    fields = Fields([(b"Location", value), (b"Content-Location", value), (b"X", b"http://backend.test:8080/x")])
    assert backend.marked(fields) is fields
    assert for_client(fields, b"https", b"shop.test") is fields


def test_other_fields_are_left_alone() -> None:
    pairs: tuple[Field, ...] = (
        (b"Refresh", b"0;url=http://backend.test:8080/x"),
        (b"Link", b"</./x>"),
        (b"X", b"/./x"),
    )
    fields = Fields(pairs)
    assert BACKEND.marked(fields) is fields
    assert for_client(fields, b"http", b"shop.test") == fields


def test_without_a_host_what_is_left_means_the_same() -> None:
    assert shown(BACKEND, b"http://backend.test:8080/x", host=b"") == b"/x"
    for path in (b"//evil.test/x", b"/\\evil.test/x"):
        stored = BACKEND.marked(Fields([(b"Location", BACKEND.origin + path)]))
        assert is_marked(stored)
        assert for_client(stored, b"http", b"") == stored
        assert stored.first(b"location") == b"/." + path


paths = st.text(st.sampled_from("ab./\\%2eE;?#&=:@ "), max_size=12).map(lambda path: "/" + path)


@given(paths, st.sampled_from([BACKEND, BELOW]))
def test_what_is_stored_leads_nowhere_else_whoever_resolves_it(path: str, backend: BackendUrl) -> None:
    own = backend.origin + backend.base_path + path.encode()
    stored = backend.marked(Fields([(b"Location", own)])).first(b"location") or b""
    if stored == own:
        return
    resolved = urljoin("http://shop.test/dir/page", stored.decode())
    assert urlsplit(resolved).netloc == "shop.test"
    told = for_client(Fields([(b"Location", stored)]), b"http", b"shop.test").first(b"location")
    assert told == b"http://shop.test" + path.encode()


@given(st.binary(max_size=40).filter(lambda value: b"\r" not in value and b"\n" not in value))
def test_any_value_will_do(value: bytes) -> None:
    fields = Fields([(b"Location", value.strip())])
    marked = BACKEND.marked(fields)
    assert (marked is fields) == (marked == fields)


@pytest.mark.parametrize(
    ("lines", "trusted", "expected"),
    [
        ((), False, (b"http", b"")),
        (((b"Host", b"shop.test:3000"),), False, (b"http", b"shop.test:3000")),
        (((b"Host", b"[::1]:3000"),), False, (b"http", b"[::1]:3000")),
        (((b"Host", b"a"), (b"X-Forwarded-Host", b"b"), (b"X-Forwarded-Proto", b"https")), False, (b"http", b"a")),
        (
            ((b"Host", b"a"), (b"X-Forwarded-Host", b"b, c"), (b"X-Forwarded-Proto", b"HTTPS,http")),
            True,
            (b"https", b"b"),
        ),
        (((b"Host", b"a"), (b"Forwarded", b'for=1;host="b:1";Proto=https, host=c')), True, (b"https", b"b:1")),
        (((b"Host", b"a"), (b"X-Forwarded-Proto", b"javascript")), True, (b"http", b"a")),
        (((b"Host", b"a"), (b"X-Forwarded-Host", b"b/evil")), True, (b"http", b"")),
        (((b"Host", b"a"), (b"X-Forwarded-Port", b"8443")), False, (b"http", b"a")),
        (((b"Host", b"a"), (b"X-Forwarded-Port", b"8443, 80")), True, (b"http", b"a:8443")),
        (((b"Host", b"[::1]"), (b"X-Forwarded-Port", b"8443")), True, (b"http", b"[::1]:8443")),
        (((b"Host", b"a:1"), (b"X-Forwarded-Port", b"8443")), True, (b"http", b"a:1")),
        (((b"Host", b"a"), (b"X-Forwarded-Port", b"443")), True, (b"http", b"a")),
        (((b"Host", b"a"), (b"X-Forwarded-Port", b"99999")), True, (b"http", b"a")),
        (((b"Host", b"a"), (b"X-Forwarded-Port", b"1@evil")), True, (b"http", b"a")),
        (((b"X-Forwarded-Port", b"8443"),), True, (b"http", b"")),
    ],
)
def test_where_a_client_came_in(lines: tuple[Field, ...], trusted: bool, expected: tuple[bytes, bytes]) -> None:
    assert client_origin(Fields(lines), b"http", trusted) == expected
