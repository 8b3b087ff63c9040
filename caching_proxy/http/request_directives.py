"""What a client asks of the cache: request directives, Pragma and the two refresh fields.

Several ``Cache-Control`` lines are read as one list (RFC 9111 §5.2). Durations are whole seconds.
"""

from __future__ import annotations

import attrs

from caching_proxy.http.cache_control import CacheControl
from caching_proxy.http.messages import Fields

ANY_STALENESS = 2**31
"""``max-stale`` without a value: a stale response of any age will do (RFC 9111 §5.2.1.2)."""


@attrs.frozen(slots=True)
class RequestControl:
    """The directives of one request.

    ``refresh`` asks for an answer confirmed or made by the backend now; ``explicit_no_cache`` is set when that was
    said by anything stronger than ``max-age=0``, so that not even an immutable response may be used as it is
    (RFC 8246 §2). A limit that was not given is None.
    """

    refresh: bool = False
    only_if_cached: bool = False
    max_age: int | None = None
    min_fresh: int | None = None
    max_stale: int | None = None
    stale_if_error: int | None = None
    explicit_no_cache: bool = False


NO_DIRECTIVES = RequestControl()


def parse_request_control(fields: Fields, client_refresh: bool) -> RequestControl:
    """The directives in ``fields``; without ``client_refresh`` those that force the backend to be asked are ignored."""
    index = fields.index
    lines = index.get(b"cache-control")
    if lines is None:
        if client_refresh and (_refresh_fields(fields) or _pragma_no_cache(fields)):
            return RequestControl(refresh=True, explicit_no_cache=True)
        return NO_DIRECTIVES
    control = CacheControl.parse(lines)
    explicit = client_refresh and (control.has(b"no-cache") or _refresh_fields(fields))
    max_age = _limit(control, b"max-age") if client_refresh else None
    return RequestControl(
        refresh=explicit or max_age == 0,
        only_if_cached=control.has(b"only-if-cached"),
        max_age=max_age,
        min_fresh=_limit(control, b"min-fresh") if client_refresh else None,
        max_stale=_max_stale(control),
        stale_if_error=_limit(control, b"stale-if-error"),
        explicit_no_cache=explicit,
    )


def _refresh_fields(fields: Fields) -> bool:
    index = fields.index
    return (b"cache-refresh" in index and _says_true(index[b"cache-refresh"])) or (
        b"x-cache-refresh" in index and _says_true(index[b"x-cache-refresh"])
    )


def _says_true(values: list[bytes]) -> bool:
    return any(value.strip().lower() == b"true" for value in values)


def _pragma_no_cache(fields: Fields) -> bool:
    """Asked only where the request has no Cache-Control (RFC 9111 §5.4)."""
    values = fields.index.get(b"pragma")
    return values is not None and CacheControl.parse(values).has(b"no-cache")


def _max_stale(control: CacheControl) -> int | None:
    return ANY_STALENESS if control.valueless(b"max-stale") else _limit(control, b"max-stale")


def _limit(control: CacheControl, name: bytes) -> int | None:
    """A limit that is no number counts as none: request directives are advisory (RFC 9111 §5.2.1)."""
    return None if control.malformed(name) else control.seconds(name)
