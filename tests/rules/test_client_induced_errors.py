"""Which errors may be due to the fields of one client."""

from __future__ import annotations

import pytest

from caching_proxy.http.messages import Fields
from caching_proxy.rules.client_induced_errors import LARGE_FIELDS, LARGE_VALUE, client_induced

PLAIN = [(b"Accept", b"*/*"), (b"User-Agent", b"Mozilla/5.0 (X11)"), (b"Test-ID", b"1"), (b"If-None-Match", b'"a"')]


@pytest.mark.parametrize("status", [200, 301, 400, 401, 403, 404, 410, 429, 500, 503, 599])
def test_a_plain_request_provokes_nothing(status: int) -> None:
    assert not client_induced(status, Fields(PLAIN), ())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"X", b"x" * (LARGE_VALUE + 1)),
        (b"X", b"\xe9"),
        (b"Range", b"bytes=0-"),
        (b"expect", b"x"),
        (b"X_HTTP_Method_Override", b"PUT"),
        (b"Content-Type", b"x/y"),
    ],
)
@pytest.mark.parametrize("status", [400, 404, 500])
def test_an_odd_one_provokes_any_error(name: bytes, value: bytes, status: int) -> None:
    fields = Fields([*PLAIN, (name, value)])
    assert client_induced(status, fields, ())
    assert not client_induced(200, fields, ())


def test_many_fields_are_odd_together() -> None:
    fields = [(b"X-%d" % number, b"x" * 1000) for number in range(LARGE_FIELDS // 1000 + 1)]
    assert client_induced(400, Fields(fields), ())
    assert not client_induced(400, Fields(fields[:3]), ())


def test_what_is_in_the_key_or_the_variant_concerns_its_sender_alone() -> None:
    assert not client_induced(400, Fields([(b"Authorization", b"x" * 5000), (b"Cookie", b"\xff" * 5000)]), ())
    assert client_induced(406, Fields([(b"Accept", b"x/y")]), ())
    assert not client_induced(406, Fields([(b"Accept", b"x/y")]), ((b"accept", b"x/y"),))
    assert not client_induced(404, Fields([(b"Accept-Language", b"x" * 5000)]), ((b"accept-language", b"x" * 5000),))
