"""Text of others on a terminal: nothing that a key, a path or a field holds may move the cursor or change colours."""

from __future__ import annotations

from rich.text import Text


def safe(value: object, style: str = "") -> Text:
    """``value`` with control characters, and others that cannot be printed, spelled out; never read as markup."""
    return Text(plain(str(value)), style=style)


def plain(text: str) -> str:
    """``text`` in printable characters alone."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def size(count: object) -> str:
    """Bytes for people."""
    left = float(count) if isinstance(count, int | float) else 0.0
    for unit in ("B", "KiB", "MiB", "GiB"):
        if left < 1024 or unit == "GiB":
            return f"{left:.0f} {unit}" if unit == "B" else f"{left:.1f} {unit}"
        left /= 1024
    raise AssertionError("unreachable")


def share(part: object) -> str:
    """A ratio in per cent; ``-`` where there is none."""
    return f"{part * 100:.1f} %" if isinstance(part, int | float) else "-"


def milliseconds(seconds: object) -> str:
    """A duration; ``-`` where there is none."""
    return f"{seconds * 1000:.2f} ms" if isinstance(seconds, int | float) else "-"


def duration(seconds: object) -> str:
    """A longer duration, in its two largest units."""
    left = int(seconds) if isinstance(seconds, int | float) else 0
    days, left = divmod(left, 86400)
    hours, left = divmod(left, 3600)
    minutes, left = divmod(left, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (left, "s")]
    first = next((at for at, (count, _) in enumerate(parts) if count), 3)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count) or "0 s"
