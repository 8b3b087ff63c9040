"""Tags: names by which stored responses are invalidated together, whatever their keys.

A response brings them in ``Surrogate-Key`` (separated by spaces) and ``Cache-Tag`` (separated by commas), and the rule
for its path adds some. They are exact and case-sensitive bytes, never patterns. Each one costs something for as long
as the response is stored, so there are bounds; a response past them is not stored, as a tag that was left out could
never invalidate it.
"""

from __future__ import annotations

from collections.abc import Iterable

from caching_proxy.http.messages import Fields

MAX_TAGS = 1000
"""Tags of one response."""

MAX_TAG = 1024
"""Bytes of one tag."""

MAX_TAGS_BYTES = 16 * 1024
"""Bytes of all tags of one response."""

Tags = tuple[bytes, ...]
"""Each once, in the order in which they came."""

_BLANK = b" \t"


def tags_of(fields: Fields, more: Tags = ()) -> Tags | None:
    """The tags of a response with ``fields``, and ``more``; None where they are too many or too long."""
    if fields.told(untagged):
        return more
    found = dict.fromkeys(more)
    for line in fields.all(b"surrogate-key"):
        found.update(dict.fromkeys(line.replace(b"\t", b" ").split(b" ")))
    for line in fields.all(b"cache-tag"):
        found.update(dict.fromkeys(tag.strip(_BLANK) for tag in line.split(b",")))
    found.pop(b"", None)
    return tuple(found) if fit(found) else None


def untagged(fields: Fields) -> bool:
    """Whether a response with ``fields`` brings no tags."""
    return b"surrogate-key" not in fields and b"cache-tag" not in fields


def fit(tags: Iterable[bytes]) -> bool:
    """Whether one response may have so many and so long ``tags``."""
    sizes = [len(tag) for tag in tags]
    return len(sizes) <= MAX_TAGS and sum(sizes) <= MAX_TAGS_BYTES and max(sizes, default=0) <= MAX_TAG


def joined(tags: Tags) -> bytes:
    """``tags`` as one text: a field's value cannot hold what stands between them."""
    return b"\n".join(tags)


def split(text: bytes) -> Tags:
    """The inverse of :func:`joined`."""
    return tuple(text.split(b"\n")) if text else ()
