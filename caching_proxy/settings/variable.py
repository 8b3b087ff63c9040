"""What is said of one setting, and the names that follow from it."""

from __future__ import annotations

import attrs

from caching_proxy.settings.parsers import Parser


@attrs.frozen(slots=True)
class Variable:
    """``default`` None means unset. ``secret`` values never appear in messages, documents or ``repr``."""

    name: str
    default: str | None
    parser: Parser[object]
    help: str
    group: str = ""
    aliases: tuple[str, ...] = ()
    secret: bool = False
    required: bool = False

    @property
    def attribute(self) -> str:
        return self.name.lower()

    @property
    def flag(self) -> str:
        return self.name.lower().replace("_", "-")
