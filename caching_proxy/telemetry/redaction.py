"""What never reaches a log: values of query parameters that carry secrets, credentials in URLs and in messages.

Better one value too many hidden than one too few: a name that merely looks like a secret counts.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

HIDDEN = b"***"

_SUSPECT = re.compile(rb"token|passw|secret|api.?key|sig|cred|code|auth|jwt|pwd|sess|otp|%", re.IGNORECASE)
_NAME = re.compile(
    rb"token|passw|secret|api.?key|signature|credential|^x-amz-sig|(^|[_.\[-])(sig|code|auth|jwt|pwd|otp|session|sessionid|sid)\]?$",
    re.IGNORECASE,
)
_SEPARATORS = re.compile(rb"([&;])")

_CREDENTIALS = re.compile(r"\b(bearer|basic|digest)(\s+)[\w.~+/=-]{4,}", re.IGNORECASE)
_USERINFO = re.compile(r"(?<=://)[^\s/@'\"]*@")
_QUERY = re.compile(r"\?[^\s'\"]+")


def target_without_secrets(target: bytes) -> bytes:
    """``target`` with the values of secret query parameters replaced by ``***``; quick where there is no query."""
    path, mark, query = target.partition(b"?")
    if not mark or not _SUSPECT.search(query):
        return target
    return path + mark + b"".join([_parameter(part) for part in _SEPARATORS.split(query)])


def _parameter(part: bytes) -> bytes:
    name, equals, value = part.partition(b"=")
    if value and _NAME.search(unquote_to_bytes(name)):
        return name + equals + HIDDEN
    return part


def text_without_secrets(text: str) -> str:
    """``text`` without credentials that a message or traceback may quote."""
    text = _CREDENTIALS.sub(r"\1\2***", text)
    text = _USERINFO.sub("***@", text)
    return _QUERY.sub(_query, text)


def _query(match: re.Match[str]) -> str:
    found = match[0].encode("utf-8", "surrogatepass")
    return target_without_secrets(found).decode("utf-8", "surrogatepass")
