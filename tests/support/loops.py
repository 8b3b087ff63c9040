"""The functions of the package that hold a loop, and how many steps each takes while something happens."""

from __future__ import annotations

import ast
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import Any

PACKAGE = Path(__file__).resolve().parents[2] / "caching_proxy"
_LOOPS = (ast.For, ast.AsyncFor, ast.While, ast.comprehension)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def functions_with_loops(*rooms: str) -> set[str]:
    """``room/module.py:Class.function`` of each function that has a loop; those inside another count with it."""
    return {
        f"{path.relative_to(PACKAGE)}:{name}"
        for room in rooms
        for path in sorted((PACKAGE / room).rglob("*.py"))
        for name in _looping(ast.parse(path.read_text()), ())
    }


def _looping(node: ast.AST, within: tuple[str, ...]) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _FUNCTIONS):
            if any(isinstance(each, _LOOPS) for each in ast.walk(child)):
                yield ".".join((*within, child.name))
        elif isinstance(child, ast.ClassDef):
            yield from _looping(child, (*within, child.name))


@lru_cache(None)
def _place(filename: str) -> str | None:
    path = Path(filename)
    return str(path.relative_to(PACKAGE)) if path.is_relative_to(PACKAGE) and "testing" not in path.parts else None


def steps_by_function(call: Callable[[], object]) -> Counter[str]:
    """Lines that run in each function of the package, what is inside it included, and its calls of functions in C."""
    steps: Counter[str] = Counter()

    def name_of(frame: FrameType) -> str | None:
        place = _place(frame.f_code.co_filename)
        return None if place is None else f"{place}:{frame.f_code.co_qualname.partition('.<locals>')[0]}"

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        name = name_of(frame)
        if name is None:
            return None

        def line(frame: FrameType, event: str, arg: object) -> Any:
            steps[name] += 1
            return line

        steps[name] += 1
        return line

    def profile(frame: FrameType, event: str, arg: object) -> None:
        if event == "c_call" and (name := name_of(frame)) is not None:
            steps[name] += 1

    old = sys.gettrace(), sys.getprofile()
    sys.settrace(trace)
    sys.setprofile(profile)
    try:
        call()
    finally:
        sys.settrace(old[0])
        sys.setprofile(old[1])
    return steps
