"""Regular expressions of the operator's files, searched in what clients send.

The engine is RE2: time grows with the length of the text and the size of the expression and with nothing else, so no
text that a client makes up can hold the event loop. What cannot be searched so (look-around, back-references) is
refused when the file is read, and so is an expression too large for a text as long as a target may be.
"""

from __future__ import annotations

from typing import Protocol

import re2

from caching_proxy.rules.key import key_bytes

MAX_SIZE = 500
"""Instructions of a compiled expression: with the worst expression and the worst text of 8 KiB, a search of so many
takes some 10 ms."""

_MAX_MEMORY = 256 * 1024  # of each expression, for the states that a search comes by


class Match(Protocol):
    """Where an expression was found."""

    def __getitem__(self, group: int, /) -> bytes | None:
        """What a group captured, None if it took no part."""


class Regex(Protocol):
    """A compiled expression."""

    @property
    def pattern(self) -> bytes:
        """The expression as it was given, in UTF-8."""

    @property
    def groups(self) -> int:
        """How many groups it captures."""

    def search(self, text: bytes) -> Match | None:
        """The first place in ``text``."""


def compile_regex(text: str) -> Regex:
    """The expression in ``text``, as bytes in UTF-8; ValueError says in one line what is wrong with it."""
    try:
        compiled = re2.compile(key_bytes(text), _options())
    except (re2.error, ValueError) as error:
        raise ValueError(f"{text!r} is no regular expression of RE2: {_reason(error)}") from error
    if max(compiled.programsize, compiled.reverseprogramsize) > MAX_SIZE:
        raise ValueError(
            f"{text!r} is too large: {compiled.programsize} instructions of {MAX_SIZE} allowed (counted repetition?)"
        )
    regex: Regex = compiled
    return regex


def _options() -> re2.Options:
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # one byte is one character
    options.max_mem = _MAX_MEMORY
    options.log_errors = False
    return options


def _reason(error: Exception) -> str:
    given = error.args[0] if error.args else ""
    reason = given.decode("utf-8", "replace") if isinstance(given, bytes) else str(given)
    return " ".join(reason.split())
