"""The closed sets of words in which the proxy explains itself.

They name the values of ``X-Cache-Status``, the parameters of ``Cache-Status`` (RFC 9211), log fields and metric
labels; nothing else in the program spells them out.
"""

from __future__ import annotations

import enum


class CacheStatus(enum.Enum):
    """Values of ``X-Cache-Status``, one on every proxied response."""

    HOT_HIT = b"HOT_HIT"
    HIT = b"HIT"
    MISS = b"MISS"
    REFRESH = b"REFRESH"
    REVALIDATED = b"REVALIDATED"
    STALE = b"STALE"
    BYPASS = b"BYPASS"
    CIRCUIT_OPEN = b"CIRCUIT_OPEN"
    ERROR = b"ERROR"
    NOT_APPLICABLE = b"N/A"

    def __init__(self, token: bytes) -> None:
        self.token = token  # a plain attribute is found many times as fast as ``value``
        self.text = token.decode()


FROM_CACHE = frozenset(status.text for status in (CacheStatus.HOT_HIT, CacheStatus.HIT, CacheStatus.STALE))
"""Texts of those with which the client did not have to wait for the backend: what hit ratios count."""


class Forward(enum.Enum):
    """Why a request went to the backend: values of ``fwd`` (RFC 9211 §2.2)."""

    BYPASS = b"bypass"
    METHOD = b"method"
    URI_MISS = b"uri-miss"
    VARY_MISS = b"vary-miss"
    MISS = b"miss"
    REQUEST = b"request"
    STALE = b"stale"
    PARTIAL = b"partial"

    def __init__(self, token: bytes) -> None:
        self.token = token

    __hash__ = object.__hash__  # a member equals itself alone; that of an Enum takes a frame


class Refusal(enum.Enum):
    """Why a response may not be stored (RFC 9111 §3 and the project's own rules)."""

    METHOD = "method"
    STATUS = "status"
    NO_STORE = "no-store"
    REQUEST_NO_STORE = "request-no-store"
    MUST_UNDERSTAND = "must-understand"
    PRIVATE = "private"
    AUTHORIZATION = "authorization"
    SET_COOKIE = "set-cookie"
    COOKIE = "cookie"
    VARY_STAR = "vary-star"
    NO_FRESHNESS = "no-freshness"
    MALFORMED = "malformed-cache-control"  # it seems to restrict, so no lifetime is guessed
    RANGE = "range"
    REQUEST_BODY = "request-body"
    TOO_LARGE = "too-large"
    INCOMPLETE = "incomplete"
    TAGS = "tags"  # too many or too long
    MEMORY = "memory"  # too many bodies are being collected already


class Bypass(enum.Enum):
    """Why a request's fields, or the rule for its path, forbid to read or write the cache."""

    COOKIE = "cookie"
    NO_STORE = "no-store"
    UPGRADE = "upgrade"
    PRECONDITION = "precondition"
    RULE = "rule"  # "share": "none"
    AMBIGUOUS = "ambiguous-target"  # another rule holds for the target as a backend may understand it


class Detour(enum.Enum):
    """Why a request is not for the cache at all, beside its fields (:class:`Bypass`)."""

    LOOP = "loop"
    METHOD = "method"
    NO_ROLE = "no-role"
    BODY = "body"
    OWN_NAME = "own-name"


class Ground(enum.Enum):
    """Why a stored response is used as it is, validated or passed over."""

    NOTHING = "nothing"  # is stored for the key
    OTHER_VARIANTS = "other-variants"  # are stored, none that the request selects
    FRESH = "fresh"
    NO_CACHE = "no-cache"  # said by the response
    CLIENT_NO_CACHE = "client-no-cache"
    MIN_FRESH = "min-fresh"
    REFRESH = "refresh"
    MAX_AGE = "max-age"
    STRICT = "strict"  # stale, and never to be served so
    STALE = "stale"
    REVALIDATE_BEHIND = "stale-while-revalidate"
    MAX_STALE = "max-stale"
    PART = "part"  # what is stored is a part that does not cover the request
    CONDITIONS = "conditions"  # which the backend has to judge


class Trouble(enum.Enum):
    """What kept a lookup from being answered by the store."""

    OPEN = "open"  # not asked: the breaker is open or too much is waiting
    FAILED = "failed"  # asked in vain
    UNREADABLE = "unreadable"  # something was there that we did not write
