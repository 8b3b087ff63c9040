"""Whether a target is one of the proxy's own, below ``/_cache``.

The whole prefix is ours, on every port, whether or not anything answers there: it never reaches the backend and is
never keyed. Whichever way a backend might read it: percent-encoded, with several slashes or backslashes, with dot
segments, or with ``;parameters``, which some servers take off before they look.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

PREFIX = b"/_cache"
OWN_NAME = PREFIX[1:]
"""Targets without it and without an encoded character are none of ours."""
_SEPARATORS = re.compile(rb"[/\\]+")


def under_own_prefix(target: bytes) -> bool:
    """Whether the path in ``target`` (origin-form), percent-decoded once, is ``/_cache`` or below it.

    So it is if its first segment says so as it stands, or once dot segments are resolved.
    """
    if OWN_NAME not in target and b"%" not in target:
        return False
    stack: list[bytes] = []
    first = True
    for segment in _SEPARATORS.split(unquote_to_bytes(target.partition(b"?")[0])):
        name = segment.partition(b";")[0]
        if name == b"..":
            del stack[-1:]
        elif segment and name != b".":
            if first and name == OWN_NAME:
                return True
            first = False
            stack.append(name)
    return stack[:1] == [OWN_NAME]
