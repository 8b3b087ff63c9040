"""Errors that one client's own fields may have brought about: fields are not in the key, so nobody else may get them.

A status can say so by itself (431), or together with a field that it is about (416 and Range). Any error counts as
induced by the client where the request is odd: otherwise a backend that cannot stand such a request could be made to
answer everybody with an error that it lets caches keep.
"""

from __future__ import annotations

from caching_proxy.http.messages import Fields
from caching_proxy.rules.entry import Selecting

LARGE_VALUE = 2048
"""Bytes in a field value from which on some servers refuse a request; browsers send less, but for the two below."""

LARGE_FIELDS = 6144
"""The same for all fields together. Servers begin to refuse heads at 8 KiB."""

_KEYED = frozenset((b"authorization", b"cookie"))
_ODD = frozenset(
    (
        *(b"range", b"if-range", b"expect", b"max-forwards", b"content-type", b"content-encoding", b"upgrade"),
        *(b"x-http-method-override", b"x-http-method", b"x-method-override", b"x-original-url", b"x-rewrite-url"),
    )
)
_ABOUT: dict[int, tuple[bytes, ...]] = {
    406: (b"accept", b"accept-charset", b"accept-encoding", b"accept-language"),
    412: (b"if-match", b"if-unmodified-since", b"if-none-match", b"if-modified-since"),
    415: (b"accept-encoding", b"content-encoding", b"content-type"),
}
_ALWAYS = frozenset((408, 411, 413, 417, 421, 426, 428, 431))
_TEXT = bytes(range(32, 127)) + b"\t"


def client_induced(status: int, fields: Fields, selecting: Selecting) -> bool:
    """Whether an answer with ``status`` may be due to what else stood in ``fields`` of the request.

    ``selecting`` are the fields that the answer's Vary puts into its variant; these only concern their own sender.
    """
    if status < 400:
        return False
    if status in _ALWAYS:
        return True
    keyed = {name for name, _ in selecting}
    if any(name in fields and name not in keyed for name in _ABOUT.get(status, ())):
        return True
    return _odd(fields, keyed)


def _odd(fields: Fields, keyed: set[bytes]) -> bool:
    total = 0
    for raw_name, value in fields:
        name = raw_name.lower().replace(b"_", b"-")
        if name in _KEYED or name in keyed:
            continue
        if name in _ODD or len(value) > LARGE_VALUE or value.translate(None, _TEXT):
            return True
        total += len(name) + len(value)
    return total > LARGE_FIELDS
