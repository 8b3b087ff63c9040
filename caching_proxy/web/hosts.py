"""Which ``Host`` a client may name: ``ALLOWED_HOSTS``."""

from __future__ import annotations

import attrs

from caching_proxy.http.messages import Fields, RequestHead

_USUAL = {b"http": 80, b"https": 443}


@attrs.frozen(slots=True)
class HostPolicy:
    """``allowed`` holds lower-case hosts, with or without a port; empty allows any, since none is passed on.

    ``preserve``: the backend gets to see the client's Host. Then it is settled first to the spelling in ``allowed``,
    for capital letters that only the sender chose would otherwise show up in answers for others. A port that
    ``allowed`` leaves open goes to the backend as well, beside the settled Host, and tells variants apart.
    """

    allowed: frozenset[bytes] = frozenset()
    preserve: bool = False

    @property
    def particular(self) -> bool:
        """Whether there is anything to look at."""
        return bool(self.allowed) or self.preserve

    def allows(self, fields: Fields) -> bool:
        """Whether a request with these fields is for us; the alternative is 421 (RFC 9110 §15.5.20)."""
        if not self.allowed:
            return True
        return self._listed(fields) is not None

    def settles(self, fields: Fields) -> bool:
        """Whether :meth:`settled` would change anything."""
        return self.preserve and fields.first(b"host") != self._listed(fields)

    def settled(self, head: RequestHead) -> RequestHead:
        """``head``, which is admitted, with its Host as it is passed on."""
        if not self.settles(head.fields):
            return head
        host = self._listed(head.fields) or b""
        fields = Fields((name, host if name.lower() == b"host" else value) for name, value in head.fields)
        return RequestHead(head.method, head.target, fields, head.minor)

    def port(self, fields: Fields, scheme: bytes) -> bytes:
        """The port of the client's Host, as ``:8080``, that the backend sees although ``allowed`` has none there.

        Empty where there is none, or the usual one of ``scheme``.
        """
        host = fields.first(b"host") or b""
        listed = self._listed(fields) if self.preserve else None
        if listed is None or len(listed) == len(host):
            return b""
        number = int(host[len(listed) + 1 :] or b"0")
        return b"" if not 0 < number < 65536 or number == _USUAL.get(scheme) else b":%d" % number

    def _listed(self, fields: Fields) -> bytes | None:
        """The allowed host that is meant, None if there is none."""
        host = (fields.first(b"host") or b"").lower()
        return next((name for name in (host, _without_port(host)) if name in self.allowed), None)


def _without_port(host: bytes) -> bytes:
    name, colon, port = host.rpartition(b":")
    return name if colon and port.isdigit() else host
