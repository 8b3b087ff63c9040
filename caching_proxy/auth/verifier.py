"""``Authorization`` → :class:`Identity`. Any doubt is an identity without a role: the cache is passed by.

- No field: anonymous. One ``Bearer`` JWT that a configured key verifies: its role.
- A JWT that fails or whose roles are not understood, more than one credential, more than ``JWT_MAX_BYTES``: no role,
  and the backend decides.
- No key configured: the claims are read unverified; ``isolate`` binds the role to this very token, ``trust``
  believes them.
- Anything else (Basic, an opaque bearer token): a role of its own, not established, so that only what RFC 9111 §3.5
  allows is shared. Never anonymous.
"""

from __future__ import annotations

from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from caching_proxy.auth.address import check_url
from caching_proxy.auth.claims import (
    Claims,
    NotAToken,
    TokenHeader,
    TokenRefused,
    looks_like_token,
    read_header,
    unverified,
    verified,
)
from caching_proxy.auth.fetching import fetch_document
from caching_proxy.auth.jwks import MAX_DOCUMENT_BYTES, JwksKeys
from caching_proxy.auth.keys import (
    KeyConfigError,
    KeySource,
    StaticKeys,
    TokenConfig,
    TrustedKey,
    default_algorithms,
    load_public_key,
    load_secret,
    trusted,
)
from caching_proxy.http.memo import Memo
from caching_proxy.http.messages import RequestHead
from caching_proxy.interfaces import Identity, ITokenVerifier
from caching_proxy.rules.role import ANONYMOUS, OPAQUE, UnclearRoles, isolated, role_of

__all__ = ["KeyConfigError", "TokenConfig", "TokenVerifier", "default_algorithms", "key_source", "token_verifier"]

UNCLEAR_SECONDS = 60.0
"""How often a roles claim that is not understood is told of."""

GOOD_SECONDS = 300.0
"""How long a good token is remembered at most; refusals never are: keys may arrive and moments come."""

GOOD_BYTES = 1 << 20
"""What a generation of good tokens may take."""

INVALID = Identity(None, "invalid")
_ANONYMOUS = Identity(ANONYMOUS.identifier, ANONYMOUS.label)
_OPAQUE = Identity(ANONYMOUS.identifier, OPAQUE.label, established=False)


def key_source(config: TokenConfig, clock: IReactorTime, client: HTTPClient | None = None) -> KeySource | None:
    """What ``config`` says tokens are verified with, None if nothing; ``client`` is needed for a JWKS address.

    Raises :class:`KeyConfigError`.
    """
    given = [one for one in (config.secret, config.public_key, config.jwks_url) if one is not None]
    if len(given) > 1:
        raise KeyConfigError("give one of a secret, a public key and a JWKS address, not several")
    if config.secret is not None:
        return StaticKeys([trusted(load_secret(config.secret), config.algorithms)])
    if config.public_key is not None:
        return StaticKeys([trusted(load_public_key(config.public_key), config.algorithms)])
    if config.jwks_url is None:
        return None
    if client is None:
        raise KeyConfigError("a JWKS address needs an HTTP client")
    try:
        url = check_url(config.jwks_url)
    except ValueError as error:
        raise KeyConfigError(str(error)) from error
    fetching_client = client

    def fetch() -> Deferred[bytes]:
        document = fetch_document(fetching_client, url, MAX_DOCUMENT_BYTES, clock, redirects=1)
        return Deferred.fromCoroutine(document)

    return JwksKeys(fetch, clock, config.algorithms)


def _weight(authorization: bytes) -> int:
    return len(authorization) + 400  # with the identity and places in dictionaries


def token_verifier(config: TokenConfig, clock: IReactorTime, client: HTTPClient | None = None) -> TokenVerifier:
    """A verifier with the keys that ``config`` names; raises :class:`KeyConfigError`."""
    return TokenVerifier(config, clock, key_source(config, clock, client))


