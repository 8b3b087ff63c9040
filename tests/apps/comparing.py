"""Holds an answer that came through the proxy against the direct one.

What must differ is read from the table in ``docs/applications.md``, so that the document is what the tests allow. What
differs by chance (clocks, random tokens, the port in an address) is taken out of both first.
"""

from __future__ import annotations

import base64
import contextlib
import re
import zlib
from typing import Any

import brotli
from apps.running import Pair
from support.proxy_process import ROOT

_ROW = re.compile(r"^\| ((?:`[\w-]+`(?:, )?)+) \| (added|gone|may differ) \|", re.MULTILINE)
_CHANCE = (
    (re.compile(r'(csrfmiddlewaretoken" value=|csrfToken": )"\w+"'), r"\1TOKEN"),
    (re.compile(r'("connect\.sid":)"[^"]+"'), r"\1RANDOM"),
    (re.compile(r"(csrftoken|sessionid|messages|connect\.sid)=[\w%.:+/-]+"), r"\1=RANDOM"),
    (re.compile(r"(?<=[=, ])\w{3}, \d\d[ -]\w{3}[ -]\d{4} \d\d:\d\d:\d\d GMT"), "DATE"),
    (re.compile(r'\s*"(Connection": "[\w-]+|Content-Length": "0|Host": "HOST)",?'), ""),  # an echo of the request
    (re.compile(r",(?=\s*})"), ""),
    (re.compile(r"boundary=\w+"), "boundary=CUT"),
    (re.compile(r'(?<="headers": \{) '), ""),
    (re.compile(r'(<span class="timesince">|value=")\d[^<"]*'), r"\1TIME"),
)
_CUT = re.compile(r"(?m)^--\d{10,}(-*)\r?$")
"""The line between the parts of nginx' multipart answers."""
_RANGES = frozenset(("accept-ranges",))
_VALIDATORS = frozenset(("etag", "last-modified", "vary", "cache-control"))
"""A 304 about what is stored has them all, whether the application's own has or not (RFC 9110 §15.4.5)."""
_CHANCE_FIELDS = frozenset(("date", "expires", "last-modified", "etag"))
"""Made of the clock; that they are there at all is compared, and with ETag's the walks ask by themselves."""


def documented(table: str = "answer") -> dict[str, str]:
    """Lower-case name of a field of the answer, or of the request → what may become of it."""
    text = (
        (ROOT / "docs" / "applications.md").read_text().partition(f"| field of the {table} |")[2].partition("\n\n")[0]
    )
    return {name.lower(): how for names, how in _ROW.findall(text) for name in re.findall(r"`([\w-]+)`", names)}


def differences(step: dict[str, Any], direct: dict[str, Any], proxied: dict[str, Any], pair: Pair) -> list[str]:
    """One line each; none if the answers are the same but for the documented."""
    name = f"{step['method']} {step['target']} {step.get('fields', '')}"
    if _own_part(direct, proxied):
        return []
    found = []
    if direct["status"] != proxied["status"]:
        found.append(f"{name}: status {proxied['status']} for {direct['status']}")
    ours, theirs = (_body(each, pair) for each in (proxied, direct))
    if ours != theirs:
        at = max(0, next((n for n, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), 0) - 40)
        shown = [f"{each[at : at + 120]!r} ({len(each)})" for each in (ours, theirs)]
        found.append(f"{name}: body {' for '.join(shown)}")
    more = {206: _RANGES, 304: _VALIDATORS}.get(proxied["status"], frozenset())
    return found + [f"{name}: {line}" for line in _fields(direct["fields"], proxied["fields"], pair, more)]


def _own_part(direct: dict[str, Any], proxied: dict[str, Any]) -> bool:
    """Parts of a stored answer are cut by the proxy: it says 416 in its own way, and knows several ranges at once."""
    stored = any(name.lower() == "age" for name, _ in proxied["fields"])
    if direct["status"] == proxied["status"] == 416:
        ranges = [
            [value for name, value in each["fields"] if name.lower() == "content-range"] for each in (direct, proxied)
        ]
        return ranges[0] == ranges[1]
    several = any("multipart/byteranges" in value for _, value in proxied["fields"])
    return stored and several and proxied["status"] == 206 and direct["status"] in (200, 206)


def _fields(direct: list[list[str]], proxied: list[list[str]], pair: Pair, more: frozenset[str]) -> list[str]:
    """``more`` names what may be added to this answer."""
    rules, found = documented() | dict.fromkeys(more, "added"), []
    ours, theirs = (_by_name(fields, pair) for fields in (proxied, direct))
    for name in sorted(ours.keys() | theirs.keys()):
        here, there, rule = ours.get(name), theirs.get(name), rules.get(name)
        if here == there or rule == "may differ":
            continue
        if (rule == "added" and there is None) or (rule == "gone" and here is None):
            continue
        found.append(f"field {name}: {here} for {there}")
    return found


def _by_name(fields: list[list[str]], pair: Pair) -> dict[str, list[str]]:
    named: dict[str, list[str]] = {}
    for name, value in fields:
        text = "CHANCE" if name.lower() in _CHANCE_FIELDS else _plain(value, pair)
        text = ", ".join(sorted(text.split(", "))) if name.lower() == "allow" else text
        named.setdefault(name.lower(), []).append(text)
    return {name: sorted(values) for name, values in named.items()}


def _body(answer: dict[str, Any], pair: Pair) -> bytes:
    text = _decoded(base64.b64decode(answer["body"]), _by_name(answer["fields"], pair)).decode("latin-1")
    return _CUT.sub(r"--CUT\1", _plain(text, pair)).encode("latin-1")


def _decoded(data: bytes, fields: dict[str, list[str]]) -> bytes:
    """Some clients leave that to their users; what is coded need not be the same bytes twice."""
    coding = "".join(fields.get("content-encoding", ()))
    with contextlib.suppress(zlib.error, brotli.error):
        if coding in ("gzip", "deflate"):
            return zlib.decompress(data, wbits=47)
        if coding == "br":
            return brotli.decompress(data)
    return data


def _plain(text: str, pair: Pair) -> str:
    for url in (pair.direct, pair.proxied, pair.behind):
        text = text.replace(url.removeprefix("http://"), "HOST")
    for pattern, instead in _CHANCE:
        text = pattern.sub(instead, text)
    return text
