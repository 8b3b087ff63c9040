"""What of a request tells resources apart though it is not in the key: such requests never share an answer.

A key leaves out one trailing slash of the path. And a backend may answer by scheme, host, path or user as told in
fields that are believed only from a trusted proxy: those of :mod:`caching_proxy.rules.steering`, less those about the
client's address, which differ in every request.
"""

from __future__ import annotations

import re
from hashlib import blake2b

import attrs

from caching_proxy.http.messages import Fields
from caching_proxy.rules.steering import tells_apart

LONG = 64
"""Bytes from which on a scope is replaced by its digest."""

_OTHERWISE = frozenset((b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-original-forwarded-for"))
"""Told apart in another way, or about the client's address."""

_PARAMETER = re.compile(rb'(proto|host)=("(?:[^"\\]|\\.)*"|[^;,"\s]+)', re.IGNORECASE)


@attrs.frozen(slots=True)
class View:
    """What a request may see of the variants of its key.

    ``scope``: those that were fetched for the same :func:`scope_of`. ``credentials``: it carries an Authorization
    that no role came of, so it sees only what RFC 9111 §3.5 lets everybody share.
    """

    scope: bytes = b""
    credentials: bool = False


PLAIN_VIEW = View()
_PLAIN_CREDENTIALS = View(credentials=True)


def view_of(scope: bytes, credentials: bool) -> View:
    """The view; most are one of two objects."""
    if scope:
        return View(scope, credentials)
    return _PLAIN_CREDENTIALS if credentials else PLAIN_VIEW


def scope_of(
    target: bytes,
    fields: Fields,
    scheme: bytes = b"http",
    trusted: bool = False,
    port: bytes = b"",
    steered: bytes = b"",
) -> bytes:
    """The scope of a request for ``target``, empty for most.

    ``scheme`` is how it reached us, ``trusted`` whether its peer is believed about the client behind it, ``port`` that
    of its Host (``:8080``) where the backend sees it though the key leaves it out, ``steered`` what a trusted peer says
    in fields of ``STEERING_FIELDS`` (:meth:`~caching_proxy.rules.steering.Steering.told`).
    """
    if trusted or port or scheme != b"http":
        told = b""
        if trusted:
            told = fields.derived(_told) if b"forwarded" in fields else fields.told(_told)
        return _scope(target, fields, scheme, told, port, steered)
    if target[-1:] != b"/" and b"/?" not in target:  # a glance that suffices for most
        return b""
    return b"/" if ends_in_slash(target) else b""


def ends_in_slash(target: bytes) -> bool:
    """Whether the key leaves out a slash that the scope tells apart."""
    end = target.find(b"?")
    if end < 0:
        end = len(target)
    return end > 1 and target[end - 1 : end] == b"/"


def _scope(target: bytes, fields: Fields, scheme: bytes, told: bytes, port: bytes, steered: bytes) -> bytes:
    if told:
        scheme = fields.first(b"x-forwarded-proto") or scheme
    parts = [b"/" if ends_in_slash(target) else b""]
    if scheme != b"http":
        parts.append(b"x-forwarded-proto=" + scheme)
    if told != _ONLY_SCHEME:
        parts.append(told)
    if port:
        parts.append(b"host=" + port)
    parts.append(steered)
    scope = b";".join(part for part in parts if part)
    return scope if len(scope) <= LONG else blake2b(scope, digest_size=16).hexdigest().encode()


_ONLY_SCHEME = b"-"


def _told(fields: Fields) -> bytes:
    """What a trusted proxy says beside the scheme, ``-`` where it says nothing else, empty without either."""
    index = fields.index
    told = sorted(b"%b=%b" % (name, b",".join(index[name])) for name in index if believed(name))
    for line in index.get(b"forwarded", ()):
        told += [b"%b=%b" % (name.lower(), value.strip(b'"').lower()) for name, value in _PARAMETER.findall(line)]
    if told:
        return b";".join(told)
    return _ONLY_SCHEME if b"x-forwarded-proto" in index else b""


def believed(name: bytes) -> bool:
    """Whether a field called ``name`` (lower case) tells resources apart when a trusted proxy sends it, apart from
    ``Forwarded`` and ``X-Forwarded-Proto``, which do so by some of what they say."""
    return name not in _OTHERWISE and tells_apart(name)
