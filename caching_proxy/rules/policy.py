"""The settings that decisions depend on, in one immutable value."""

from __future__ import annotations

import attrs

MAX_VARIANTS = 64
"""Variants of one key."""

MAX_VARIANT_BYTES = 32 * 1024 * 1024
"""Bytes of all variants of one key, heads included."""

StatusTTLs = tuple[tuple[int, int], ...]
"""Lifetimes in seconds by status."""


@attrs.frozen(slots=True)
class Override:
    """What the operator says of responses in place of the backend (``"mode": "override"`` in a rule).

    ``ttl`` is the lifetime of a 2xx (but 206) and ``status_ttl`` that of some statuses, in seconds, None where the
    backend's word holds. ``private`` goes for responses that it called private or not to be stored as well. The stale
    windows are seconds, None where the backend's hold.
    """

    ttl: int | None = None
    status_ttl: StatusTTLs = ()
    private: bool = False
    stale_while_revalidate: int | None = None
    stale_if_error: int | None = None

    def lifetime(self, status: int) -> int | None:
        """The lifetime of a response with ``status``, None where the backend's word holds."""
        named = dict(self.status_ttl).get(status)
        if named is None and 200 <= status < 300 and status != 206:
            return self.ttl
        return named


@attrs.frozen(slots=True)
class CachePolicy:
    """How this proxy fills the room that RFC 9111 leaves to a cache. Durations are whole seconds.

    ``default_ttl`` is the lifetime of a 2xx that states none (0 = never guess). ``cookie_bypass`` passes requests
    with a cookie by unless every cookie name matches one of the globs in ``ignored_cookies``; ``store_set_cookie`` lets
    a response that sets cookies be stored all the same where the backend said that it is for all.
    ``fill_on_conditional`` fetches the whole for a client that only asks whether its copy still holds. ``targets`` is
    the list of targeted cache control fields (RFC 9213), lower case, first valid one decides. ``heuristic_cap`` bounds
    the 10 % rule.

    The rest comes from a rule for the path: ``status_ttl`` are lifetimes in place of guesses, 0 for none; ``override``
    beats what the backend says; ``vary`` names fields (lower case) that select a variant beside those of
    ``Vary``, ``tags`` are those that every response gets.
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
    status_ttl: StatusTTLs = ()
    override: Override | None = None
    vary: tuple[bytes, ...] = ()
    tags: tuple[bytes, ...] = ()

    def default_of(self, status: int) -> int | None:
        """The lifetime in place of a guess about a response with ``status`` that states none; None: guess."""
        if self.status_ttl:
            named = dict(self.status_ttl).get(status)
            if named is not None:
                return named
        return self.default_ttl if self.default_ttl > 0 and 200 <= status < 300 and status != 206 else None
