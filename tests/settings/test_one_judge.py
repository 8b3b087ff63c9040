"""What the settings take of a URL or key is what the part that uses it takes, and the reason is the part's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from support.authority import Authority, pem_key

from caching_proxy.auth.address import check_url
from caching_proxy.auth.keys import load_public_key
from caching_proxy.rules.cache_url import parse_cache_url
from caching_proxy.settings.load import load
from caching_proxy.settings.parsers import SettingsError
from caching_proxy.upstream.backend import Backend

CACHE = [
    ("memory", True),
    ("memory:", True),
    ("memory://", True),
    ("memory://x", False),
    ("redis://h", True),
    ("redis://u@h", False),
    ("redis://u:p@h", True),
    ("redis://:p@h:6380/3", True),
    ("redis://h?db=1", True),
    ("redis://h/1?db=1", False),
    ("redis://h?timeout=1", False),
    ("redis://h/x", False),
    ("redis://h/1234567", False),
    ("redis://h:0", False),
    ("redis://h:99999", False),
    ("redis://", False),
    ("redis://h#x", False),
    ("redis://u:a/b@h", False),
    ("valkey://h", True),
    ("valkeys://h/2", True),
    ("rediss://bücher.example", True),
    ("unix:///r.sock", True),
    ("unix:///r?x=1", False),
    ("unix:///r?db=1", True),
    ("unix://r", False),
    ("unix:///", False),
    ("redis://[::1]:6379", True),
    ("redis://[::1", False),
    ("redis://h h", False),
    ("redis+sentinel://h/m", True),
    ("redis+sentinel://h", False),
    ("redis+cluster://h,g:1", True),
    ("redis+cluster://h/1", False),
]
BACKENDS = [
    ("http://api", True),
    ("http://api:8080/base/", True),
    ("http://bücher.example", True),
    ("http://xn--bcher-kva.example", True),
    ("http://-a", False),
    ("http://a b", False),
    ("http://a\tb", False),
    ("http://api/ä", False),
    ("http://api:0", False),
    ("http://api:x", False),
    ("http://u@api", False),
    ("http://@api", False),
    ("http://api?", False),
    ("http://api/#", False),
    ("http://[::1]", True),
    ("http://[::g]", False),
    ("http://", False),
    ("ftp://api", False),
]
WEB = [
    ("https://id.example/keys", True),
    ("http://id", True),
    ("file:///etc/passwd", False),
    ("https://", False),
    ("https://[::1", False),
    ("https://id:0", False),
    ("https://id:99999", False),
]


def refusal(name: str, text: str) -> str | None:
    """What the settings say of ``text``, None if they take it."""
    given = {"BACKEND_URL": "http://backend", name: text}
    try:
        load(given, {}, {})
    except SettingsError as problem:
        return str(problem)
    return None


def reason(parse: Callable[[str], object], text: str) -> str | None:
    try:
        parse(text)
    except ValueError as problem:
        return str(problem)
    return None


ROWS = [
    *(("CACHE_URL", parse_cache_url, text, good) for text, good in CACHE),
    *(("BACKEND_URL", Backend.parse, text, good) for text, good in BACKENDS),
    *(("JWT_JWKS_URL", check_url, text, good) for text, good in WEB),
]


@pytest.mark.parametrize(("name", "parse", "text", "good"), ROWS, ids=[f"{row[0]}={row[2]}" for row in ROWS])
def test_both_judge_alike(name: str, parse: Callable[[str], object], text: str, good: bool) -> None:
    said, why = refusal(name, text), reason(parse, text)
    assert (said is None, why is None) == (good, good)
    assert why is None or why in (said or "")


@pytest.mark.parametrize("kind", ["certificate", "public", "private", "nothing"])
def test_a_key_file_is_judged_by_who_verifies_tokens(kind: str, tmp_path: Path) -> None:
    certificate, key = Authority().issue()
    files = {
        "certificate": certificate.public_bytes(Encoding.PEM),
        "public": key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "private": pem_key(key),
        "nothing": b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n",
    }
    path = tmp_path / "key.pem"
    path.write_bytes(files[kind])
    said, why = refusal("JWT_PUBLIC_KEY_FILE", str(path)), reason(lambda _: load_public_key(files[kind]), "")
    assert (said is None) == (why is None) == (kind in ("certificate", "public"))
    assert why is None or why in (said or "")
