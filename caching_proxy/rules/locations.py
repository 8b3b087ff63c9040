"""``Location`` and ``Content-Location`` that name the backend, made to name the proxy (nginx's ``proxy_redirect``).

A client may reach the proxy by several names and schemes, and a stored response must not carry one to users of
another. So on arrival the backend's scheme, authority and base path are replaced by ``/.``, which is stored: the path
``/./x`` means ``/x`` to whoever resolves it (RFC 3986 §5.2.4), and hides a ``//`` that would be read as an authority.
On the way out the mark becomes the scheme and host by which this client came.

Everything else stays as it came: other origins, paths outside the backend's base path, references without an authority,
and other fields that may hold URIs (Refresh, Link).
"""

from __future__ import annotations

import re

import attrs

from caching_proxy.http.messages import Fields
from caching_proxy.rules.climbing import climbs
from caching_proxy.rules.references import origin_of

NAMES = frozenset((b"location", b"content-location"))
MARK = b"/."
MARKED = b": /./"
"""What a block of field lines holds if one of them bears the mark."""

_REFERENCE = re.compile(rb"(?:([A-Za-z][A-Za-z0-9+.\-]*):)?//([^/?#\\]*)(.*)", re.DOTALL)
_HOST = re.compile(rb"(?:[A-Za-z0-9](?:[A-Za-z0-9._~-]*)|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_PORT = re.compile(rb"[1-9][0-9]{0,4}")
_HAS_PORT = re.compile(rb":[0-9]*\Z")
_WELL_KNOWN = (b"80", b"443")


@attrs.frozen(slots=True)
class BackendUrl:
    """``origin`` as :func:`caching_proxy.rules.references.origin_of` writes it; ``base_path`` ends without ``/``."""

    origin: bytes
    base_path: bytes

    def marked(self, fields: Fields) -> Fields:
        """``fields`` with the mark wherever they name this backend; the same object where they do not."""
        if NAMES.isdisjoint(fields.index):
            return fields
        pairs = [
            (name, self._marked(value)) if name.lower() in NAMES else (name, value) for name, value in fields.pairs
        ]
        return fields if tuple(pairs) == fields.pairs else Fields(pairs)

    def _marked(self, value: bytes) -> bytes:
        found = _REFERENCE.fullmatch(value)
        if found is None:
            return value
        scheme = found[1] or self.origin.partition(b":")[0]
        rest = found[3]
        if origin_of(scheme, found[2]) != self.origin or not rest.startswith(self.base_path):
            return value
        rest = rest[len(self.base_path) :]
        if not rest or rest[:1] in b"?#":
            rest = b"/" + rest
        if rest[:1] != b"/" or climbs(rest.partition(b"#")[0]):
            return value
        return MARK + rest


def is_marked(fields: Fields) -> bool:
    """Whether something in ``fields`` may bear the mark."""
    return MARKED in fields.encoded()


def for_client(fields: Fields, scheme: bytes, host: bytes) -> Fields:
    """``fields`` with the mark replaced by ``scheme`` and ``host``; without a host a path remains."""
    if not is_marked(fields):
        return fields
    origin = b"%b://%b" % (scheme, host) if host else b""
    return Fields((name, _told(value, origin) if name.lower() in NAMES else value) for name, value in fields.pairs)


def _told(value: bytes, origin: bytes) -> bytes:
    if not value.startswith(b"/./"):
        return value
    path = value[len(MARK) :]
    if not origin and path[1:2] in (b"/", b"\\"):  # it would be read as another host
        return value
    return origin + path


def client_origin(fields: Fields, scheme: bytes, trusted: bool) -> tuple[bytes, bytes]:
    """Scheme and host by which the client came, as a ``trusted`` peer tells or else as it reached us.

    The host is empty where none was given that could stand in a URI. A port that is told stands in for one that the
    host does not have (``proxy_set_header Host $host`` drops it); that of http or https never needs to be said.
    """
    host = fields.first(b"host") or b""
    if trusted:
        told = (_first(fields, b"x-forwarded-proto") or _forwarded(fields, b"proto")).lower()
        scheme = told if told in (b"http", b"https") else scheme
        host = _first(fields, b"x-forwarded-host") or _forwarded(fields, b"host") or host
        host = _with_port(host, _first(fields, b"x-forwarded-port"))
    return scheme, host if _HOST.fullmatch(host) else b""


def _with_port(host: bytes, port: bytes) -> bytes:
    if not _PORT.fullmatch(port) or int(port) > 65535 or port in _WELL_KNOWN or _HAS_PORT.search(host):
        return host
    return b"%b:%b" % (host, port)


def _first(fields: Fields, name: bytes) -> bytes:
    """The first member of a list, that of the proxy nearest the client; empty without one."""
    return (fields.first(name) or b"").partition(b",")[0].strip(b" \t")


def _forwarded(fields: Fields, parameter: bytes) -> bytes:
    """A parameter of the first element of Forwarded (RFC 7239 §4)."""
    for pair in _first(fields, b"forwarded").split(b";"):
        name, _, value = pair.partition(b"=")
        if name.strip(b" \t").lower() == parameter:
            return value.strip(b' \t"')
    return b""
