"""Every setting as one immutable value. How it is read stands in :mod:`caching_proxy.settings.load`."""

from __future__ import annotations

import attrs

from caching_proxy.rules.cache_url import parse_cache_url
from caching_proxy.rules.policy import CachePolicy
from caching_proxy.rules.store_topology import Topology
from caching_proxy.settings.parsers import Network, without_password
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
    tls_cert_file: tuple[str, ...]
    tls_key_file: tuple[str, ...]
    http2: bool
    app_env: str
    workers: int
    spare_workers: int
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
    collapse: str
    store_set_cookie: bool
    compress: tuple[bytes, ...]
    compress_min_bytes: int
    ignored_cookies: tuple[bytes, ...]
    cache_key_ignore_params: tuple[bytes, ...]
    cache_key_sort_query: bool
    invalidation_config: str
    cache_rules: str | None

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
    log_file: str | None
    state_dir: str | None
    otel_exporter_otlp_endpoint: str | None
    log_rotate_bytes: int
    log_keep: int
    metrix_prefix: str

    trusted_proxies: tuple[Network | str, ...]
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
    def tls_files(self) -> tuple[tuple[str, str], ...]:
        """Certificate and key of each pair that the listener shows; none: it speaks plain HTTP."""
        return tuple(zip(self.tls_cert_file, self.tls_key_file, strict=True))

    @property
    def topology(self) -> Topology:
        """What ``cache_url`` names: where the store is, and whether others may be on it."""
        return parse_cache_url(self.cache_url)

    @property
    def development(self) -> bool:
        """Whether logs and error bodies may show internals."""
        return self.app_env == "development"

    @property
    def verifies_tokens(self) -> bool:
        """Whether a key is configured."""
        return bool(self.jwt_secret or self.jwt_secret_base64 or self.jwt_public_key_file or self.jwt_jwks_url)

    def policy(self) -> CachePolicy:
        """The part that decisions in ``rules`` depend on."""
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
