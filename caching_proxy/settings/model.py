"""Every setting as one immutable value, read once at start.

A flag beats the environment, which beats ``.env``, which beats the default; an empty value counts as unset. Anything
that cannot be right stops the start with one line (:class:`SettingsError`); what is merely unwise comes back as
warnings. Parsing and documentation live in :mod:`caching_proxy.settings.table`, one row per variable.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from caching_proxy.rules.policy import CachePolicy
from caching_proxy.settings.checks import Given, check
from caching_proxy.settings.parsers import Network, SettingsError, without_password
from caching_proxy.settings.table import TABLE, Variable
from caching_proxy.transport.tls import PLATFORM, TLSConfig


def _url(url: str | None) -> str:
    return repr(url and without_password(url))


def _secret(value: bytes | None) -> str:
    return "None" if value is None else "'***'"


@attrs.frozen(slots=True, kw_only=True)
class Settings:
    """All settings. Sizes are bytes, durations seconds; None means unset or unbounded. See docs/settings.md."""

    backend_url: str = attrs.field(repr=_url)
    cache_url: str = attrs.field(repr=_url)
    port: int
    host: str
    listen: str | None
    app_env: str
    workers: int
    shutdown_grace_seconds: float
    drain_delay_seconds: float
    proxy_name: bytes

    cache_ttl_seconds: int
    keep_stale_seconds: int
    stale_while_revalidate_seconds: int
    stale_if_error_seconds: int
    stale_wait_seconds: float
    heuristic_max_seconds: int
    targeted_fields: tuple[bytes, ...]
    client_refresh: str
    cache_status: bool
    fill_on_conditional: bool

    max_cacheable_bytes: int
    max_variants: int
    max_variant_bytes: int
    cookie_policy: str
    store_set_cookie: bool
    ignored_cookies: tuple[bytes, ...]
    cache_key_ignore_params: tuple[bytes, ...]
    cache_key_sort_query: bool
    invalidation_config: str

    hot_cache_max_entries: int
    hot_cache_max_bytes: int
    hot_cache_ttl_seconds: float
    burst_cache_max_entries: int
    burst_cache_max_bytes: int
    burst_cache_ttl_seconds: float
    memory_store_max_bytes: int

    redis_pool_min: int
    redis_pool_max: int
    redis_connect_timeout: float
    redis_command_timeout: float
    redis_max_pending: int
    cache_ca_file: str | None
    cache_cert_file: str | None
    cache_key_file: str | None
    breaker_failure_threshold: int
    breaker_recovery_seconds: float

    backend_max_connections: int
    backend_connect_timeout: float
    backend_timeout: float
    backend_tls_verify: bool
    backend_ca_file: str | None
    backend_cert_file: str | None
    backend_key_file: str | None
    backend_max_per_peer: int | None
    preserve_host: bool
    rewrite_location: bool
    allowed_hosts: tuple[bytes, ...]

    jwt_secret: bytes | None = attrs.field(repr=_secret)
    jwt_secret_base64: bytes | None = attrs.field(repr=_secret)
    jwt_public_key_file: str | None
    jwt_jwks_url: str | None = attrs.field(repr=_url)
    jwt_jwks_ca_file: str | None
    jwt_algorithms: tuple[str, ...]
    jwt_audience: tuple[str, ...]
    jwt_issuer: str | None
    jwt_leeway_seconds: float
    jwt_max_bytes: int
    jwt_trust: str
    jwt_roles_claim: str

    admin_token: bytes | None = attrs.field(repr=_secret)
    admin_auth: str
    admin_port: int | None
    admin_host: str
    log_level: str
    access_log: bool
    metrix_prefix: str

    trusted_proxies: tuple[Network, ...]
    steering_fields: tuple[bytes, ...]
    underscores_in_headers: bool
    max_request_body_bytes: int | None
    request_buffer_bytes: int
    max_head_bytes: int
    max_header_fields: int
    max_target_bytes: int
    pipeline_depth: int
    head_timeout: float
    body_timeout: float
    write_timeout: float
    idle_timeout: float
    max_connections: int
    max_connections_per_peer: int

    jwt_public_key: bytes | None = attrs.field(default=None, repr=False)
    """The PEM text in ``jwt_public_key_file``."""
    cache_tls: TLSConfig = attrs.field(default=PLATFORM, repr=False)
    backend_tls: TLSConfig = attrs.field(default=PLATFORM, repr=False)
    jwks_tls: TLSConfig = attrs.field(default=PLATFORM, repr=False)
    """What the PEM files come to."""

    @property
    def development(self) -> bool:
        """Whether logs and error bodies may show internals."""
        return self.app_env == "development"

    @property
    def verifies_tokens(self) -> bool:
        """Whether a key is configured."""
        return bool(self.jwt_secret or self.jwt_secret_base64 or self.jwt_public_key_file or self.jwt_jwks_url)

    def policy(self) -> CachePolicy:
        """The part that decisions in ``core`` depend on."""
        return CachePolicy(
            default_ttl=self.cache_ttl_seconds,
            cookie_bypass=self.cookie_policy == "bypass",
            ignored_cookies=self.ignored_cookies,
            store_set_cookie=self.store_set_cookie,
            fill_on_conditional=self.fill_on_conditional,
            stale_while_revalidate=self.stale_while_revalidate_seconds,
            stale_if_error=self.stale_if_error_seconds,
            keep_stale=self.keep_stale_seconds,
            client_refresh=self.client_refresh == "allow",
            heuristic_cap=self.heuristic_max_seconds,
            targets=self.targeted_fields,
            max_body=self.max_cacheable_bytes,
            proxy_name=self.proxy_name,
        )


_UNSET: Mapping[str, object] = {
    "ignored_cookies": (),
    "cache_key_ignore_params": (),
    "allowed_hosts": (),
    "jwt_algorithms": (),
    "jwt_audience": (),
    "trusted_proxies": (),
    "steering_fields": (),
    "metrix_prefix": "",
}
"""What an unset variable without a default becomes, where that is not None."""


def load(
    environ: Mapping[str, str], dotenv: Mapping[str, str], overrides: Mapping[str, str]
) -> tuple[Settings, tuple[str, ...]]:
    """The settings and the warnings about them; raises :class:`SettingsError`.

    ``overrides`` (flags) are keyed by the variable's name.
    """
    values: dict[str, Any] = {}
    given: dict[str, Given] = {}
    for row in TABLE:
        found = next(_candidates(row, overrides, environ, dotenv), None)
        if found is not None:
            given[row.name] = found
            values[row.attribute] = _parsed(row, found)
        elif row.default is not None:
            values[row.attribute] = row.parser.convert(row.default)
        elif row.required:
            raise SettingsError(row.name, None, row.parser.expected)
        else:
            values[row.attribute] = _UNSET.get(row.attribute)
    return check(Settings(**values), given)


def _candidates(row: Variable, *sources: Mapping[str, str]) -> Iterator[Given]:
    for source in sources:
        for name in (row.name, *row.aliases):
            text = source.get(name, "").strip()
            if text:
                yield Given(name, text)


def _parsed(row: Variable, found: Given) -> object:
    try:
        return row.parser.convert(found.text)
    except ValueError:
        shown = "***" if row.secret else without_password(found.text)
        raise SettingsError(found.name, shown, row.parser.expected) from None


__all__ = ["Settings", "SettingsError", "load", "without_password"]
