"""A compact JWT → its claims, or a refusal. Pure: keys and the moment are arguments.

PyJWT checks signature, audience and issuer; the times are checked here, against the caller's clock and with types
taken strictly (PyJWT reads its own clock and accepts ``"exp": "123"``). The ``alg`` of the header must be one that
is pinned to a key; ``jku``, ``x5u``, ``jwk`` and ``x5c`` are never looked at.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import attrs
import jwt
from jwt.algorithms import OKPAlgorithm
from jwt.warnings import InsecureKeyLengthWarning

from caching_proxy.auth.keys import TokenConfig, TrustedKey

if TYPE_CHECKING:
    from jwt.types import Options

for _name in ("Ed25519", "Ed448"):  # RFC 9864; which key goes with which name is checked in ``keys``
    with contextlib.suppress(ValueError):  # a later PyJWT may know them itself
        jwt.register_algorithm(_name, OKPAlgorithm())

MAX_CANDIDATES = 8
"""How many keys one token is tried with: it need not name its key, and each trial costs a signature check."""


class NotAToken(Exception):
    """This is not a JWT at all."""


class TokenRefused(Exception):
    """A JWT that must not be believed; the text names the rule and never quotes the token."""


@attrs.frozen(slots=True)
class TokenHeader:
    """The two header parameters that matter."""

    algorithm: str
    kid: str | None


@attrs.frozen(slots=True)
class Claims:
    """Claims that hold now; ``expires`` is the POSIX time from which they do not, None for never."""

    values: Mapping[str, object]
    expires: float | None


def looks_like_token(token: bytes) -> bool:
    """Whether ``token`` has the three parts of a signed JWT in compact form (RFC 7515 §7.1)."""
    return token.count(b".") == 2


def read_header(token: bytes) -> TokenHeader:
    """The header of ``token``; raises :class:`NotAToken` or :class:`TokenRefused` (no algorithm, or ``none``, or a
    payload that is not UTF-8, which two readers may read differently: RFC 7519 §3)."""
    protected, payload, _ = token.split(b".")
    if not _is_text(protected):
        raise NotAToken("its header is not UTF-8")
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError as error:
        raise NotAToken(type(error).__name__) from error
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm.lower() == "none":
        raise TokenRefused("no algorithm")  # RFC 8725 §3.1
    if not _is_text(payload):
        raise TokenRefused("its payload is not UTF-8")
    return TokenHeader(algorithm, kid if isinstance(kid, str) else None)


def verified(token: bytes, header: TokenHeader, keys: Iterable[TrustedKey], config: TokenConfig, now: float) -> Claims:
    """The claims of ``token`` if one of ``keys`` signed it and it holds at ``now``; else :class:`TokenRefused`."""
    candidates = [key for key in keys if header.algorithm in key.algorithms][:MAX_CANDIDATES]
    for key in candidates:
        try:
            values = _decode(token, key, header.algorithm, config)
        except jwt.InvalidSignatureError:
            continue
        except jwt.PyJWTError as error:
            raise TokenRefused(type(error).__name__) from error
        claims = Claims(values, _check_times(values, config.leeway, now))
        if claims.expires is None:
            raise TokenRefused("no exp")
        return claims
    raise TokenRefused("no key verifies it" if candidates else "no key for its algorithm and kid")


def unverified(token: bytes, config: TokenConfig, now: float) -> Claims:
    """The claims of ``token`` as they stand, for when no key is configured.

    Raises :class:`NotAToken`, or :class:`TokenRefused` if by its own words the token does not hold at ``now``.
    """
    options: Options = {
        "verify_signature": False,
        "verify_aud": bool(config.audience),
        "verify_iss": config.issuer is not None,
    }
    try:
        values = jwt.decode(token, options=options, audience=config.audience or None, issuer=config.issuer)
    except jwt.DecodeError as error:
        raise NotAToken(type(error).__name__) from error
    except jwt.PyJWTError as error:
        raise TokenRefused(type(error).__name__) from error
    return Claims(values, _check_times(values, config.leeway, now))


def _decode(token: bytes, key: TrustedKey, algorithm: str, config: TokenConfig) -> Mapping[str, object]:
    options: Options = {
        "require": ["exp"],
        "verify_exp": False,  # times are ours, see above
        "verify_nbf": False,
        "verify_iat": False,
        "verify_sub": False,  # an integer subject is none of our business
        "verify_jti": False,
        "verify_aud": bool(config.audience),
        "verify_iss": config.issuer is not None,
    }
    audience = config.audience or None
    with _quiet(key):
        return jwt.decode(
            token, key.key, algorithms=[algorithm], options=options, audience=audience, issuer=config.issuer
        )


def _is_text(part: bytes) -> bool:
    """Whether a part of a token is base64url of JSON's one encoding: UTF-8 without a mark (RFC 8259 §8.1)."""
    try:
        text = base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4)).decode("utf-8")
    except (binascii.Error, ValueError):
        return False
    return "\0" not in text and not text.startswith("\ufeff")


@contextlib.contextmanager
def _quiet(key: TrustedKey) -> Iterator[None]:
    """A short secret is reported once at start, not at each token."""
    if not key.weak:
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InsecureKeyLengthWarning)
        yield


def _check_times(values: Mapping[str, object], leeway: float, now: float) -> float | None:
    """When the claims stop to hold, leeway included (RFC 7519 §4.1.4, §4.1.5); raises if they do not hold now."""
    begins, ends = _moment(values, "nbf"), _moment(values, "exp")
    if begins is not None and now < begins - leeway:
        raise TokenRefused("not yet valid")
    if ends is None:
        return None
    if now >= ends + leeway:
        raise TokenRefused("expired")
    return ends + leeway


def _moment(values: Mapping[str, object], name: str) -> float | None:
    """A NumericDate (RFC 7519 §2), which is a JSON number and nothing else."""
    value = values.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenRefused(f"{name} is not a number")
    try:
        moment = float(value)
    except OverflowError as error:
        raise TokenRefused(f"{name} is out of range") from error
    if not math.isfinite(moment):
        raise TokenRefused(f"{name} is out of range")
    return moment
