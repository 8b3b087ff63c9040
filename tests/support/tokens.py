"""Keys, tokens signed with them or made up, and the verifier that is to judge them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from twisted.internet.task import Clock

from caching_proxy.auth.keys import TokenConfig
from caching_proxy.auth.verifier import token_verifier
from caching_proxy.http.messages import Fields, RequestHead
from caching_proxy.interfaces import Identity

NOW = 1_700_000_000.0
SECRET = b"a secret that is long enough for HS256, surely"
RSA = rsa.generate_private_key(65537, 2048)
OTHER_RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
INVALID = Identity(None, "invalid")
ANONYMOUS = Identity(b"anonymous", "anonymous")
UNKNOWN = Identity(b"anonymous", "opaque", established=False)


def pem(key):
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def clock_at(now=NOW):
    clock = Clock()
    clock.advance(now)
    return clock


def verifier(clock=None, **config):
    return token_verifier(TokenConfig(**config), clock or clock_at())


def request(*authorization):
    return RequestHead(b"GET", b"/", Fields((b"Authorization", value) for value in authorization))


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def claims(**extra):
    return {"exp": int(NOW) + 60, "roles": ["editor"], **extra}


def token(key=SECRET, algorithm="HS256", headers=None, **extra):
    return jwt.encode(claims(**extra), key, algorithm, headers).encode()


def raw(header, payload, key=SECRET):
    """A token whose parts are exactly these, signed with HS256 whatever the header says."""
    parts = [b64(part if isinstance(part, bytes) else json.dumps(part).encode()) for part in (header, payload)]
    signed = b".".join(parts)
    return signed + b"." + b64(hmac.new(key, signed, hashlib.sha256).digest())


HS = {"alg": "HS256", "typ": "JWT"}