@implementer(ITokenVerifier)
class TokenVerifier:
    """Judges credentials; remembers good ones for a while. ``source`` is None where no key is configured."""

    def __init__(self, config: TokenConfig, clock: IReactorTime, source: KeySource | None) -> None:
        self._config = config
        self._now = clock.seconds
        self._source = source
        self._good: Memo[bytes, tuple[float, Identity]] = Memo(GOOD_BYTES, _weight)  # until when, whose
        self._tell_unclear_from = float("-inf")
        self._log = Logger()
        if isinstance(source, JwksKeys):
            source.on_change = self._good.clear

    def remembered(self, authorization: bytes) -> Identity | None:
        """Whose the exact field value ``authorization`` is, if that was found out and still holds, or is seen without
        any key."""
        good = self._good[authorization]
        return good[1] if good is not None and self._now() < good[0] else self._evident(authorization)

    def identify(self, request: RequestHead) -> Identity | Deferred[Identity]:
        values = request.fields.all(b"authorization")
        if not values:
            return _ANONYMOUS
        if len(values) > 1:
            return INVALID
        known = self.remembered(values[0])
        if known is not None:
            return known
        try:
            return self._judge(values[0])
        except Exception:  # noqa: BLE001  the interface promises that nothing a client sends makes this fail
            return self._unexpected(Failure())

    def start(self) -> None:
        """Fetch keys that live elsewhere, so that the first token need not wait for them."""
        if isinstance(self._source, JwksKeys):
            self._source.warm()

    def stop(self) -> None:
        """Give up a fetch of keys that is under way."""
        if self._source is not None:
            self._source.stop()

    def _evident(self, authorization: bytes) -> Identity | None:
        """What is no token, or cannot be one of ours."""
        if len(authorization) > self._config.max_bytes:
            return INVALID
        scheme, _, rest = authorization.strip(b" \t").partition(b" ")
        if scheme.lower() != b"bearer":
            return _OPAQUE
        token = rest.strip(b" \t")
        if b"," in token or b" " in token or b"\t" in token:
            return INVALID  # several credentials in one field: the backend may pick another than we would
        return None if looks_like_token(token) else _OPAQUE

    def _judge(self, authorization: bytes) -> Identity | Deferred[Identity]:
        token = authorization.strip(b" \t").partition(b" ")[2].strip(b" \t")
        if self._source is None:
            return self._unverified(authorization, token)
        return self._with_key(authorization, token, self._source)

    def _with_key(self, authorization: bytes, token: bytes, source: KeySource) -> Identity | Deferred[Identity]:
        try:
            header = read_header(token)
        except (NotAToken, TokenRefused) as error:
            return self._refused(error)
        keys = source.keys_for(header.algorithm, header.kid)
        if not isinstance(keys, Deferred):
            return self._verified(keys, authorization, token, header)
        return keys.addCallback(self._verified, authorization, token, header).addErrback(self._unexpected)

    def _verified(
        self, keys: tuple[TrustedKey, ...], authorization: bytes, token: bytes, header: TokenHeader
    ) -> Identity:
        now = self._now()
        try:
            claims = verified(token, header, keys, self._config, now)
        except TokenRefused as error:
            return self._refused(error)
        try:
            role = role_of(claims.values, self._config.roles_claim)
        except UnclearRoles as unclear:
            return self._unclear(unclear, now)
        return self._remember(authorization, Identity(role.identifier, role.label), claims, now)

    def _unverified(self, authorization: bytes, token: bytes) -> Identity:
        now = self._now()
        try:
            read_header(token)
            claims = unverified(token, self._config, now)
        except NotAToken:
            return _OPAQUE
        except TokenRefused as error:
            return self._refused(error)
        try:
            role = role_of(claims.values, self._config.roles_claim)
        except UnclearRoles as unclear:
            return self._unclear(unclear, now)
        if self._config.trust != "trust":
            role = isolated(role, token)
        return self._remember(authorization, Identity(role.identifier, role.label), claims, now)

    def _remember(self, authorization: bytes, identity: Identity, claims: Claims, now: float) -> Identity:
        until = now + GOOD_SECONDS
        if claims.expires is not None and claims.expires < until:
            until = claims.expires
        self._good.keep(authorization, (until, identity))
        return identity

    def _unclear(self, unclear: UnclearRoles, now: float) -> Identity:
        """Doubt about the roles is no roles; whoever made the tokens is told of it now and then."""
        if now >= self._tell_unclear_from:
            self._tell_unclear_from = now + UNCLEAR_SECONDS
            self._log.warn(
                "the claim {claim} of a token is {shape}, not a list of strings: the cache is passed by",
                claim=self._config.roles_claim,
                shape=str(unclear),
            )
        return INVALID

    def _refused(self, error: Exception) -> Identity:
        self._log.debug("token refused: {reason}", reason=str(error))
        return INVALID

    def _unexpected(self, reason: Failure) -> Identity:
        if reason.check(CancelledError):
            reason.raiseException()
        self._log.failure("a token could not be judged; the cache is passed by", reason)
        return INVALID
