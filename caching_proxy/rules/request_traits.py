"""What a request's fields decide before anything is looked up, worked out once for each distinct set of fields.

Clients repeat themselves: many requests share one :class:`Fields` object, and all that follows from it alone.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from caching_proxy.http.hop_by_hop import end_to_end, is_loop
from caching_proxy.http.messages import Fields
from caching_proxy.http.request_directives import NO_DIRECTIVES, RequestControl, parse_request_control
from caching_proxy.rules.bypass import why_bypass
from caching_proxy.rules.outcome import Bypass
from caching_proxy.rules.policy import CachePolicy

_CONDITIONS = frozenset((b"if-none-match", b"if-modified-since"))
RANGES = frozenset((b"range", b"if-range"))
PARTICULAR = _CONDITIONS | RANGES
"""What makes a request ask for less than the whole, or for it only if it has changed."""


@attrs.frozen(slots=True)
class RequestTraits:
    """``loop``: the request was here before. ``bypass``: why the cache is passed by, as far as fields say so.

    ``conditional``: it asks for a 304. ``plain``: neither that nor for a part, so that the backend's answer to this
    very request can serve others. ``passing``: the fields less those that end at this hop, which must not select a
    variant; None where all pass, as Connection names none.
    """

    loop: bool
    bypass: Bypass | None
    control: RequestControl
    conditional: bool
    plain: bool
    passing: Fields | None


ORDINARY = RequestTraits(loop=False, bypass=None, control=NO_DIRECTIVES, conditional=False, plain=True, passing=None)

NOTABLE = PARTICULAR | {
    b"cache-control",
    b"cache-refresh",
    b"cookie",
    b"if-match",
    b"if-unmodified-since",
    b"pragma",
    b"upgrade",
    b"via",
    b"x-cache-refresh",
}
"""Names without which, and without a Connection that names others, :data:`ORDINARY` is all there is to say."""


def traits_of(fields: Fields, policy: CachePolicy) -> RequestTraits:
    """The traits of any fields."""
    passing = end_to_end(fields)
    index = passing.index
    return RequestTraits(
        loop=is_loop(fields, policy.proxy_name),
        bypass=why_bypass(fields, policy),
        control=parse_request_control(fields, policy.client_refresh),
        conditional=not _CONDITIONS.isdisjoint(index),
        plain=PARTICULAR.isdisjoint(index),
        passing=None if passing is fields else passing,
    )


def traits_under(policy: CachePolicy) -> Callable[[Fields], RequestTraits]:
    """From fields to :class:`RequestTraits` under ``policy``; keep the function, since its results are remembered."""

    def decide(fields: Fields) -> RequestTraits:
        ordinary = NOTABLE.isdisjoint(fields.index) and end_to_end(fields) is fields
        return ORDINARY if ordinary else traits_of(fields, policy)

    def traits(fields: Fields) -> RequestTraits:
        decided = fields.told(decide)
        if decided.passing is None or fields.telling is None:
            return decided
        return fields.derived(decide)  # what passes is of all fields

    return traits
