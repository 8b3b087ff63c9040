"""What can be read on one screen: no function of the package is longer than 40 lines."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "caching_proxy"
MOST_OF_A_FUNCTION = 40


def _long_functions(source: str) -> Iterator[str]:
    """Names of those with more lines than they may have; signature and docstring count, decorators do not."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno is not None
            if node.end_lineno - node.lineno >= MOST_OF_A_FUNCTION:
                yield node.name


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
