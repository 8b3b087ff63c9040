"""What one reads in one go: no function of the package is longer than a screen of 40 lines, no module than 400."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
PACKAGE = TESTS.parent / "caching_proxy"
MOST_OF_A_FUNCTION = 40
MOST_OF_A_MODULE = 400


def _long_functions(source: str) -> Iterator[str]:
    """Names of those with more lines than they may have; signature and docstring count, decorators do not."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno is not None
            if node.end_lineno - node.lineno >= MOST_OF_A_FUNCTION:
                yield node.name


def _long_modules(*folders: Path) -> Iterator[str]:
    for folder in folders:
        for path in sorted(folder.rglob("*.py")):
            lines = path.read_bytes().count(b"\n")
            if lines > MOST_OF_A_MODULE:
                yield f"{path.relative_to(folder.parent)}: {lines} lines"


def _function(name: str, lines: int, prefix: str = "") -> str:
    return f"{prefix}def {name}():\n" + f"{prefix}    pass\n" * (lines - 1)


@pytest.mark.slow
def test_no_function_is_longer_than_a_screen() -> None:
    sources = sorted(PACKAGE.rglob("*.py"))
    assert sources
    found = [f"{path.relative_to(PACKAGE)}: {name}" for path in sources for name in _long_functions(path.read_text())]
    assert found == []


def test_the_check_counts_the_lines_of_every_function() -> None:
    source = _function("fits", 40) + _function("long", 41) + "class A:\n" + _function("method", 41, "    ")
    assert sorted(_long_functions(source + "async " + _function("later", 41))) == ["later", "long", "method"]


def test_no_module_is_longer_than_one_reads_in_one_go() -> None:
    assert sorted(PACKAGE.rglob("*.py"))
    assert list(_long_modules(PACKAGE, TESTS)) == []


def test_the_check_counts_the_lines_of_every_module(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    for name, lines in (("fits.py", 400), ("deep/long.py", 401), ("data.txt", 500)):
        (tmp_path / name).write_text("pass\n" * lines)
    assert list(_long_modules(tmp_path)) == [f"{tmp_path.name}/deep/long.py: 401 lines"]
