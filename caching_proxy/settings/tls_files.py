"""The PEM files of TLS connections, read at start, so that a wrong one stops it like any other wrong value."""

from __future__ import annotations

from pathlib import Path

import attrs
from cryptography import x509

from caching_proxy.settings.model import Settings
from caching_proxy.settings.parsers import SettingsError
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
