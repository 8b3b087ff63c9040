"""A stored response as JSON: text as text, everything else in base64."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence

from caching_proxy.http.messages import Fields
from caching_proxy.rules.entry import CacheEntry
from caching_proxy.rules.key import key_text

_TEXTUAL = frozenset(
    (
        b"application/json",
        b"application/javascript",
        b"application/ecmascript",
        b"application/xml",
        b"application/x-www-form-urlencoded",
        b"application/x-ndjson",
        b"application/yaml",
        b"application/graphql",
        b"application/sql",
        b"image/svg+xml",
    )
)


def cache_entry(entries: Sequence[CacheEntry], now: float) -> dict[str, object]:
    """The newest of a key's variants in full, with a list of all of them if there are several. ``now`` in seconds."""
    newest_first = sorted(entries, key=lambda entry: entry.received_at, reverse=True)
    shown: dict[str, object] = {
        "status": newest_first[0].status,
        "headers": headers(newest_first[0].fields),
        **_body(newest_first[0]),
    }
    if newest_first[0].tags:
        shown["tags"] = list(map(key_text, newest_first[0].tags))
    if len(newest_first) > 1:
        shown["variants"] = [variant(entry, now) for entry in newest_first]
    return shown


def entry_facts(entries: Sequence[CacheEntry], now: float) -> dict[str, object]:
    """The same without bodies, and with what tells size and freshness of each variant. ``now`` in seconds."""
    newest_first = sorted(entries, key=lambda entry: entry.received_at, reverse=True)
    return {
        "status": newest_first[0].status,
        "headers": headers(newest_first[0].fields),
        "expiresIn": newest_first[0].ttl(now),
        "size": sum(entry.size for entry in entries),
        "variants": [variant(entry, now) for entry in newest_first],
    }


def variant(entry: CacheEntry, now: float) -> dict[str, object]:
    """What tells one variant from another: the request fields that select it (null where it must be absent), and the
    spelling and origin of its target where they are not the key's own."""
    shown: dict[str, object] = {
        "status": entry.status,
        "selecting": {_text(name): None if value is None else _text(value) for name, value in entry.selecting},
        "expiresIn": entry.ttl(now),
        "size": entry.size,
    }
    if entry.scope:
        shown["scope"] = _text(entry.scope)
    if entry.tags:
        shown["tags"] = list(map(key_text, entry.tags))
    return shown


def headers(fields: Fields) -> dict[str, str | list[str]]:
    """Field name as first spelled → its value, or the list of its values where it is repeated."""
    names: dict[bytes, bytes] = {}
    for name, _ in fields:
        names.setdefault(name.lower(), name)
    shown: dict[str, str | list[str]] = {}
    for lower, name in names.items():
        values = [_text(value) for value in fields.all(lower)]
        shown[_text(name)] = values[0] if len(values) == 1 else values
    return shown


def _body(entry: CacheEntry) -> dict[str, str]:
    if _textual(entry.fields):
        try:
            return {"body": entry.body.decode("utf-8")}
        except UnicodeDecodeError:
            pass  # whatever its type says
    return {"body": b64encode(entry.body).decode("ascii"), "encoding": "base64"}


def _textual(fields: Fields) -> bool:
    """Whether the body can be shown as it is: a textual media type (RFC 9110 §8.3) without content coding (§8.4)."""
    if (fields.joined(b"content-encoding") or b"identity").strip().lower() != b"identity":
        return False
    media_type = (fields.first(b"content-type") or b"").partition(b";")[0].strip().lower()
    return media_type.startswith(b"text/") or media_type in _TEXTUAL or media_type.endswith((b"+json", b"+xml"))


def _text(value: bytes) -> str:
    return value.decode("latin-1")
