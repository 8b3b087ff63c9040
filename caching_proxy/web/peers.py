"""Which peers are believed about the client behind them: ``TRUSTED_PROXIES``."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address

REMEMBERED = 4096
_HOPS = 8
_LOOKED_AT = 512
_LONGEST = 64  # bytes of an address with a port and a zone


UNIX = "unix:"
"""Stands in ``TRUSTED_PROXIES`` for peers on a Unix socket, who have no address."""


class TrustedPeers:
    """Remembers the answer for each address, a bounded number of them."""

    def __init__(self, networks: Sequence[IPv4Network | IPv6Network | str]) -> None:
        self._networks = tuple(network for network in networks if not isinstance(network, str))
        self._known: dict[bytes, bool] = {b"": UNIX in networks}

    @property
    def any(self) -> bool:
        """Whether anybody is trusted at all."""
        return bool(self._networks) or self._known.get(b"", False)

    def trusts(self, address: bytes) -> bool:
        """Whether the peer at ``address`` (text, empty on a Unix socket) is one of them."""
        known = self._known.get(address)
        if known is None:
            if not self._networks:
                return False
            if len(self._known) >= REMEMBERED:
                self._known = {b"": self._known[b""]}
            known = self._known[address] = self._look(address)
        return known

    def client_behind(self, address: bytes, forwarded: bytes) -> bytes:
        """The client that trusted peers name in ``forwarded``, what they say in X-Forwarded-For: the last address in it
        that is not one of them.

        ``address`` itself where they name none. Only the last few entries are looked at: the rest is the client's word.
        """
        for entry in reversed(forwarded[-_LOOKED_AT:].rsplit(b",", _HOPS)[-_HOPS:]):
            client = entry.strip(b" \t")
            if not client or len(client) > _LONGEST:
                break
            if not self.trusts(client):
                return client
        return address

    def _look(self, address: bytes) -> bool:
        try:
            peer = ip_address(address.decode("ascii", "replace").partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(peer, "ipv4_mapped", None)
        return any((mapped or peer) in network or peer in network for network in self._networks)
