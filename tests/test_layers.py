"""Imports point one way, every module is in a room, and no two modules import each other in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "caching_proxy"
NAME = PACKAGE.name

VALUES = {"http", "rules", "interfaces"}
ALLOWED: dict[str, set[str]] = {
    "http": set(),
    "rules": {"http"},
    "interfaces": {"http", "rules"},
    "transport": set(),
    "settings": {"http", "rules", "auth", "store", "transport", "upstream"},
    "cache": VALUES,
    "store": {*VALUES, "transport"},
    "auth": VALUES,
    "server": {*VALUES, "transport"},
    "upstream": {"http", "interfaces", "transport"},
    "telemetry": {*VALUES, "settings"},
    "web": {*VALUES, "cache", "server", "telemetry"},
    "tracing": {*VALUES, "cache", "server", "telemetry", "web"},
    "workers": {*VALUES, "server", "telemetry"},
    "testing": {*VALUES, "transport"},
    "ctl": {"settings", "rules"},
}
"""What each room may import beside itself. ``app`` may import everything, and nothing imports it."""

PURE_FORBIDDEN = {"twisted", "time", "datetime", "random", "secrets", "os", "socket", "logging", "asyncio", "threading"}
PURE_EXCEPTIONS = {("explain.py", "time")}  # calendar arithmetic; no clock is asked


def _module(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


MODULES = {_module(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def _statements(within: ast.AST) -> Iterator[ast.AST]:
    """Every statement, however deep; expressions are not looked into, which would be most of the work."""
    for field in ("body", "orelse", "handlers", "finalbody", "cases"):
        for node in getattr(within, field, ()):
            yield node
            yield from _statements(node)


@cache
def _imports(path: Path) -> tuple[str, ...]:
    """Names of the modules that ``path`` imports, also those that only the type checker follows."""
    found: list[str] = []
    for node in _statements(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{path}: a relative import"
            assert not node.level, f"{path}: a relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.append(whole if whole in MODULES else node.module)
    return tuple(found)


@cache
def _graph() -> dict[str, set[str]]:
    """Of each module, those of the package that it imports."""
    return {name: {each for each in _imports(path) if each in MODULES} for name, path in MODULES.items()}


def _room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def test_every_module_is_in_a_room() -> None:
    assert {_room(name) for name in MODULES} == {*ALLOWED, "app", ""}


@pytest.mark.parametrize("room", sorted(ALLOWED))
def test_a_room_imports_only_what_is_below_it(room: str) -> None:
    modules = [name for name in MODULES if _room(name) == room]
    assert modules
    wrong = [(name, each) for name in modules for each in _graph()[name] if _room(each) not in {room, *ALLOWED[room]}]
    assert wrong == []


def test_only_rooms_stand_at_the_top() -> None:
    assert {path.stem for path in PACKAGE.glob("*.py")} == {"__init__"}


def test_no_circles() -> None:
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " → ".join((*above[above.index(name) :], name))
        if name not in done:
            for each in sorted(_graph()[name]):
                visit(each, (*above, name))
            done.add(name)

    for name in _graph():
        visit(name, ())


def test_settings_import_only_parsers_of_the_rooms_that_do_something() -> None:
    rooms = ("auth", "store", "transport", "upstream")
    used = {each for name in MODULES if _room(name) == "settings" for each in _graph()[name] if _room(each) in rooms}
    parsers = ("auth.address", "auth.keys", "transport.certificates", "transport.tls", "upstream.backend")
    assert used == {f"{NAME}.{each}" for each in parsers}


def test_rules_are_pure() -> None:
    modules = sorted((PACKAGE / "rules").rglob("*.py"))
    assert modules
    found = {(path.name, name.split(".")[0]) for path in modules for name in _imports(path)}
    assert {(path, name) for path, name in found if name in PURE_FORBIDDEN} == PURE_EXCEPTIONS


def test_only_entry_points_touch_the_global_reactor() -> None:
    users = {name for name, path in MODULES.items() if "twisted.internet import reactor" in path.read_text()}
    assert users == {f"{NAME}.app.tap", f"{NAME}.app.worker"}


CHARTERS = sorted(path for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE)


@pytest.mark.parametrize("path", CHARTERS, ids=lambda path: path.parent.name)
def test_a_package_opens_with_its_charter(path: Path) -> None:
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    begins = [line.partition(":")[0] for line in text.splitlines()]
    told = [line for line in begins if line in ("Belongs here", "Does not belong here", "May import")]
    assert told == ["Belongs here", "Does not belong here", "May import"], f"{path} does not say what belongs here"


def test_the_plugin_folders_are_no_packages() -> None:
    assert not list((PACKAGE.parent / "twisted").rglob("__init__.py"))
