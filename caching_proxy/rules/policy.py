"""The settings that decisions depend on, in one immutable value."""

from __future__ import annotations

import attrs

MAX_VARIANTS = 64
"""Variants of one key."""

MAX_VARIANT_BYTES = 32 * 1024 * 1024
"""Bytes of all variants of one key, heads included."""


@attrs.frozen(slots=True)
class CachePolicy:
    """How this proxy fills the room that RFC 9111 leaves to a cache. Durations are whole seconds.

    ``default_ttl`` is the lifetime of a 2xx that states none (0 = never guess). ``cookie_bypass`` passes requests
    with a cookie by unless every cookie name matches one of the globs in ``ignored_cookies``; ``store_set_cookie`` lets
    a response that sets cookies be stored all the same where the backend said that it is for all.
    ``fill_on_conditional`` fetches the whole for a client that only asks whether its copy still holds. ``targets`` is
    the list of targeted cache control fields (RFC 9213), lower case, first valid one decides. ``heuristic_cap`` bounds
    the 10 % rule.
    """

    default_ttl: int = 1800
    cookie_bypass: bool = True
    ignored_cookies: tuple[bytes, ...] = ()
    store_set_cookie: bool = False
    fill_on_conditional: bool = False
    stale_while_revalidate: int = 0
    stale_if_error: int = 0
    keep_stale: int = 600
    client_refresh: bool = True
    heuristic_cap: int = 86400
    targets: tuple[bytes, ...] = (b"cdn-cache-control",)
    max_body: int = 10 * 1024 * 1024
    proxy_name: bytes = b"caching-proxy"
