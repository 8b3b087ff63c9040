"""Text → value, for settings: small parsers that each know how to say what they accept.

A parser raises :class:`ValueError` for anything else; what it accepts stands in ``expected``, a phrase that completes
"expected …" in the one line that a user sees.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable
from fnmatch import translate
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Generic, TypeVar

import attrs

from caching_proxy.auth.address import check_url
from caching_proxy.http.tokens import TOKEN
from caching_proxy.rules.cache_url import FORMS, parse_cache_url
from caching_proxy.rules.glob import compile_glob
from caching_proxy.rules.store_topology import MEMORY_URL, MemoryTopology
from caching_proxy.upstream.backend import Backend

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
Network = IPv4Network | IPv6Network

MAX_SECONDS = 2**31
"""No duration is longer: RFC 9111 §1.2.2 needs no cache to count further."""

_SHOWN = 120


class SettingsError(Exception):
    """A start-up error in one line: which variable, which value (None: none given), what is allowed."""

    def __init__(self, variable: str, value: str | None, allowed: str) -> None:
        super().__init__(variable, value, allowed)
        self.variable = variable
        self.value = value
        self.allowed = allowed

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.variable}: not set; expected {self.allowed}"
        return f"{self.variable}: {self.value[:_SHOWN]!r} is not allowed; expected {self.allowed}"


_SECRET_PARAMETER = re.compile(r"([?&][a-z_]*password=)[^&]*", re.IGNORECASE)


def without_password(url: str) -> str:
    """``url`` without what stands between ``://`` and the last ``@``, and without parameters that are passwords."""
    scheme, mark, rest = url.partition("://")
    _, at, host = rest.rpartition("@")
    return _SECRET_PARAMETER.sub(r"\1***", f"{scheme}{mark}***@{host}" if at else url)


@attrs.frozen(slots=True)
class Parser(Generic[T_co]):
    """``convert`` turns stripped, non-empty text into a value or raises ValueError; ``expected`` says what it takes.

    ``unset`` is the value of a variable that has neither a text nor a default.
    """

    expected: str
    convert: Callable[[str], T_co]
    unset: object = None


class BadValue(ValueError):
    """Why a value is refused, in words that are fit to be shown: they never repeat it."""


def in_room(expected: str, convert: Callable[[str], T]) -> Parser[T]:
    """What ``convert``, of the room that uses the value, takes; the text of its ValueError is shown."""

    def reasoned(text: str) -> T:
        try:
            return convert(text)
        except ValueError as problem:
            raise BadValue(str(problem)) from None

    return Parser(expected, reasoned)


# -- numbers ---------------------------------------------------------------------------------------

_UNITS = {"": 1, "b": 1, "kib": 1024, "mib": 1024**2, "gib": 1024**3}
_SIZE = re.compile(r"([0-9]{1,15})\s*([a-z]*)", re.ASCII | re.IGNORECASE)
_SECONDS = re.compile(r"[0-9]{1,10}(\.[0-9]{1,9})?", re.ASCII)


def whole(least: int, most: int = MAX_SECONDS, unit: str = "") -> Parser[int]:
    """A decimal whole number from ``least`` to ``most``."""

    def convert(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) <= 12 and least <= int(text) <= most):
            raise ValueError(text)
        return int(text)

    bound = f"from {least} to {most}" if most < MAX_SECONDS else f"of at least {least}"
    return Parser(f"a whole number {bound}" + (f" ({unit})" if unit else ""), convert)


MAX_WORKERS = 256


def _workers(text: str) -> int:
    if text.lower() == "auto":
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return min(cores, MAX_WORKERS)
    return whole(1, MAX_WORKERS).convert(text)


workers = Parser(f"a whole number from 1 to {MAX_WORKERS}, or auto (one for each core)", _workers)


def seconds(positive: bool = True) -> Parser[float]:
    """A number of seconds with an optional fraction; zero only where ``positive`` is False."""

    def convert(text: str) -> float:
        if not _SECONDS.fullmatch(text):
            raise ValueError(text)
        value = float(text)
        if value > MAX_SECONDS or (positive and value == 0):
            raise ValueError(text)
        return value

    return Parser("a number of seconds " + ("above 0" if positive else "of at least 0"), convert)


def size(least: int = 0) -> Parser[int]:
    """A number of bytes, with an optional binary unit."""

    def convert(text: str) -> int:
        match = _SIZE.fullmatch(text)
        if match is None:
            raise ValueError(text)
        value = int(match[1]) * _UNITS.get(match[2].lower(), -1)
        if value < least:  # an unknown unit makes the value negative
            raise ValueError(text)
        return value

    bound = f", at least {least}" if least else ""
    return Parser(f"a number of bytes{bound}, or one with KiB, MiB or GiB such as 64MiB", convert)


