"""Reads a ``.env`` file the way Node's and Docker's users write them: quotes, trailing comments, ``export``.

Nothing is interpolated: ``$`` is a character like any other, so a password keeps it.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

from dotenv.parser import parse_stream

LIMIT = 1024 * 1024
"""No ``.env`` is longer; whatever is, is something else."""


def parse(text: str) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """Names with their values, and a warning for each line that is neither an assignment nor a comment.

    Warnings name the line and never show it: it may hold a secret.
    """
    values: dict[str, str] = {}
    warnings: list[str] = []
    for binding in parse_stream(io.StringIO(text.removeprefix("\ufeff"))):
        if binding.error:
            warnings.append(f".env line {binding.original.line} is not NAME=value: ignored")
        elif binding.key is not None and binding.value is not None:
            values[binding.key] = binding.value
    return values, tuple(warnings)


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
