"""What the commands print for people: documents of the admin endpoints as tables."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from caching_proxy.ctl.shown import duration, milliseconds, safe, share, size

Document = dict[str, Any]
_GOOD = {"ok": "green", "closed": "green", "ready": "green", "up": "green"}


def grid(*rows: tuple[str, RenderableType]) -> Table:
    """Names at the left, values at the right."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold")
    table.add_column()
    for name, value in rows:
        table.add_row(name, value)
    return table


def state(value: object) -> Text:
    """A word about health in its colour."""
    return safe(value, _GOOD.get(str(value), "yellow"))


def status(ready: Document, stats: Document | None, closed: str) -> RenderableType:
    """``/ready``, and the statistics where the token opens them; ``closed`` says why it does not."""
    rows = [(name, state(value)) for name, value in ready.items() if isinstance(value, str)]
    if stats is None:
        return Group(grid(*rows), safe(f"(no more: {closed})", "dim"))
    return Group(grid(*rows), Text(), statistics(stats))


def statistics(stats: Document) -> RenderableType:
    """The figures of ``/_cache/stats``."""
    requests, saved, store = stats["requests"], stats["savedBackendSeconds"], stats["store"]
    latency = stats["latencySeconds"]
    figures = grid(
        ("version", safe(stats["version"])),
        ("up for", safe(duration(stats["uptimeSeconds"]))),
        ("requests", safe(f"{requests['total']:,} ({requests['perSecond']:,.1f} a second)")),
        ("from the cache", safe(f"{share(requests['windowHitRatio'])} now, {share(requests['hitRatio'])} in all")),
        ("latency", safe(", ".join(f"{name} {milliseconds(value)}" for name, value in latency.items()))),
        ("backend time saved", safe(duration(saved["total"]) if saved["total"] is not None else "not known yet")),
        ("store", safe(f"{store['kind']}, breaker {store['breaker']}")),
        ("memory", safe(size(stats["memory"]["residentBytes"]))),
    )
    return Group(figures, Text(), tiers(stats["tiers"]), Text(), top(stats))


def tiers(document: Document) -> Table:
    """One line for each tier."""
    table = Table("tier", "entries", "bytes", "hits", "misses", "hit ratio", box=None, header_style="bold")
    for name, tier in document.items():
        entries = f"{tier['entries']:,} of {tier['maxEntries']:,}" if "entries" in tier else "-"
        used = f"{size(tier['bytes'])} of {size(tier['maxBytes'])}" if "bytes" in tier else "-"
        table.add_row(name, entries, used, f"{tier['hits']:,}", f"{tier['misses']:,}", share(tier["hitRatio"]))
    return table


def top(stats: Document) -> Table:
    """Paths and roles that ask most."""
    table = Table("requests", "from the cache", "path or role", box=None, header_style="bold")
    for kind, name in (("topPaths", "path"), ("topRoles", "role")):
        for row in stats[kind]:
            label = safe(f"role {row[name]}" if name == "role" else row[name])
            table.add_row(f"{row['requests']:,}", share(row["hitRatio"]), label)
    return table


def entry(key: str, document: Document) -> RenderableType:
    """A stored response."""
    shown = document["cacheEntry"]
    fields = grid(*((name, _value(value)) for name, value in shown["headers"].items()))
    parts: list[RenderableType] = [safe(key, "bold"), Text(f"status {shown['status']}"), fields, Text()]
    if shown.get("encoding") == "base64":
        parts.append(Text(f"(binary, {len(shown['body']) * 3 // 4:,} bytes)", style="dim"))
    else:
        parts += [safe(line) for line in shown["body"].splitlines()]
    if "variants" in shown:
        table = Table("status", "expires in", "size", "for requests with", box=None, header_style="bold")
        for each in shown["variants"]:
            selecting = ", ".join(f"{name}: {value}" for name, value in each["selecting"].items()) or "anything"
            table.add_row(str(each["status"]), duration(each["expiresIn"]), size(each["size"]), safe(selecting))
        parts += [Text(), table]
    return Group(*parts)


def _value(value: object) -> Text:
    return safe("; ".join(value) if isinstance(value, list) else value)


def why(document: Document) -> RenderableType:
    """An explanation: the verdict first, then what led to it, then what to do."""
    identity = document["identity"]
    parts: list[RenderableType] = [
        grid(
            ("verdict", safe(document["verdict"], "bold")),
            ("identity", safe(f"{identity['role']} ({identity['how']})")),
            ("key", safe(document["key"] if document["key"] is not None else "none")),
        ),
        Text(),
    ]
    reasons = Table("rule", "RFC", "reason", box=None, header_style="bold")
    for reason in document["reasons"]:
        reasons.add_row(safe(reason["rule"] or ""), safe(reason["rfc"] or ""), safe(reason["text"]))
    parts.append(reasons)
    tiers_ = grid(*((name, _facts(held)) for name, held in document["tiers"].items()))
    parts += [Text(), Text("tiers", style="bold"), tiers_]
    if document.get("freshness"):
        parts += [Text(), Text("freshness", style="bold"), _facts(document["freshness"])]
    if document.get("advice"):
        parts += [Text(), Text("advice", style="bold"), *(safe(f"- {line}") for line in document["advice"])]
    return Group(*parts)


def _facts(value: object) -> Text:
    return safe(_words(value) or "nothing")


def _words(value: object) -> str:
    """``{"age": 2, "variant": {"status": 200}}`` as ``age 2, variant (status 200)``; what is empty is left out."""
    if isinstance(value, dict):
        inner = [
            (name, f"({_words(each)})" if isinstance(each, dict) else _words(each)) for name, each in value.items()
        ]
        return ", ".join(f"{name} {words}" for name, words in inner if words not in ("", "()"))
    if isinstance(value, list):
        return " ".join(map(_words, value))
    return "" if value is None else str(value)
