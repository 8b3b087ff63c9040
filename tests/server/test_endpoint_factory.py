"""What endpoint descriptions put around a factory."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.authority import Authority
from support.tls_client import write_pair
from twisted.internet.protocol import Factory
from twisted.protocols.haproxy._wrapper import HAProxyWrappingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory

from caching_proxy.server.endpoint_factory import endpoint_factory


@pytest.mark.parametrize("where", ["tcp:0", "tcp6:0", "unix:/nonexistent/socket", "systemd:domain=INET:index=0"])
def test_plain_ones_leave_it_alone(where: str) -> None:
    factory = Factory()
    assert endpoint_factory(where, factory) is factory


def test_the_proxy_protocol_is_kept() -> None:
    made = endpoint_factory("haproxy:tcp:0", Factory())
    assert isinstance(made, HAProxyWrappingFactory)


def test_tls_is_kept(tmp_path: Path) -> None:
    certificate, key = write_pair(tmp_path, "own", Authority(), "localhost")
    made = endpoint_factory(f"ssl:0:privateKey={key}:certKey={certificate}", Factory())
    assert isinstance(made, TLSMemoryBIOFactory)


@pytest.mark.parametrize("where", ["foo:bar", "ssl:0:privateKey=/nonexistent.pem", "stdio:"])
def test_what_cannot_be_is_said(where: str) -> None:
    with pytest.raises((ValueError, OSError)):
        endpoint_factory(where, Factory())
