"""Cache keys: ``cache:<METHOD>:<ROLE>:<TARGET>`` as bytes.

METHOD is always ``GET`` (``HEAD`` reads what ``GET`` stored). ROLE never holds a ``:``, so the first one after the
method ends it, and no two pairs of role and target share a key. TARGET is the request target as forwarded, less
one trailing ``/`` of its path: nothing that a backend might tell apart is folded together unless the operator asked
for it in :class:`KeyPolicy`. Older keys without a role (``cache:GET:/x``) are recognised so that they can be listed.
"""

from __future__ import annotations

import attrs

from caching_proxy.rules.glob import Matcher, compile_glob
from caching_proxy.rules.own_prefix import OWN_NAME, under_own_prefix

PREFIX = b"cache:"
GET_PREFIX = b"cache:GET:"
LEGACY = "legacy"


@attrs.frozen(slots=True)
class KeyPolicy:
    """Options that change the key on purpose.

    ``ignore_params`` are globs on the names of query parameters, as spelled in the target, that the key leaves out.
    ``sort_query`` orders parameters by name; those of one name keep their order, as it may mean something.
    ``host_in_key`` is for proxies that answer to several hosts. ``reserved`` are paths of this port that are answered
    here: nothing of the backend's may be stored where it would answer for them.
    """

    ignore_params: tuple[bytes, ...] = ()
    sort_query: bool = False
    host_in_key: bool = False
    reserved: frozenset[bytes] = frozenset()
    _ignored: tuple[Matcher, ...] = attrs.field(
        init=False,
        eq=False,
        repr=False,
        default=attrs.Factory(lambda self: tuple(map(compile_glob, self.ignore_params)), takes_self=True),
    )

    @property
    def edits_query(self) -> bool:
        return self.sort_query or bool(self._ignored)

    def reserves(self, target: bytes) -> bool:
        """Whether ``target`` (origin-form) is below the proxy's own prefix or, less a slash at the end of its path, a
        reserved path."""
        if (b"%" in target or OWN_NAME in target) and under_own_prefix(target):  # a glance suffices for most
            return True
        if not self.reserved:
            return False
        path = target.partition(b"?")[0]
        return path in self.reserved or (path[-1:] == b"/" and path[:-1] in self.reserved)

    def ignores(self, name: bytes) -> bool:
        """Whether the key leaves out the query parameter ``name``."""
        return any(matches(name) for matches in self._ignored)


@attrs.frozen(slots=True)
class ParsedKey:
    """The parts of a key; ``role`` is None for one without a role."""

    method: bytes
    role: bytes | None
    target: bytes


def target_of(target: bytes, policy: KeyPolicy, host: bytes = b"") -> bytes:
    """The TARGET of a key for an origin-form ``target``; ``host`` counts only with ``policy.host_in_key``."""
    path, mark, query = target.partition(b"?")
    if path[-1:] == b"/" and len(path) > 1:
        path = path[:-1]
    if mark and policy.edits_query:
        mark, query = _edited(query, policy)
    if policy.host_in_key:
        return b"//%b%b%b%b" % (host.lower(), path, mark, query)
    return path + mark + query if mark else path


def _edited(query: bytes, policy: KeyPolicy) -> tuple[bytes, bytes]:
    """``?`` and the query as the policy wants it, both empty where it leaves out every parameter."""
    params = query.split(b"&")
    # a backend that splits at ";" as well would read more out of an ignored parameter than the key knows of
    kept = [param for param in params if b";" in param or not policy.ignores(_name(param))]
    if params and not kept:
        return b"", b""
    if policy.sort_query:
        kept.sort(key=_name)
    return b"?", b"&".join(kept)


def _name(param: bytes) -> bytes:
    return param.partition(b"=")[0]


def build_key(role: bytes, target: bytes) -> bytes:
    """The key for what ``role`` (an identifier from ``rules.role``) sees at ``target`` (from :func:`target_of`)."""
    return b"cache:GET:%b:%b" % (role, target)


def parse_key(key: bytes) -> ParsedKey:
    """The parts of ``key``. What is no key of ours has an empty method and no role, and is all target."""
    if not key.startswith(PREFIX):
        return ParsedKey(b"", None, key)
    method, colon, rest = key[len(PREFIX) :].partition(b":")
    if not colon:
        return ParsedKey(b"", None, key)
    role, colon, target = rest.partition(b":")
    if not colon or not role or b"/" in role:
        return ParsedKey(method, None, rest)
    return ParsedKey(method, role, target)


def target_in(key: bytes) -> bytes:
    """The target of ``key``, as :func:`parse_key` gives it, at a fraction of the cost for ordinary keys."""
    if key.startswith(GET_PREFIX):
        start = len(GET_PREFIX)
        colon = key.find(b":", start)
        if colon > start and key.find(b"/", start, colon) < 0:
            return key[colon + 1 :]
    return parse_key(key).target


def role_label(key: bytes) -> str:
    """The role under which a listing shows ``key``; ``legacy`` for one without."""
    role = parse_key(key).role
    return LEGACY if role is None else key_text(role)


def key_text(key: bytes) -> str:
    """``key`` as text for JSON; bytes that are not UTF-8 become lone surrogates, so that nothing is lost."""
    return key.decode("utf-8", "surrogateescape")


def key_bytes(text: str) -> bytes:
    """The inverse of :func:`key_text`; ValueError for text that it never gives (other lone surrogates)."""
    return text.encode("utf-8", "surrogateescape")
