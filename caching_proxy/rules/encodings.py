"""Which stored responses are sent compressed, in which coding, and with which fields (RFC 9110 §8.4, §12.5.3).

A compressed form is another representation of the same resource: it has a weak entity tag, for its bytes are ours, and
its own length; parts of it are never served. Whoever may get one is told so by ``Vary``, whatever they got.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from caching_proxy.http.cache_control import CacheControl
from caching_proxy.http.messages import Fields, RequestHead
from caching_proxy.http.negotiation import weighted
from caching_proxy.rules.entry import CacheEntry

ACCEPT_ENCODING = b"accept-encoding"

_TYPES = frozenset(
    (
        *(b"application/javascript", b"application/x-javascript", b"application/ecmascript", b"application/json"),
        *(b"application/xml", b"application/x-ndjson", b"application/yaml", b"application/x-yaml", b"application/toml"),
        *(b"application/graphql", b"application/sql", b"application/rtf", b"application/wasm", b"image/bmp"),
        *(b"image/x-icon", b"image/vnd.microsoft.icon", b"font/ttf", b"font/otf", b"application/vnd.ms-fontobject"),
    )
)
_SUFFIXES = (b"+json", b"+xml", b"+yaml", b"+text")
_NOT_TEXT = frozenset((b"text/event-stream",))
_ABOUT_BYTES = frozenset((b"content-md5", b"digest", b"content-digest", b"repr-digest", b"content-range"))
_NOT_IN_FORM = frozenset((b"accept-ranges", b"etag"))


def negotiable(status: int, fields: Fields) -> bool:
    """Whether a response with this status and these fields may be sent compressed, if it is long enough."""
    if status != 200 or b"content-encoding" in fields or not is_text(fields.first(b"content-type")):
        return False
    if not _ABOUT_BYTES.isdisjoint(fields.index):
        return False
    return not CacheControl.parse(fields.all(b"cache-control")).has(b"no-transform")


def is_text(content_type: bytes | None) -> bool:
    """Whether a media type is one that compresses well."""
    kind = (content_type or b"").partition(b";")[0].strip(b" \t").lower()
    if kind.startswith(b"text/"):
        return kind not in _NOT_TEXT
    return kind in _TYPES or kind.endswith(_SUFFIXES)


def preferred(lines: Sequence[bytes], offered: Sequence[bytes]) -> bytes | None:
    """The coding that a client with these ``Accept-Encoding`` lines gets, None for identity.

    The highest weight wins, the order of ``offered`` among equals, and a coding before identity. A client that says
    nothing, or what is malformed, gets identity.
    """
    members = weighted(ACCEPT_ENCODING, b",".join(lines)) if lines else None
    if not members:
        return None
    weights: dict[bytes, int] = {}
    for coding, weight in members:
        weights.setdefault(coding.removeprefix(b"x-"), weight)
    rest = weights.get(b"*", 0)
    best, highest = None, max(1, weights.get(b"identity", 1))
    for coding in offered:
        weight = weights.get(coding, rest)
        if weight > highest or (weight == highest and best is None):
            best, highest = coding, weight
    return best


def asks_for_form(head: RequestHead, offered: Sequence[bytes]) -> bytes | None:
    """The coding in which ``head`` is answered; parts are of the identity form only."""
    if b"range" in head.fields:
        return None
    return preferred(head.fields.all(ACCEPT_ENCODING), offered)


def varying(fields: Fields) -> bool:
    """Whether ``Vary`` says already that the answer depends on Accept-Encoding."""
    named = {name.strip(b" \t").lower() for line in fields.all(b"vary") for name in line.split(b",")}
    return b"*" in named or ACCEPT_ENCODING in named


VARY_LINE = b"Vary: Accept-Encoding\r\n"


def marked(entry: CacheEntry) -> CacheEntry:
    """The identity form of an entry that is negotiable."""
    return entry if varying(entry.fields) else attrs.evolve(entry, head=entry.head + VARY_LINE)


def coded(entry: CacheEntry, coding: bytes, body: bytes) -> CacheEntry:
    """The form of ``entry`` whose body, in ``coding``, is ``body``."""
    tag = entry.fields.first(b"etag")
    fields = entry.fields.without(_NOT_IN_FORM).plus((b"Content-Encoding", coding))
    if tag:
        fields = fields.plus((b"ETag", tag if tag.startswith(b"W/") else b"W/" + tag))
    return marked(attrs.evolve(entry, head=fields.encoded(), body=body))
