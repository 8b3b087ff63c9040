"""``warm``: asks the proxy for each of many URLs, so that whoever comes next is answered from the cache."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from html import unescape
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

import attrs

from caching_proxy.ctl.client import Client, CtlError, Refused

MOST_URLS = 1_000_000
_LOC = re.compile(r"<loc>(?:\s*+<!\[CDATA\[([^\]<]*+)\]\]>\s*+|([^<]*+))</loc>")
"""The addresses of a sitemap, and of a sitemap index (sitemaps.org), plain or as character data."""
_BYTE_ORDER_MARK = "\ufeff"


@attrs.define
class Warmed:
    """``by_status`` and ``by_cache`` count answers, ``failed`` those that did not come."""

    by_status: Counter[int] = attrs.Factory(Counter)
    by_cache: Counter[str] = attrs.Factory(Counter)
    failed: int = 0

    @property
    def total(self) -> int:
        return sum(self.by_status.values()) + self.failed

    @property
    def bad(self) -> int:
        """How many were no success."""
        return self.failed + sum(count for status, count in self.by_status.items() if status >= 400)


def targets_of(text: str) -> list[str]:
    """Targets of a file: one URL or path a line (``#`` begins a comment), or a sitemap."""
    text = text.removeprefix(_BYTE_ORDER_MARK)
    if "<" in text.partition("\n")[0] or "<loc>" in text:
        found = (data.strip() or unescape(plain.strip()) for data, plain in _LOC.findall(text))
        urls = [url for url in found if url]
    else:
        lines = (line.strip() for line in text.splitlines())
        urls = [line for line in lines if line and not line.startswith("#")]
    return list(dict.fromkeys(map(target_of, urls)))[:MOST_URLS]


def target_of(url: str) -> str:
    """Path and query of ``url``, which may be a path already."""
    try:
        parts = urlsplit(url)
    except ValueError:  # brackets that are no address
        raise Refused(f"{url!r} is no path and no URL") from None
    path = parts.path or "/"
    target = f"{path}?{parts.query}" if parts.query else path
    if not target.startswith("/") or not _can_be_sent(target):
        raise Refused(f"{url!r} is no path and no URL")
    return target


def _can_be_sent(word: str) -> bool:
    return word.isascii() and word.isprintable() and " " not in word


def is_sitemap_index(text: str) -> bool:
    """Whether the addresses in ``text`` are those of further sitemaps."""
    return "<sitemapindex" in text


def tokens_in(file: Path | None) -> list[str | None]:
    """The identities to warm under: each line of ``file`` is a bearer token; without one, nobody in particular."""
    if file is None:
        return [None]
    tokens = [line.strip() for line in file.read_text().splitlines()]
    found: list[str | None] = [token for token in tokens if token and not token.startswith("#")]
    for number, token in enumerate(tokens, 1):  # not the token itself: it is a secret
        if token and not token.startswith("#") and not _can_be_sent(token):
            raise Refused(f"{file}: line {number} is no bearer token")
    return found or [None]


def warm(
    client: Client, targets: Iterable[str], tokens: list[str | None], concurrency: int, step: Callable[[], None]
) -> Warmed:
    """Ask for each target under each identity, ``concurrency`` at once; ``step`` is called after each."""
    warmed = Warmed()
    work = ((target, token) for target in targets for token in tokens)
    with ThreadPoolExecutor(concurrency) as pool:
        while batch := list(islice(work, concurrency * 16)):
            asked = [pool.submit(client.status_of, "GET", target, _fields(token)) for target, token in batch]
            for each in as_completed(asked):
                try:
                    status, cache = each.result()
                except CtlError:
                    warmed.failed += 1
                else:
                    warmed.by_status[status] += 1
                    warmed.by_cache[cache] += 1
                step()
    return warmed


def _fields(token: str | None) -> Mapping[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {token}"}
