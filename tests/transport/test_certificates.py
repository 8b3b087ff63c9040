"""Which certificate a client gets, and when files are read anew."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from support.authority import Authority, dns
from support.tls_client import write_pair
from twisted.internet.task import Clock

from caching_proxy.transport.certificates import WATCH_SECONDS, Certificates, PairError, load_pair, pick

AUTHORITY = Authority()
NAMES = [frozenset({"a.example"}), frozenset({"*.example", "b.test"}), frozenset({"x.example"})]


@pytest.mark.parametrize(
    ("asked", "at"),
    [
        ("a.example", 0),
        ("A.EXAMPLE", 0),
        ("other.example", 1),
        ("b.test", 1),
        ("B.test.", 1),
        ("x.example", 2),  # an exact name beats a wildcard before it
        ("deep.x.example", 0),  # a wildcard stands for one label
        ("example", 0),
        ("", 0),
        (None, 0),
        ("*.example", 1),
    ],
)
def test_the_certificate_for_a_name(asked: str | None, at: int) -> None:
    assert pick(NAMES, asked) == at


def test_what_a_pair_says_of_itself(tmp_path: Path) -> None:
    pair = load_pair(*write_pair(tmp_path, "one", AUTHORITY, "A.example", "*.b.example", days=30))
    assert pair.names == {"a.example", "*.b.example"}
    assert pair.complaint(pair.not_before + datetime.timedelta(days=1)) is None
    assert pair.complaint(pair.not_after + datetime.timedelta(days=1)) == "the certificate expired on 2020-01-31"
    before = pair.not_before - datetime.timedelta(days=1)
    assert pair.complaint(before) == "the certificate is not valid before 2020-01-01"


def test_pairs_that_cannot_be_used(tmp_path: Path) -> None:
    certificate, key = write_pair(tmp_path, "one", AUTHORITY, "localhost")
    _, other = write_pair(tmp_path, "other", AUTHORITY, "localhost")
    junk = tmp_path / "junk"
    junk.write_bytes(b"junk")
    _, secret = AUTHORITY.issue(*dns("localhost"))
    locked = tmp_path / "locked"
    locked.write_bytes(secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")))
    for pair, of_key, reason in [
        ((certificate, other), True, "not the key of the certificate"),
        ((certificate, str(locked)), True, "no PEM private key without a password in it"),
        ((certificate, str(junk)), True, "no PEM private key without a password in it"),
        ((certificate, str(tmp_path / "missing")), True, "No such file or directory"),
        ((str(junk), key), False, "no PEM certificates in it"),
        ((str(tmp_path), key), False, "Is a directory"),
    ]:
        with pytest.raises(PairError) as raised:
            load_pair(*pair)
        assert (raised.value.of_key, raised.value.reason) == (of_key, reason)


def test_changed_files_are_taken_up_when_they_fit(tmp_path: Path, logged_errors: Any) -> None:
    pair = write_pair(tmp_path, "one", AUTHORITY, "localhost")
    clock = Clock()
    certificates = Certificates([pair], ("http/1.1",), clock)
    certificates.start()
    first = certificates.context
    clock.advance(WATCH_SECONDS)
    assert certificates.context is first
    new = write_pair(tmp_path, "two", AUTHORITY, "localhost")
    os.replace(new[0], pair[0])
    for _ in range(3):
        clock.advance(WATCH_SECONDS)
        assert certificates.context is first  # the key does not fit yet
    os.replace(new[1], pair[1])
    clock.advance(WATCH_SECONDS)
    assert certificates.context is first
    clock.advance(WATCH_SECONDS)
    assert certificates.context is not first
    [said] = logged_errors.flush()
    assert "not the key of the certificate" in said or "certificates stay" in said
    certificates.stop()
    assert clock.getDelayedCalls() == []


def test_a_reload_on_demand_is_at_once(tmp_path: Path, logged_errors: Any) -> None:
    pair = write_pair(tmp_path, "one", AUTHORITY, "localhost")
    certificates = Certificates([pair], ("http/1.1",), Clock())
    first = certificates.context
    write_pair(tmp_path, "one", AUTHORITY, "localhost")
    assert certificates.reload()
    assert certificates.context is not first
    Path(pair[1]).unlink()
    kept = certificates.context
    assert not certificates.reload()
    assert certificates.context is kept
    assert len(logged_errors.flush()) == 1
