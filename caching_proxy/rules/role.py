"""Roles: whose answers may be shared with whom.

An identifier stands in cache keys, so it must be safe there and injective: letters, digits and ``_ . % - ~`` only,
and two different sets of role names never give the same one. Names are percent-encoded outside ``A-Za-z0-9_.`` and
joined with ``-``. A ``~`` cannot come from a name: it marks what this module itself adds, the digest of a token or
of an identifier that would be too long.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import blake2b

import attrs

ADMINISTRATOR = "administrator"
MAX_IDENTIFIER = 200

_UNSAFE = re.compile(rb"[^A-Za-z0-9_.]")
_KINDS = {
    dict: "object",
    list: "list",
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    type(None): "null",
}
_RESERVED = frozenset({b"anonymous", b"authenticated", b"admin", b"opaque"})


@attrs.frozen(slots=True)
class Role:
    """``identifier`` partitions the cache; ``label`` is the same without any token's digest, for logs and metrics."""

    identifier: bytes
    label: str


class UnclearRoles(Exception):
    """The roles claim is not understood; the text says what it looks like and never what it holds."""


ANONYMOUS = Role(b"anonymous", "anonymous")
AUTHENTICATED = Role(b"authenticated", "authenticated")
ADMIN = Role(b"admin", "admin")
OPAQUE = Role(b"opaque~", "opaque")
"""Credentials that no role can be taken from; only what RFC 9111 §3.5 lets everybody share is kept under it."""


def role_of(claims: Mapping[str, object], claim_path: str = "roles") -> Role:
    """The role that the claims of a token give its holder.

    ``claim_path`` is the claim's name or, where there is no claim of that name, a dotted path to it. The claim is a
    list of strings or one string; where it is absent, null or empty there are no roles. Raises :class:`UnclearRoles`
    for a claim that is there but is something else: who may share the answer is in doubt then.
    """
    names = _names(_find(claims, claim_path))
    if ADMINISTRATOR in names:
        return ADMIN
    if not names:
        return AUTHENTICATED
    identifier = b"-".join(map(_encoded, sorted(names)))
    if len(identifier) > MAX_IDENTIFIER:
        identifier = b"~" + _digest(identifier)
    return Role(identifier, identifier.decode("ascii"))


def isolated(role: Role, token: bytes) -> Role:
    """``role`` as seen only by holders of this very ``token``: for claims that nobody has verified."""
    return Role(role.identifier + b"~" + _digest(token), role.label)


def by_credentials(identifier: bytes, authorization: bytes) -> bytes:
    """``identifier`` as seen only by who sends this very ``authorization`` (``"share": "token"`` in a rule)."""
    return identifier + b"~" + _digest(authorization)


def _find(claims: Mapping[str, object], path: str) -> object:
    """The claim at ``path``; names may hold dots themselves, as in ``https://example.org/roles``."""
    if path in claims:
        return claims[path]
    dot = path.find(".")
    while dot >= 0:
        inner = claims.get(path[:dot])
        if isinstance(inner, Mapping):
            found = _find(inner, path[dot + 1 :])
            if found is not None:
                return found
        elif inner is not None:
            raise UnclearRoles(f"{_shape(inner)} on the way to it")
        dot = path.find(".", dot + 1)
    return None


def _names(claim: object) -> frozenset[str]:
    if claim is None or claim == "" or claim == []:
        return frozenset()
    if isinstance(claim, str):
        return frozenset((claim,))
    if isinstance(claim, list) and all(isinstance(name, str) for name in claim):
        return frozenset(claim)
    raise UnclearRoles(_shape(claim))


def _shape(claim: object) -> str:
    """What kind of JSON value ``claim`` is, without a word of it."""
    if isinstance(claim, list):
        kinds = sorted({_KINDS.get(type(item), "something") for item in claim})
        return "a list of " + " and ".join(kinds)
    return "one " + _KINDS.get(type(claim), "something")


def _encoded(name: str) -> bytes:
    """One role name in safe characters; the empty one is a lone ``%``, which no other name can give."""
    if not name:
        return b"%"
    raw = name.encode("utf-8", "surrogatepass")  # JSON may hold lone surrogates
    if raw in _RESERVED:
        return b"%%%02X%b" % (raw[0], raw[1:])
    return _UNSAFE.sub(lambda match: b"%%%02X" % match[0][0], raw)


def _digest(data: bytes) -> bytes:
    return blake2b(data, digest_size=16).hexdigest().encode("ascii")
