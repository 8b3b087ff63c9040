"""Whether the path of a target leaves the tree that it is sent into.

The backend gets ``BACKEND_URL``'s path followed by the client's target as it was sent. Whoever resolves ``..`` on the
other side must not end up above that path, whichever way the segments are written: percent-encoded, split by a
backslash, or followed by ``;parameters``, which some servers take off before they look.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

_SEPARATORS = re.compile(rb"[/\\]+")  # several in a row: some servers merge them


def climbs(target: bytes) -> bool:
    """Whether the path in ``target`` (origin-form), percent-decoded once, leads above where it begins.

    Each ``..`` counts against the segments before it, whatever comes after.
    """
    if b".." not in target and b"%2" not in target:  # neither a dot nor a separator can be hidden
        return False
    depth = 0
    for segment in _SEPARATORS.split(unquote_to_bytes(target.partition(b"?")[0])):
        name = segment.partition(b";")[0]
        if name == b"..":
            depth -= 1
            if depth < 0:
                return True
        elif segment and name != b".":
            depth += 1
    return False
