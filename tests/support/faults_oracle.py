"""What the backend of the fault tests answers, so that whoever gets an answer can tell whether it is the right one.

An answer names the target, the reader's roles and the version of the object, and its length and filler follow from
these: an answer of another object, role or time differs in every part.
"""

from __future__ import annotations

import base64
import json
from hashlib import sha256

SECRET = "a secret of the fault tests that is long enough"


def roles_of(authorization: str | None) -> str:
    """The roles in a bearer token, unverified, as the backend believes them."""
    if authorization is None:
        return "anonymous"
    payload = authorization.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return "-".join(sorted(claims["roles"]))


def answer_of(target: str, roles: str, version: int = 0) -> bytes:
    """The body for ``target``: some hundred bytes for most, up to 64 KiB for a few."""
    name = f"{target}\n{roles}\n{version}\n".encode()
    digest = sha256(name).digest()
    size = 100 + digest[0] * 4 if digest[1] else 64 * 1024
    return (name + digest.hex().encode() * (size // 64 + 1))[:size]


def version_of(body: bytes, target: str, roles: str) -> int | None:
    """The version of which ``body`` is the answer; None if it is no answer to this request."""
    parts = body.split(b"\n", 3)
    if len(parts) < 4 or not parts[2].isdigit():
        return None
    version = int(parts[2])
    return version if body == answer_of(target, roles, version) else None
