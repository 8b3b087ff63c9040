"""Reads a ``.env`` file as Node's dotenv 16 does: three kinds of quotes, comments, ``export``, ``NAME: value``.

Nothing is interpolated: ``$`` is a character like any other, so a password keeps it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

LIMIT = 1024 * 1024
"""No ``.env`` is longer; whatever is, is something else."""

# JavaScript's \s, so that the same characters separate here as there.
_SPACE = r"[\t-\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff]"
# All but line ends, which for JavaScript are U+2028 and U+2029 too: a run of empty lines is walked once.
_BLANK = _SPACE.replace(r"\t-\r", r"\t\v-\r").replace(r"\u2028\u2029", "")
_BEGIN, _END = r"(?:^|(?<=[\u2028\u2029]))", r"(?:$|(?=[\u2028\u2029]))"
_ASSIGNMENT = re.compile(
    rf"{_BEGIN}{_BLANK}*(?:export{_SPACE}+)?([A-Za-z0-9_.-]+)(?:{_SPACE}*={_SPACE}*?|:{_SPACE}+?)"
    rf"({_SPACE}*'(?:\\'|[^'])*'|{_SPACE}*\"(?:\\\"|[^\"])*\"|{_SPACE}*`(?:\\`|[^`])*`|[^#\r\n]+)?"
    rf"{_SPACE}*(?:#[^\n\u2028\u2029]*)?{_END}",
    re.MULTILINE,
)
_QUOTED = re.compile(rf"{_BEGIN}(['\"`])([\s\S]*)\1{_END}", re.MULTILINE)
_BLANKS = "\t\n\v\f\r \u00a0\u1680\u2028\u2029\u202f\u205f\u3000\ufeff" + "".join(map(chr, range(0x2000, 0x200B)))


def parse(text: str) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """Names with their values, and a warning for each line that is neither an assignment nor a comment.

    Warnings name the line and never show it: it may hold a secret.
    """
    text = re.sub(r"\r\n?", "\n", text.removeprefix("\ufeff"))
    values: dict[str, str] = {}
    warnings: list[str] = []
    end = 0
    for found in _ASSIGNMENT.finditer(text):
        warnings += _not_understood(text, end, found.start())
        values[found[1]], closed = _value(found[2] or "")
        if not closed:
            warnings.append(f".env line {_line(text, found.start(1))} has a quote that is not closed: taken as it is")
        end = found.end()
    return values, (*warnings, *_not_understood(text, end, len(text)))


def _value(written: str) -> tuple[str, bool]:
    """The value, and whether the quote that it begins with, if any, is closed at its end."""
    trimmed = written.strip(_BLANKS)
    value = _QUOTED.sub(r"\2", trimmed)
    closed = trimmed[:1] not in ("'", '"', "`") or value != trimmed
    return (value.replace("\\n", "\n").replace("\\r", "\r") if trimmed.startswith('"') else value), closed


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _not_understood(text: str, start: int, end: int) -> list[str]:
    if not text[start:end].strip():
        return []  # as between any two assignments: counting lines for each would be quadratic
    return [
        f".env line {number} is not NAME=value: ignored"
        for number, line in enumerate(text[start:end].split("\n"), _line(text, start))
        if line.strip() and not line.lstrip().startswith("#")
    ]


def read(path: Path) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """What :func:`parse` finds in ``path``; nothing where there is no such file or it may not be read."""
    try:
        with path.open("rb") as file:
            data = file.read(LIMIT + 1)
    except (FileNotFoundError, IsADirectoryError):
        return {}, ()
    except OSError as problem:
        return {}, (f".env could not be read ({problem.strerror}): ignored",)
    if len(data) > LIMIT:
        return {}, (f".env is larger than {LIMIT} bytes: ignored",)
    return parse(data.decode("utf-8", "surrogateescape"))
