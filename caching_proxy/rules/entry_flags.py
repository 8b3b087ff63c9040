"""What an entry keeps of the directives that it came with."""

from __future__ import annotations

from functools import lru_cache

from caching_proxy.http.cache_control import CacheControl
from caching_proxy.rules.entry import NO_FLAGS, Flag


@lru_cache(512)  # equal lines have one CacheControl, so that this is found by identity
def flags_of(control: CacheControl) -> Flag:
    """The properties of a stored response that its directives give it."""
    flags = NO_FLAGS
    if control.unqualified(b"no-cache"):
        flags |= Flag.NO_CACHE | Flag.STRICT
    if control.has(b"must-revalidate") or control.has(b"proxy-revalidate") or control.has(b"s-maxage"):
        flags |= Flag.STRICT  # RFC 9111 §4.2.4
    if control.misspelt:  # what may have been meant for one client only is shown to nobody without asking
        flags |= Flag.STRICT
    if control.has(b"immutable"):
        flags |= Flag.IMMUTABLE
    if control.has(b"public") or control.has(b"must-revalidate") or control.has(b"s-maxage"):
        flags |= Flag.SHARED  # RFC 9111 §3.5
    return flags
