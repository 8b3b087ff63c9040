"""The PEM files of TLS connections, read at start, so that a wrong one stops it like any other wrong value."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import attrs
from cryptography import x509

from caching_proxy.settings.model import Settings
from caching_proxy.settings.parsers import SettingsError
from caching_proxy.transport.certificates import PairError, load_pair
from caching_proxy.transport.tls import TLSConfig, load_certificates, load_key

_LIMIT = 1 << 20
_CERTIFICATES = "a readable file of PEM certificates"
_KEY = "a readable file with the PEM private key of {}, without a password"


def with_tls(settings: Settings) -> Settings:
    """``settings`` with what the PEM files come to; raises :class:`SettingsError`."""
    cache = _config("CACHE", settings.cache_ca_file, settings.cache_cert_file, settings.cache_key_file)
    backend = _config("BACKEND", settings.backend_ca_file, settings.backend_cert_file, settings.backend_key_file)
    return attrs.evolve(
        settings,
        cache_tls=cache,
        backend_tls=attrs.evolve(backend, verify=settings.backend_tls_verify),
        jwks_tls=TLSConfig(_certificates("JWT_JWKS_CA_FILE", settings.jwt_jwks_ca_file)),
    )


def check_listener(settings: Settings) -> tuple[str, ...]:
    """What is unwise about the listener's certificates; raises :class:`SettingsError` for what cannot work."""
    certificates, keys = settings.tls_cert_file, settings.tls_key_file
    if bool(certificates) != bool(keys):
        given, missing = ("TLS_CERT_FILE", "TLS_KEY_FILE") if certificates else ("TLS_KEY_FILE", "TLS_CERT_FILE")
        raise SettingsError(given, ",".join(certificates or keys), f"{missing} to be set as well")
    if len(certificates) != len(keys):
        allowed = f"as many files as TLS_CERT_FILE names ({len(certificates)}), in the same order"
        raise SettingsError("TLS_KEY_FILE", ",".join(keys), allowed)
    if certificates and settings.listen is not None and settings.listen.startswith("ssl:"):
        raise SettingsError("LISTEN", settings.listen, "an endpoint without TLS of its own where TLS_CERT_FILE is set")
    return tuple(_complaints(settings))


def _complaints(settings: Settings) -> Iterator[str]:
    now = datetime.datetime.now(datetime.UTC)
    for certificate, key in settings.tls_files:
        try:
            complaint = load_pair(certificate, key).complaint(now)
        except PairError as problem:
            raise pair_refused(problem) from None
        if complaint is not None:
            yield f"TLS_CERT_FILE={certificate}: {complaint}"


def pair_refused(problem: PairError) -> SettingsError:
    """Why a pair cannot be used, in the user's words."""
    if problem.of_key:
        return SettingsError("TLS_KEY_FILE", problem.path, f"{_KEY.format('TLS_CERT_FILE')} ({problem.reason})")
    return SettingsError("TLS_CERT_FILE", problem.path, f"{_CERTIFICATES} ({problem.reason})")


def _config(prefix: str, ca: str | None, certificate: str | None, key: str | None) -> TLSConfig:
    cert_name, key_name = f"{prefix}_CERT_FILE", f"{prefix}_KEY_FILE"
    if certificate is None and key is None:
        return TLSConfig(_certificates(f"{prefix}_CA_FILE", ca))
    if certificate is None or key is None:
        given, missing, path = (cert_name, key_name, certificate) if key is None else (key_name, cert_name, key)
        raise SettingsError(given, path, f"{missing} to be set as well")
    chain = _certificates(cert_name, certificate)
    try:
        loaded = load_key(_read(key), _read(certificate))
    except (OSError, ValueError) as problem:
        raise SettingsError(key_name, key, _KEY.format(cert_name) + _why(problem)) from None
    return TLSConfig(_certificates(f"{prefix}_CA_FILE", ca), chain, loaded)


def _certificates(name: str, path: str | None) -> tuple[x509.Certificate, ...]:
    if path is None:
        return ()
    try:
        return load_certificates(_read(path))
    except (OSError, ValueError) as problem:
        raise SettingsError(name, path, _CERTIFICATES + _why(problem)) from None


def _read(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(_LIMIT)


def _why(problem: Exception) -> str:
    return f" ({getattr(problem, 'strerror', None) or problem})"
