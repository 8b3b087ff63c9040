"""Keys published as a JSON Web Key Set (RFC 7517), fetched when a token needs them and never blocking.

- A token whose key is known is answered at once, whatever the endpoint does; a set older than ten minutes is
  refreshed behind it. An unknown ``kid`` waits for one refresh, and causes one at most every thirty seconds.
- However many wait, one fetch is under way. A fetch that fails changes nothing: the keys known stay.
- Only asymmetric public keys are taken: an ``oct`` key in a public document is no secret.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from jwt import PyJWTError
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from caching_proxy.auth.keys import KeyConfigError, PublicKey, TrustedKey, select, trusted

MAX_DOCUMENT_BYTES = 256 * 1024
MAX_KEYS = 64
MAX_WAITING = 1000
FETCH_SECONDS = 5.0
REFRESH_SECONDS = 600.0
UNKNOWN_KID_SECONDS = 30.0
RETRY_SECONDS = 5.0
"""How soon a fetch is tried again while there is no key at all."""

_PARSERS: Mapping[str, Callable[[str], object]] = {
    "RSA": RSAAlgorithm.from_jwk,
    "EC": ECAlgorithm.from_jwk,
    "OKP": OKPAlgorithm.from_jwk,
}
_PRIVATE = (RSAPrivateKey, EllipticCurvePrivateKey, Ed25519PrivateKey, Ed448PrivateKey)


class BadKeySet(Exception):
    """The document is not a key set, or holds no key that could be used."""


def parse_key_set(document: bytes, algorithms: tuple[str, ...] = ()) -> tuple[TrustedKey, ...]:
    """The usable keys of a JWKS document, each pinned to algorithms that fit it and ``algorithms`` (empty: any).

    Keys of other types, for other uses, or broken are passed over (RFC 7517 §5). Raises :class:`BadKeySet`.
    """
    try:
        parsed = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise BadKeySet("the document is not JSON") from error
    members = parsed.get("keys") if isinstance(parsed, dict) else None
    if not isinstance(members, list):
        raise BadKeySet('the document has no list "keys"')
    keys = tuple(_usable(members[:MAX_KEYS], algorithms))
    if not keys:
        raise BadKeySet("the document holds no key that can be used")
    return keys


def _usable(members: list[object], algorithms: tuple[str, ...]) -> Iterator[TrustedKey]:
    for member in members:
        if not isinstance(member, dict) or not _for_verifying(member):
            continue
        kid, named = member.get("kid"), member.get("alg")
        wanted = algorithms
        if named is not None:  # RFC 7517 §4.4: the key is for this algorithm alone
            wanted = (named,) if isinstance(named, str) and (not algorithms or named in algorithms) else ("none",)
        try:
            yield trusted(_public_key(member), wanted, kid if isinstance(kid, str) else None)
        except (KeyConfigError, PyJWTError, ValueError, TypeError, KeyError):
            continue


def _for_verifying(member: Mapping[str, object]) -> bool:
    """RFC 7517 §4.2 and §4.3; an unknown type is none of ours."""
    operations = member.get("key_ops")
    if operations is not None and not (isinstance(operations, list) and "verify" in operations):
        return False
    return member.get("use", "sig") == "sig" and member.get("kty") in tuple(_PARSERS)  # may not be hashable


def _public_key(member: Mapping[str, object]) -> PublicKey:
    key = _PARSERS[str(member["kty"])](json.dumps(member))
    if isinstance(key, _PRIVATE):
        raise KeyConfigError("a private key has been published")
    return key  # type: ignore[return-value]  # from_jwk gives one of the public types otherwise


class JwksKeys:
    """A :class:`KeySource` over ``fetch``, a function that gets the document once.

    ``on_change`` is called after a refresh that brought other keys than before.
    """

    def __init__(
        self, fetch: Callable[[], Deferred[bytes]], clock: IReactorTime, algorithms: tuple[str, ...] = ()
    ) -> None:
        self.on_change: Callable[[], None] = lambda: None
        self._fetch = fetch
        self._clock = clock
        self._algorithms = algorithms
        self._document: bytes | None = None
        self._keys: tuple[TrustedKey, ...] = ()
        self._fresh_until = 0.0
        self._next_try = 0.0
        self._fetching: Deferred[None] | None = None
        self._waiting: list[Deferred[None]] = []
        self._stopped = False
        self._log = Logger()

    def keys_for(self, algorithm: str, kid: str | None) -> tuple[TrustedKey, ...] | Deferred[tuple[TrustedKey, ...]]:
        found = select(self._keys, algorithm, kid)
        now = self._clock.seconds()
        due = not found or now >= self._fresh_until
        if due and not self._symmetric(algorithm) and now >= self._next_try:
            self._refresh(now)
        if found or self._fetching is None or self._symmetric(algorithm):
            return select(self._keys, algorithm, kid)
        return self._wait().addCallback(lambda _: select(self._keys, algorithm, kid))

    def warm(self) -> Deferred[None]:
        """Fetch now, so that the first token need not wait; fires when done, whether it worked or not."""
        now = self._clock.seconds()
        if now >= self._next_try:
            self._refresh(now)
        return self._wait() if self._fetching is not None else succeed(None)

    def stop(self) -> None:
        """Abandon a fetch under way; who waits for it gets the keys there are."""
        self._stopped = True
        if self._fetching is not None:
            self._fetching.cancel()

    @staticmethod
    def _symmetric(algorithm: str) -> bool:
        """No refresh could bring a key for this."""
        return not algorithm.startswith(("RS", "PS", "ES", "Ed"))

    def _wait(self) -> Deferred[None]:
        """Fires when the fetch under way has ended. Cancelling one waiter leaves the fetch to the others."""
        if len(self._waiting) >= MAX_WAITING:
            return succeed(None)
        waiter: Deferred[None] = Deferred(lambda d: self._waiting.remove(d))
        self._waiting.append(waiter)
        return waiter

    def _refresh(self, now: float) -> None:
        if self._fetching is not None or self._stopped:
            return
        self._next_try = now + (UNKNOWN_KID_SECONDS if self._keys else RETRY_SECONDS)
        fetching = self._fetch().addTimeout(FETCH_SECONDS, self._clock).addCallbacks(self._arrived, self._failed)
        if not fetching.called:
            self._fetching = fetching
        fetching.addErrback(self._failed).addBoth(self._ended)

    def _arrived(self, document: bytes) -> None:
        now = self._clock.seconds()
        if document != self._document:
            self._keys = parse_key_set(document, self._algorithms)
            self._document = document
            self._log.info("token keys read: {count}", count=len(self._keys))
            self.on_change()
        self._fresh_until = now + REFRESH_SECONDS
        self._next_try = now + UNKNOWN_KID_SECONDS

    def _failed(self, reason: Failure) -> None:
        if self._stopped and reason.check(CancelledError):
            return
        self._log.warn(
            "token keys could not be fetched, {count} stay in use: {reason}",
            count=len(self._keys),
            reason=reason.getErrorMessage() or reason.type,
        )

    def _ended(self, _: object) -> None:
        self._fetching = None
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            waiter.callback(None)
