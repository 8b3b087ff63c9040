"""Settings against each other: what contradicts is an error, what is unwise a warning.

The key file is read here, so that a wrong one stops the start like any other wrong value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path

import attrs
from cryptography.exceptions import UnsupportedAlgorithm

from caching_proxy.auth.keys import KeyConfigError, fitting_algorithms, load_public_key, load_secret
from caching_proxy.http.codings import available
from caching_proxy.settings.model import Settings
from caching_proxy.settings.parsers import SettingsError
from caching_proxy.settings.tls_files import check_listener, with_tls

_KEY_FILE = "a readable PEM file with an RSA, EC, Ed25519 or Ed448 public key or certificate"
_KEY_FILE_LIMIT = 64 * 1024
_SHORT_TOKEN = 16
_SHORT_SECRET = 32
_EVERY_INTERFACE = frozenset(("0.0.0.0", "::"))


@attrs.frozen(slots=True)
class Given:
    """A variable's text and the name (its own or an alias) under which it was given."""

    name: str
    text: str


def check(settings: Settings, given: Mapping[str, Given]) -> tuple[Settings, tuple[str, ...]]:
    """The settings with the key file's contents, and the warnings; raises :class:`SettingsError`."""
    _check_bounds(settings)
    _check_listeners(settings)
    _check_codings(settings)
    _check_tracing(settings)
    settings = with_tls(_with_key(settings))
    return settings, (*_warnings(settings), *_tls_warnings(settings, given), *check_listener(settings))


def _check_bounds(settings: Settings) -> None:
    if settings.redis_pool_min > settings.redis_pool_max:
        raise SettingsError(
            "REDIS_POOL_MIN", str(settings.redis_pool_min), f"at most REDIS_POOL_MAX ({settings.redis_pool_max})"
        )
    if settings.max_target_bytes > settings.max_head_bytes:
        raise SettingsError(
            "MAX_TARGET_BYTES", str(settings.max_target_bytes), f"at most MAX_HEAD_BYTES ({settings.max_head_bytes})"
        )
    if settings.preserve_host and not settings.allowed_hosts:
        raise SettingsError("PRESERVE_HOST", "true", "ALLOWED_HOSTS to be set as well")


def _check_codings(settings: Settings) -> None:
    for coding in settings.compress:
        if not available(coding):
            allowed = "gzip alone, unless the package is installed with its extra [compress]"
            raise SettingsError("COMPRESS", coding.decode(), allowed)


def traces() -> bool:
    """Whether what sends spans is installed."""
    try:
        return find_spec("opentelemetry.exporter.otlp.proto.http") is not None
    except ModuleNotFoundError:  # nothing of OpenTelemetry is
        return False


def _check_tracing(settings: Settings) -> None:
    url = settings.otel_exporter_otlp_endpoint
    if url is not None and not traces():
        raise SettingsError(
            "OTEL_EXPORTER_OTLP_ENDPOINT", url, "unset, unless the package is installed with its extra [otel]"
        )


def _check_listeners(settings: Settings) -> None:
    clash = settings.admin_port == settings.port != 0 and settings.listen is None
    hosts = settings.host, settings.admin_host
    if clash and (settings.host == settings.admin_host or not _EVERY_INTERFACE.isdisjoint(hosts)):
        raise SettingsError("ADMIN_PORT", str(settings.admin_port), "another port than PORT")


# -- keys ------------------------------------------------------------------------------------------


def _with_key(settings: Settings) -> Settings:
    """A key of exactly one kind, and algorithms that fit it: never HS with a public key, which anybody may know."""
    given = [
        name
        for name in ("JWT_SECRET", "JWT_SECRET_BASE64", "JWT_PUBLIC_KEY_FILE", "JWT_JWKS_URL")
        if getattr(settings, name.lower())
    ]
    if len(given) > 1:
        kinds = "JWT_SECRET, JWT_SECRET_BASE64, JWT_PUBLIC_KEY_FILE and JWT_JWKS_URL"
        raise SettingsError(given[1], "***", f"only one of {kinds} ({given[0]} is set)")
    if given in (["JWT_SECRET"], ["JWT_SECRET_BASE64"]):
        _check_secret(given[0], settings.jwt_secret or settings.jwt_secret_base64 or b"")
        _check_algorithms(settings, fitting_algorithms(b""), "with a secret")
    elif settings.jwt_jwks_url:
        unfit = fitting_algorithms(b"")
        wrong = [name for name in settings.jwt_algorithms if name in unfit]
        if wrong:
            raise SettingsError("JWT_ALGORITHMS", wrong[0], "no HS algorithm with JWT_JWKS_URL")
    elif settings.jwt_public_key_file:
        return _with_key_file(settings, settings.jwt_public_key_file)
    return settings


def _check_secret(name: str, secret: bytes) -> None:
    try:
        load_secret(secret)
    except KeyConfigError as problem:
        raise SettingsError(name, "***", f"a secret ({problem})") from None


def _with_key_file(settings: Settings, path: str) -> Settings:
    try:
        with Path(path).open("rb") as file:
            text = file.read(_KEY_FILE_LIMIT)
        fitting = fitting_algorithms(load_public_key(text))
    except (OSError, ValueError, UnsupportedAlgorithm) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise SettingsError("JWT_PUBLIC_KEY_FILE", path, f"{_KEY_FILE} ({reason})") from None
    _check_algorithms(settings, fitting, "which fit the key")
    return attrs.evolve(settings, jwt_public_key=text)


def _check_algorithms(settings: Settings, fitting: tuple[str, ...], why: str) -> None:
    for name in settings.jwt_algorithms:
        if name not in fitting:
            raise SettingsError("JWT_ALGORITHMS", name, f"some of {', '.join(fitting)}, {why}")


# -- warnings --------------------------------------------------------------------------------------


def _warnings(settings: Settings) -> Iterator[str]:
    if settings.jwt_trust == "trust" and not settings.verifies_tokens:
        yield "JWT_TRUST=trust: claims of unverified tokens are believed; a gateway in front must verify them"
    if settings.admin_auth == "none":
        yield "ADMIN_AUTH=none: anyone who reaches the admin endpoints may read and invalidate the cache"
    if settings.admin_token is not None and len(settings.admin_token) < _SHORT_TOKEN:
        yield f"ADMIN_TOKEN has fewer than {_SHORT_TOKEN} characters: easily guessed"
    secret = settings.jwt_secret or settings.jwt_secret_base64
    if secret is not None and len(secret) < _SHORT_SECRET:
        yield f"JWT_SECRET has fewer than {_SHORT_SECRET} bytes: easily guessed (RFC 7518 §3.2)"
    if settings.collapse == "fleet" and not settings.topology.shared:
        yield "COLLAPSE=fleet without a Redis to share: each process fetches for itself"


def _tls_warnings(settings: Settings, given: Mapping[str, Given]) -> Iterator[str]:
    if not settings.backend_tls_verify:
        name = given["BACKEND_TLS_VERIFY"].name
        if name == "NODE_TLS_REJECT_UNAUTHORIZED":
            yield f"{name}=0 is read as BACKEND_TLS_VERIFY=false: the backend's certificate is not verified"
        else:
            yield "BACKEND_TLS_VERIFY=false: the backend's certificate is not verified"
