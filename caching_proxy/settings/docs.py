"""Makes ``.env.example`` and ``docs/settings.md`` from the settings table.

``python -m caching_proxy.settings.docs [directory]`` writes both below the directory (default: the working one).
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from caching_proxy.settings.table import TABLE
from caching_proxy.settings.variable import Variable

_EXAMPLES = {"BACKEND_URL": "http://localhost:8080"}


def _groups() -> Iterator[tuple[str, tuple[Variable, ...]]]:
    for title, rows in groupby(TABLE, key=lambda row: row.group):
        yield title, tuple(rows)


def _comment(row: Variable) -> str:
    aliases = f" Also read as {', '.join(row.aliases)}." if row.aliases else ""
    return textwrap.fill(f"{row.help}.{aliases}", 100, initial_indent="# ", subsequent_indent="# ")


def env_example() -> str:
    """A ``.env`` with every variable: required ones set to an example, the rest commented out at their defaults."""
    lines = ["# Settings of caching_proxy. Copy to .env; what is commented out shows the default.", ""]
    for title, rows in _groups():
        lines += [f"# == {title}", ""]
        for row in rows:
            mark = "" if row.required else "#"
            lines += [_comment(row), f"{mark}{row.name}={_EXAMPLES.get(row.name, row.default or '')}", ""]
    return "\n".join(lines).rstrip() + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _default(row: Variable) -> str:
    if row.default is not None:
        return f"`{row.default}`"
    return "required" if row.required else "unset"


def markdown() -> str:
    """The reference: one table for each group."""
    lines = [
        "# Settings",
        "",
        "<!-- Made by `python -m caching_proxy.settings.docs`; edit caching_proxy/settings/table.py instead. -->",
        "",
        "Every setting is an environment variable, a line in `.env` in the working directory, or a flag of",
        "`twistd cachingproxy` (`HOT_CACHE_MAX_BYTES` is `--hot-cache-max-bytes`). A flag beats the environment, which",
        "beats `.env`; an empty value counts as unset. A value that cannot be right stops the start with one line on",
        "stderr and exit status 1.",
    ]
    for title, rows in _groups():
        lines += ["", f"## {title}", "", "| variable | default | accepts | meaning |", "| --- | --- | --- | --- |"]
        for row in rows:
            names = " or ".join(f"`{name}`" for name in (row.name, *row.aliases))
            lines.append(f"| {names} | {_default(row)} | {_cell(row.parser.expected)} | {_cell(row.help)} |")
    return "\n".join(lines) + "\n"


def write(root: Path) -> None:
    """Write both files below ``root``."""
    (root / "docs").mkdir(exist_ok=True)
    (root / ".env.example").write_text(env_example(), encoding="utf-8")
    (root / "docs" / "settings.md").write_text(markdown(), encoding="utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1] if len(sys.argv) > 1 else "."))
