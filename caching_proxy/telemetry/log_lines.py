"""Log lines: JSON objects in production, coloured lines in development.

Tokens, cookies and bodies are never logged; what a message or traceback may quote of them is hidden. Twisted's own
remarks (factories starting, reactor names) count as ``debug``. Extra fields come as a mapping in the event's
``fields``: ``log.info("pool grew", fields={"size": 3})``; ``trace=True`` on a debug event makes it ``trace``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from json import dumps

from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent
from twisted.python.failure import Failure
from zope.interface import implementer

from caching_proxy.settings.table import LEVELS
from caching_proxy.telemetry.log_writer import LineSink
from caching_proxy.telemetry.redaction import text_without_secrets

SEVERITY: Mapping[str, int] = {name: number for number, name in enumerate(LEVELS)}
"""Level name → rank, ``trace`` lowest."""

_NAMES = {LogLevel.debug: "debug", LogLevel.info: "info", LogLevel.warn: "warn", LogLevel.error: "error"}
_NOISE = ("Starting factory", "Stopping factory", "Timing out client")
_COLOURS = {"trace": "90", "debug": "36", "info": "32", "warn": "33", "error": "31", "fatal": "41;97"}
_RESERVED = frozenset({"time", "level", "msg", "logger", "error", "stack"})


def level_of(event: LogEvent) -> str:
    """One of ``LEVELS`` for a Twisted event."""
    if event.get("log_failure") is not None:
        return "error"  # Twisted's default for a failure is critical, yet the process lives on
    if "warning" in event and "category" in event:  # from the warnings module
        return "warn"
    name = _NAMES.get(event.get("log_level", LogLevel.info), "fatal")
    if name == "info" and _is_noise(event):
        return "debug"
    return "trace" if name == "debug" and event.get("trace") else name


def _is_noise(event: LogEvent) -> bool:
    namespace = event.get("log_namespace") or ""
    if namespace == "log_legacy" or namespace.startswith("twisted."):
        return True
    return (event.get("log_format") or "").startswith(_NOISE)


def timestamp(moment: float) -> str:
    """ISO 8601 UTC with milliseconds; ``moment`` is POSIX seconds."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(event: LogEvent) -> str:
    if "warning" in event and "category" in event:
        kind = str(event["category"]).rpartition(".")[2]
        return text_without_secrets(f"{kind}: {event['warning']}")
    text = formatEvent(event)
    failure = event.get("log_failure")
    if not text and isinstance(failure, Failure):
        text = failure.getErrorMessage()
    return text_without_secrets(text)


def _error(failure: Failure) -> str:
    kind = failure.type.__name__ if failure.type is not None else "Failure"
    return text_without_secrets(f"{kind}: {failure.getErrorMessage()}")


Render = Callable[[LogEvent, str], str]


def json_line(event: LogEvent, level: str, with_stack: bool) -> str:
    """One event as one JSON object; ``stack`` only where asked for: it shows internals."""
    line: dict[str, object] = {
        "time": timestamp(event["log_time"]),
        "level": level,
        "msg": _message(event),
        "logger": event.get("log_namespace") or "",
    }
    fields = event.get("fields")
    if isinstance(fields, Mapping):
        line.update((name, value) for name, value in fields.items() if name not in _RESERVED)
    failure = event.get("log_failure")
    if isinstance(failure, Failure):
        line["error"] = _error(failure)
        if with_stack:
            line["stack"] = text_without_secrets(failure.getTraceback())
    return dumps(line, default=repr, allow_nan=False, skipkeys=True) + "\n"


def development_line(event: LogEvent, level: str) -> str:
    """One event as a coloured line for eyes, with the traceback indented below where there is one."""
    fields = event.get("fields")
    extra = "".join(f" {name}={value}" for name, value in fields.items()) if isinstance(fields, Mapping) else ""
    failure = event.get("log_failure")
    error = stack = ""
    if isinstance(failure, Failure):
        error = f" ({_error(failure)})"
        stack = "".join(
            f"    {printable(part)}\n" for part in text_without_secrets(failure.getTraceback()).splitlines()
        )
    text = printable(" ".join((_message(event) + error + extra).splitlines()))
    return f"{coloured(event['log_time'], level)} {event.get('log_namespace') or ''}: {text}\n{stack}"


def printable(text: str) -> str:
    """``text`` with control characters spelled out: they must not reach a terminal."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def coloured(moment: float, level: str) -> str:
    """Time of day and level, the start of a development line."""
    return f"\x1b[90m{timestamp(moment)[11:23]}\x1b[0m \x1b[{_COLOURS[level]}m{level.upper():5}\x1b[0m"


@implementer(ILogObserver)
class LineObserver:
    """Hands every event at or above ``level`` to ``sink``, rendered by ``render(event, level)``."""

    def __init__(self, sink: LineSink, level: str, render: Render) -> None:
        self._sink = sink
        self._least = SEVERITY[level]
        self._render = render

    def __call__(self, event: LogEvent) -> None:
        level = level_of(event)
        if SEVERITY[level] >= self._least:
            self._sink.write(self._render(event, level))
