"""Which keys may verify a token, and with which algorithms.

The algorithms follow from the type of the key, never from the token: a secret verifies HS*, an RSA key RS* and PS*, a
curve its own ES*, an Edwards key EdDSA and its own name (RFC 9864). Symmetric and asymmetric algorithms never meet on
one key (RFC 8725 §3.1), so a public key cannot be passed off as a secret. Private keys are refused: this program has
no use for one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, Protocol

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from twisted.internet.defer import Deferred

PublicKey = RSAPublicKey | ec.EllipticCurvePublicKey | Ed25519PublicKey | Ed448PublicKey
VerificationKey = bytes | PublicKey

MIN_RSA_BITS = 2048  # RFC 7518 §3.3
MIN_SECRET_BYTES = 32  # RFC 7518 §3.2, for HS256

_HMAC = ("HS256", "HS384", "HS512")
_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_CURVES = {"secp256r1": ("ES256",), "secp384r1": ("ES384",), "secp521r1": ("ES512",), "secp256k1": ("ES256K",)}
_ALL = frozenset((*_HMAC, *_RSA, "ES256", "ES384", "ES512", "ES256K", "EdDSA", "Ed25519", "Ed448"))


class KeyConfigError(ValueError):
    """The configured key, or its combination with the configured algorithms, cannot verify anything."""


@attrs.frozen(slots=True)
class TokenConfig:
    """How tokens are judged.

    At most one of ``secret``, ``public_key`` (PEM text of a public key or a certificate) and ``jwks_url`` is set.
    Empty ``algorithms`` means what fits the key. ``leeway`` is in seconds. ``trust`` matters only without a key.
    ``roles_claim`` is a dotted path. A token must name one of ``audience``, if there is any. ``max_bytes`` bounds the
    ``Authorization`` value that is looked into.
    """

    secret: bytes | None = attrs.field(default=None, repr=False)
    public_key: bytes | None = None
    jwks_url: str | None = None
    algorithms: tuple[str, ...] = ()
    audience: tuple[str, ...] = ()
    issuer: str | None = None
    leeway: float = 0.0
    trust: Literal["isolate", "trust"] = "isolate"
    roles_claim: str = "roles"
    max_bytes: int = 8 * 1024


@attrs.frozen(slots=True)
class TrustedKey:
    """A key with the algorithms it may be used with; ``kid`` is its name where it has one (JWKS)."""

    key: VerificationKey = attrs.field(repr=False)
    algorithms: tuple[str, ...]
    kid: str | None = None

    @property
    def weak(self) -> bool:
        """Whether this is a secret shorter than its hash (RFC 7518 §3.2): worth a warning, used all the same."""
        return isinstance(self.key, bytes) and len(self.key) < MIN_SECRET_BYTES


class KeySource(Protocol):
    """Where keys come from."""

    def keys_for(self, algorithm: str, kid: str | None) -> tuple[TrustedKey, ...] | Deferred[tuple[TrustedKey, ...]]:
        """The keys that a token with this header may have been signed with, possibly none; never fails."""

    def stop(self) -> None:
        """Give up what is under way."""


def default_algorithms(key: VerificationKey) -> tuple[str, ...]:
    """What ``key`` verifies when nobody says: HS256 for a secret, everything that fits the type otherwise."""
    return ("HS256",) if isinstance(key, bytes) else fitting_algorithms(key)


def fitting_algorithms(key: VerificationKey) -> tuple[str, ...]:
    """Every algorithm that may be used with this type of key; raises :class:`KeyConfigError` if there is none."""
    if isinstance(key, bytes):
        return _HMAC
    if isinstance(key, RSAPublicKey):
        if key.key_size < MIN_RSA_BITS:
            raise KeyConfigError(f"an RSA key of {key.key_size} bits is too short (at least {MIN_RSA_BITS})")
        return _RSA
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in _CURVES:
            raise KeyConfigError(f"no token algorithm uses the curve {key.curve.name}")
        return _CURVES[key.curve.name]
    return ("EdDSA", "Ed25519" if isinstance(key, Ed25519PublicKey) else "Ed448")


def trusted(key: VerificationKey, algorithms: Iterable[str] = (), kid: str | None = None) -> TrustedKey:
    """``key`` pinned to those of ``algorithms`` that fit it; none given means the default.

    Raises :class:`KeyConfigError` if nothing remains or a name is unknown (``none`` always is).
    """
    wanted = tuple(algorithms)
    if unknown := [name for name in wanted if name not in _ALL]:
        raise KeyConfigError(f"{unknown[0]} is not an algorithm for tokens ({', '.join(sorted(_ALL))})")
    fitting = fitting_algorithms(key)
    chosen = tuple(name for name in wanted if name in fitting) if wanted else default_algorithms(key)
    if not chosen:
        raise KeyConfigError(f"{', '.join(wanted)} cannot be used with this key ({', '.join(fitting)})")
    return TrustedKey(key, chosen, kid)


def load_public_key(pem: bytes) -> PublicKey:
    """The key of a PEM public key or certificate; raises :class:`KeyConfigError` for anything else."""
    if b"PRIVATE KEY" in pem:
        raise KeyConfigError("this is a private key; give the public key only")
    try:
        certificate = b"BEGIN CERTIFICATE" in pem
        key: object = x509.load_pem_x509_certificate(pem).public_key() if certificate else load_pem_public_key(pem)
    except ValueError as error:
        raise KeyConfigError("no public key in PEM form was found") from error
    if not isinstance(key, RSAPublicKey | ec.EllipticCurvePublicKey | Ed25519PublicKey | Ed448PublicKey):
        raise KeyConfigError("tokens are not signed with this type of key (RSA, EC, Ed25519, Ed448)")
    return key


def load_secret(secret: bytes) -> bytes:
    """A secret as it is; raises :class:`KeyConfigError` if it is empty or really a public or private key."""
    if not secret:
        raise KeyConfigError("the secret is empty")
    if b"-----BEGIN " in secret or secret.startswith((b"ssh-", b"ecdsa-sha2-")):
        raise KeyConfigError("this is a key in PEM or SSH form, not a secret: give its public key as a file instead")
    return secret


class StaticKeys:
    """Keys known from the start."""

    def __init__(self, keys: Iterable[TrustedKey]) -> None:
        self._keys = tuple(keys)

    def keys_for(self, algorithm: str, kid: str | None) -> tuple[TrustedKey, ...]:
        return select(self._keys, algorithm, kid)

    def stop(self) -> None:
        """Nothing is ever under way."""


def select(keys: Iterable[TrustedKey], algorithm: str, kid: str | None) -> tuple[TrustedKey, ...]:
    """The keys for this algorithm; ``kid`` only narrows the choice (RFC 7515 §4.1.4). Keys without a name fit any."""
    return tuple(
        key for key in keys if algorithm in key.algorithms and (kid is None or key.kid is None or key.kid == kid)
    )
