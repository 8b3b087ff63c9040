"""Imports point one way: core ← cache, store, auth, wire ← web ← compose ← tap."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "caching_proxy"

SEAMS = {"core", "body", "interfaces", "tls"}
ALLOWED: dict[str, set[str]] = {
    "core": {"core"},
    "cache": {*SEAMS, "cache", "metrics"},
    "store": {*SEAMS, "store", "metrics"},
    "auth": {*SEAMS, "auth", "metrics"},
    "wire": {*SEAMS, "wire", "metrics"},
    "web": {*SEAMS, "web", "cache", "wire", "metrics", "access_log"},
    "metrics": {"core", "metrics"},
}
ABOVE_THE_ROOMS = {"tap", "service", "compose"}
PURE_FORBIDDEN = {"twisted", "time", "datetime", "random", "secrets", "os", "socket", "logging", "asyncio", "threading"}
PURE_EXCEPTIONS = {("reply.py", "time"), ("dates.py", "datetime")}  # calendar arithmetic; no clock is asked


def modules(room: str) -> list[Path]:
    return sorted((PACKAGE / room).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def rooms_used(path: Path) -> set[str]:
    parts = (name.split(".") for name in imported(path))
    return {names[1] for names in parts if names[0] == "caching_proxy" and len(names) > 1}


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_a_room_imports_only_what_is_below_it(room: str) -> None:
    wrong = {str(path): rooms_used(path) - ALLOWED[room] for path in modules(room)}
    assert {path: names for path, names in wrong.items() if names} == {}


def test_core_is_pure() -> None:
    found = {
        (path.name, name.split(".")[0])
        for path in modules("core")
        for name in imported(path)
        if name.split(".")[0] in PURE_FORBIDDEN
    }
    assert found <= PURE_EXCEPTIONS


def test_nobody_imports_the_composition_root_but_those_above_it() -> None:
    for path in PACKAGE.rglob("*.py"):
        if path.stem not in ABOVE_THE_ROOMS:
            assert not rooms_used(path) & ABOVE_THE_ROOMS, path


def test_only_tap_touches_the_global_reactor() -> None:
    users = {path.name for path in PACKAGE.rglob("*.py") if "twisted.internet import reactor" in path.read_text()}
    assert users == {"tap.py"}


def test_the_plugin_folders_are_no_packages() -> None:
    assert not list((PACKAGE.parent / "twisted").rglob("__init__.py"))
