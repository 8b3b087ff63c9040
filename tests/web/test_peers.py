"""Who is believed about the client behind it."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from caching_proxy.settings.load import load
from caching_proxy.settings.parsers import SettingsError
from caching_proxy.web.peers import REMEMBERED, TrustedPeers


@pytest.mark.parametrize(
    ("trusted", "address", "believed"),
    [
        ((), b"10.0.0.1", False),
        ((), b"", False),
        ((ip_network("10.0.0.0/8"),), b"10.0.0.1", True),
        ((ip_network("10.0.0.0/8"),), b"::ffff:10.0.0.1", True),
        ((ip_network("10.0.0.0/8"),), b"192.0.2.1", False),
        ((ip_network("10.0.0.0/8"),), b"", False),
        (("unix:",), b"", True),
        (("unix:",), b"10.0.0.1", False),
        (("unix:", ip_network("::1/128")), b"::1", True),
        (("unix:", ip_network("::1/128")), b"", True),
    ],
)
def test_who_is_trusted(trusted: tuple[object, ...], address: bytes, believed: bool) -> None:
    peers = TrustedPeers(trusted)  # type: ignore[arg-type]
    assert [peers.trusts(address) for _ in range(2)] == [believed] * 2
    assert peers.any == bool(trusted)


def test_what_is_remembered_is_bounded() -> None:
    peers = TrustedPeers([ip_network("10.0.0.0/8"), "unix:"])
    for n in range(REMEMBERED * 2):
        peers.trusts(b"192.0.2.%d" % n)
    assert len(peers._known) <= REMEMBERED + 1
    assert peers.trusts(b"")


def test_the_setting() -> None:
    made, _ = load({"BACKEND_URL": "http://a", "TRUSTED_PROXIES": "unix:, 10.0.0.0/8"}, {}, {})
    assert made.trusted_proxies == ("unix:", ip_network("10.0.0.0/8"))
    with pytest.raises(SettingsError, match="unix: for peers"):
        load({"BACKEND_URL": "http://a", "TRUSTED_PROXIES": "unix:/x"}, {}, {})
