"""The list of all modules in ``docs/architecture.md``, made of what each says first of itself.

After a module was added, renamed or given another first sentence:
``python tests/support/module_list.py --write``, which ``make docs`` does too.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "caching_proxy"
DOCUMENT = ROOT / "docs" / "architecture.md"

BEGIN, END = "<!-- modules: made by make docs -->\n", "<!-- end of modules -->\n"


def first_sentence(source: str) -> str:
    """What the docstring of a module begins with, as far as its first full stop."""
    paragraph = (ast.get_docstring(ast.parse(source)) or "").split("\n\n")[0]
    sentence = re.match(r".*?[.?](?=\s|$)|.*", " ".join(paragraph.split()))
    assert sentence
    return re.sub(r":\w+:`~?(?:[\w.]*\.)?(\w+)`", r"`\1`", sentence[0]).replace("``", "`")


def listed(document: str) -> list[str]:
    """The modules that ``document`` lists."""
    return re.findall(r"^- `([\w/]+\.py)`:", document.partition(BEGIN)[2].partition(END)[0], re.MULTILINE)


def _lines(package: Path) -> Iterator[str]:
    room = None
    for path in sorted(package.rglob("*.py"), key=lambda path: (path.parent.as_posix(), path.name)):
        if path.name == "__init__.py":
            continue
        if path.parent != room:
            room = path.parent
            yield f"\n### `{room.relative_to(package).as_posix()}/`\n\n"
        yield f"- `{path.relative_to(package).as_posix()}`: {first_sentence(path.read_text(encoding='utf-8'))}\n"


def updated(document: str, package: Path = PACKAGE) -> str:
    """``document`` with the list of what is in ``package`` now."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + "".join(_lines(package)) + "\n" + END + after


def main(arguments: list[str]) -> int:
    """Tell whether the list is true, or make it so; the exit status."""
    text = DOCUMENT.read_text(encoding="utf-8")
    new = updated(text)
    if "--write" in arguments:
        DOCUMENT.write_text(new, encoding="utf-8")
        return 0
    return int(new != text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