def or_unlimited(parser: Parser[int]) -> Parser[int | None]:
    """What ``parser`` takes, or the word ``unlimited`` for None."""
    return Parser(
        f"{parser.expected}, or unlimited", lambda text: None if text.lower() == "unlimited" else parser.convert(text)
    )


# -- words -----------------------------------------------------------------------------------------

_TRUTH = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


def _truth(text: str) -> bool:
    try:
        return _TRUTH[text.lower()]
    except KeyError:
        raise ValueError(text) from None


boolean = Parser("true or false", _truth)


def one_of(*words: str) -> Parser[str]:
    """One of ``words``, in any case."""

    def convert(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(text)
        return text.lower()

    return Parser("one of " + ", ".join(words), convert)


def matching(pattern: str, expected: str, unset: object = None) -> Parser[str]:
    """Text that ``pattern`` matches from end to end."""
    compiled = re.compile(pattern, re.ASCII)

    def convert(text: str) -> str:
        if not compiled.fullmatch(text):
            raise ValueError(text)
        return text

    return Parser(expected, convert, unset)


def as_bytes(parser: Parser[str]) -> Parser[bytes]:
    """What ``parser`` takes, as UTF-8 (a byte that was not UTF-8 in the environment comes back as it was)."""
    return Parser(parser.expected, lambda text: parser.convert(text).encode("utf-8", "surrogateescape"))


anything = Parser("some text", str)


def _base64(text: str) -> bytes:
    return base64.b64decode("".join(text.split()).replace("-", "+").replace("_", "/"), validate=True)


base64_bytes = Parser("bytes in base64", _base64)


def listed(item: Parser[T]) -> Parser[tuple[T, ...]]:
    """Items separated by commas; spaces around them and empty ones are dropped."""

    def convert(text: str) -> tuple[T, ...]:
        return tuple(item.convert(part.strip()) for part in text.split(",") if part.strip())

    return Parser(f"a comma-separated list, each {item.expected}", convert, unset=())


# -- names of things on the network ----------------------------------------------------------------


token = as_bytes(matching(TOKEN.decode(), "a name of letters, digits and !#$%&'*+-.^_`|~"))
field_name = Parser(
    "a field name such as CDN-Cache-Control", lambda text: token.convert(text).lower()
)  # RFC 9110 §5.1: names are case-insensitive


_NEVER_TAKEN = (b"host", b"authorization", b"cookie", b"cache-control", b"content-type")


def _field_glob(text: str) -> bytes:
    """Lower case, with ``_`` as ``-``; one that takes a field without which requests make no sense is refused."""
    pattern = text.lower().replace("_", "-")
    if not re.fullmatch(r"[a-z0-9*?!#$%&'+.^`|~-]+", pattern) or any(map(compile_glob(pattern.encode()), _NEVER_TAKEN)):
        raise ValueError(text)
    return pattern.encode()


field_glob = Parser("a field name that may hold * and ?, such as X-Shop-*, and not fit Host or Cookie", _field_glob)


def _glob(text: str) -> bytes:
    translate(text)  # refuses nothing that we know of, but must not be the first to try at run time
    return text.encode("utf-8", "surrogateescape")


glob = Parser("a name that may hold * and ?", _glob)

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_]([a-z0-9_.-]*[a-z0-9_.])?)(:[0-9]{1,5})?", re.ASCII)


def _authority(text: str) -> bytes:
    lowered = text.lower()
    if not _HOST.fullmatch(lowered):
        raise ValueError(text)
    return lowered.encode("ascii")


authority = Parser("a host name such as www.example.org or example.org:8080", _authority)


def _trusted_peer(text: str) -> Network | str:
    return text if text == "unix:" else ip_network(text, strict=False)


network = Parser[Network | str](
    "an address or CIDR such as 10.0.0.0/8, or unix: for peers on a Unix socket", _trusted_peer
)


# What the rooms that use a value make of it is all that counts: nothing is judged here a second time.


def _backend(text: str) -> str:
    Backend.parse(text)
    return text.rstrip("/")


backend_url = in_room(
    "an http:// or https:// URL without user, query or fragment, such as http://localhost:8080/base", _backend
)


def _cache(text: str) -> str:
    return MEMORY_URL if isinstance(parse_cache_url(text), MemoryTopology) else text


cache_url = in_room(FORMS, _cache)


web_url = in_room("an http:// or https:// URL", check_url)
