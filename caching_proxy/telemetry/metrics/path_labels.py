"""Request paths and methods as metric labels: few, short, printable.

A label value costs memory for as long as the process lives and comes from whoever sends requests, so identifiers
are folded together (``/articles/123`` → ``/articles/:id``) and the number of distinct paths is bounded.
"""

from __future__ import annotations

import re

from caching_proxy.http.memo import Memo

MAX_LENGTH = 120
OTHER_PATH = ":other"
OTHER_METHOD = "other"

_IDENTIFIER = re.compile(
    rb"(?<=/)(?:[0-9]+|[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}|[0-9A-Fa-f]{16,})(?=/|\Z)"
)
_UNPRINTABLE = re.compile(rb"[^!-~]")
_PRINTABLE = bytes(range(ord("!"), ord("~") + 1))
METHODS = {
    method: method.decode("ascii")
    for method in (b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"TRACE", b"CONNECT")
}
"""Labels of methods; all others have that of :data:`OTHER_METHOD`."""


def normalise_path(path: bytes) -> str:
    """``path`` without its query, numbers, UUIDs and hex of 16 digits or more as ``:id``; at most 120 characters.

    Bytes that are not printable ASCII become ``?``. What is cut off ends in ``...``.
    """
    path = _IDENTIFIER.sub(b":id", path.partition(b"?")[0])
    if path.translate(None, _PRINTABLE):
        path = _UNPRINTABLE.sub(b"?", path)
    text = path.decode("ascii")
    return text if len(text) <= MAX_LENGTH else text[: MAX_LENGTH - 3] + "..."


def normalise_method(method: bytes) -> str:
    """A method of RFC 9110 or PATCH as text, any other as ``other``; methods are case-sensitive (RFC 9110 §9.1)."""
    return METHODS.get(method, OTHER_METHOD)


class PathLabels:
    """Labels for paths, at most ``limit`` distinct ones over the life of the process and then ``:other``.

    Recent answers are remembered by raw path, since most requests are for few paths.
    """

    __slots__ = ("_labels", "_recent", "limit")

    _RECENT = 512  # in a generation
    _MAX_REMEMBERED = 256  # bytes of a path worth remembering

    def __init__(self, limit: int = 200) -> None:
        self.limit = limit
        self._labels: set[str] = set()
        self._recent: Memo[bytes, str] = Memo(self._RECENT)

    @property
    def remembered(self) -> int:
        """Raw paths held for speed."""
        return self._recent.held

    def label(self, path: bytes) -> str:
        """The label for ``path``, which may carry a query."""
        above, slash, last = path.rpartition(b"/")
        if slash and last.isdigit():  # an identifier: all that differ in it alone are remembered as one
            path = above + b"/0"
        label = self._recent[path]
        if label is None:
            label = normalise_path(path)
            if label not in self._labels:
                label = self._admitted(label)
            if len(path) <= self._MAX_REMEMBERED:
                self._recent.keep(path, label)
        return label

    def _admitted(self, label: str) -> str:
        if len(self._labels) >= self.limit:
            return OTHER_PATH
        self._labels.add(label)
        return label
