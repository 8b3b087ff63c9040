"""Which ``Host`` a client may name: ``ALLOWED_HOSTS``."""

from __future__ import annotations

import attrs

from caching_proxy.core.messages import Fields


@attrs.frozen(slots=True)
class HostPolicy:
    """``allowed`` holds lower-case hosts, with or without a port; empty allows any, since none is passed on."""

    allowed: frozenset[bytes] = frozenset()

    def admits(self, fields: Fields) -> bool:
        """Whether a request with these fields is for us; the alternative is 421 (RFC 9110 §15.5.20)."""
        if not self.allowed:
            return True
        host = (fields.first(b"host") or b"").lower()
        return host in self.allowed or _without_port(host) in self.allowed


def _without_port(host: bytes) -> bytes:
    name, colon, port = host.rpartition(b":")
    return name if colon and port.isdigit() else host
