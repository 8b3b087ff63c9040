"""Where a URI reference in ``Location`` or ``Content-Location`` leads, as far as that is this origin (RFC 3986 §5).

Targets are compared verbatim, as keys are; only what has to be resolved is changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

from caching_proxy.http.messages import RequestHead, ResponseHead
from caching_proxy.rules.scope import ends_in_slash

_ABSOLUTE = re.compile(rb"([A-Za-z][A-Za-z0-9+.\-]*):(.*)", re.DOTALL)
_AUTHORITY = re.compile(rb"//([^/?]*)(.*)", re.DOTALL)
_DEFAULT_PORTS = {b"http": b":80", b"https": b":443"}


def origin_of(scheme: bytes, authority: bytes) -> bytes:
    """``scheme://host[:port]`` in lower case, a default or empty port left out (RFC 9110 §4.2.3)."""
    scheme, authority = scheme.lower(), authority.lower().removesuffix(b":")
    return b"%b://%b" % (scheme, authority.removesuffix(_DEFAULT_PORTS.get(scheme, b":")))


def same_origin_target(reference: bytes, target: bytes, origins: Collection[bytes]) -> bytes | None:
    """The origin-form target that ``reference`` names when found in an answer about ``target``.

    None if it leads to none of ``origins``, given as :func:`origin_of` writes them (RFC 9111 §4.4).
    """
    rest = reference.strip(b" \t").partition(b"#")[0]
    absolute = _ABSOLUTE.fullmatch(rest)
    scheme = None
    if absolute is not None:
        scheme, rest = absolute[1], absolute[2]
    authority = _AUTHORITY.fullmatch(rest)
    if authority is not None:
        if not _ours(scheme, authority[1], origins):
            return None
        return _normal(authority[2])
    return None if scheme is not None else _resolved(rest, target)


def describes_target(request: RequestHead, response: ResponseHead, origins: Collection[bytes]) -> bool:
    """Whether the response says that its body represents the request's own target (RFC 9110 §8.7)."""
    lines = response.fields.all(b"content-location")
    return len(lines) == 1 and same_origin_target(lines[0], request.target, origins) == request.target


def redirects_to_own_key(
    request: RequestHead, response: ResponseHead, origins: Collection[bytes], target_in_key: Callable[[bytes], bytes]
) -> bool:
    """Whether a redirect leads to a target that differs from the request's but shares its answers (``/x?a`` → ``/x?b``
    where the key leaves out what the query says).

    Stored, it would answer the very request that it asks for, for ever. ``/x`` → ``/x/`` is none of them: one key has
    both, but each is answered only with what was fetched for it. ``target_in_key`` gives what stands for
    a target in keys.
    """
    if not 300 <= response.status < 400:
        return False
    for line in response.fields.all(b"location"):
        target = same_origin_target(line, request.target, origins)
        if (
            target is not None
            and target != request.target
            and ends_in_slash(target) == ends_in_slash(request.target)
            and target_in_key(target) == target_in_key(request.target)
        ):
            return True
    return False


def _ours(scheme: bytes | None, authority: bytes, origins: Collection[bytes]) -> bool:
    if scheme is not None:
        return origin_of(scheme, authority) in origins
    return any(origin_of(origin.partition(b":")[0], authority) == origin for origin in origins)


def _resolved(reference: bytes, target: bytes) -> bytes:
    path, _, _ = target.partition(b"?")
    if not reference:
        return target
    if reference.startswith(b"/"):
        return _normal(reference)
    if reference.startswith(b"?"):
        return path + reference
    return _normal(path[: path.rfind(b"/") + 1] + reference)


def _normal(target: bytes) -> bytes:
    """``target`` with an empty path as ``/`` and without dot segments (RFC 3986 §5.2.4)."""
    path, mark, query = target.partition(b"?")
    segments = path.removeprefix(b"/").split(b"/")
    kept: list[bytes] = []
    for segment in segments:
        if segment == b"..":
            del kept[-1:]
        elif segment != b".":
            kept.append(segment)
    if segments[-1] in (b".", b".."):
        kept.append(b"")
    return b"/" + b"/".join(kept) + mark + query
