"""What others build on says what it takes, what it gives and how it fails: interfaces, stores, the backend, settings,
fakes for tests."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "caching_proxy"
OTHERS = ("settings/load.py", "store/build.py", "upstream/backend.py", "upstream/connect.py", "upstream/probe.py")
SEAMS = sorted(
    [
        *(PACKAGE / "interfaces").glob("*.py"),
        *(PACKAGE / "testing").glob("*.py"),
        *(PACKAGE / name for name in OTHERS),
    ]
)

_SECTION = re.compile(r"^(Args|Returns|Raises):\n((?:    .*(?:\n|$)|\n(?=    ))*)", re.MULTILINE)
_NOTHING = {"None", "Deferred[None]"}
_TWISTED = re.compile(r"[a-z]+[A-Z]|write$")
"""Names of methods that are Twisted's, whose own documents say what they do."""


def _public(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    """Functions and methods that somebody else calls or writes; not those that an interface describes already."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef) and not any("implementer(I" in ast.unparse(d) for d in node.decorator_list):
            yield from ((f"{node.name}.{each.name}", each) for each in node.body if isinstance(each, ast.FunctionDef))


def _silent(source: str) -> Iterator[str]:
    """What the docstrings of ``source`` leave out."""
    for name, function in _public(ast.parse(source)):
        own = name.rpartition(".")[2]
        names = [
            each.arg for each in (*function.args.args, *function.args.kwonlyargs) if each.arg not in ("self", "cls")
        ]
        if own.startswith("_") or _TWISTED.match(own) or not names:
            continue
        sections = dict(_SECTION.findall(ast.get_docstring(function) or ""))
        told = re.findall(r"^    (\w+):", sections.get("Args", ""), re.MULTILINE)
        if told != names:
            yield f"{name}: takes {names}, tells of {told}"
        if (function.returns is None or ast.unparse(function.returns) not in _NOTHING) and "Returns" not in sections:
            yield f"{name}: does not say what it gives"


@pytest.mark.parametrize("path", SEAMS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_seam_says_what_it_takes_and_gives(path: Path) -> None:
    assert list(_silent(path.read_text(encoding="utf-8"))) == []


TOLD = '''
class IThing(Interface):
    def act(size: int, more: bytes = b"") -> Deferred[bytes]:
        """Act.

        Args:
            size: Bytes.
            more: Anything,
                told in two lines.

        Returns:
            What came of it.
        """

    def rest() -> None: ...
'''


def test_what_is_missing_is_found() -> None:
    assert list(_silent(TOLD)) == []
    assert list(_silent(TOLD.replace("Returns:", "Gives:"))) == ["IThing.act: does not say what it gives"]
    assert list(_silent(TOLD.replace("size: Bytes.", "sizes: Bytes."))) == [
        "IThing.act: takes ['size', 'more'], tells of ['sizes', 'more']"
    ]
