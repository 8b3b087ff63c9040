"""Imports point one way, every module is in a room, and no two modules import each other in a circle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
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


def _imports(path: Path) -> Iterator[str]:
    """Names of the modules that ``path`` imports, also those that only the type checker follows."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, f"{path}: a relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else node.module


GRAPH = {name: {each for each in _imports(path) if each in MODULES} for name, path in MODULES.items()}


def _room(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("name", sorted(MODULES))
def test_a_module_imports_only_what_is_below_it(name: str) -> None:
    room = _room(name)
    if room in ("app", ""):
        return
    assert room in ALLOWED, f"{name} is in no room"
    wrong = {each for each in GRAPH[name] if _room(each) not in {room, *ALLOWED[room]}}
    assert wrong == set()


def test_only_rooms_and_seams_stand_at_the_top() -> None:
    loose = {path.stem for path in PACKAGE.glob("*.py")}
    assert loose == {"__init__", "interfaces"}


def test_no_circles() -> None:
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, " → ".join((*above[above.index(name) :], name))
        if name not in done:
            for each in sorted(GRAPH[name]):
                visit(each, (*above, name))
            done.add(name)

    for name in GRAPH:
        visit(name, ())


def test_settings_import_only_parsers_of_the_rooms_that_do_something() -> None:
    rooms = ("auth", "store", "transport", "upstream")
    used = {each for name in MODULES if _room(name) == "settings" for each in GRAPH[name] if _room(each) in rooms}
    parsers = ("auth.address", "auth.keys", "transport.certificates", "transport.tls", "upstream.backend")
    assert used == {f"{NAME}.{each}" for each in parsers}


@pytest.mark.parametrize("path", sorted((PACKAGE / "rules").rglob("*.py")), ids=lambda path: path.stem)
def test_rules_are_pure(path: Path) -> None:
    found = {(path.name, name.split(".")[0]) for name in _imports(path) if name.split(".")[0] in PURE_FORBIDDEN}
    assert found <= PURE_EXCEPTIONS


def test_only_entry_points_touch_the_global_reactor() -> None:
    users = {name for name, path in MODULES.items() if "twisted.internet import reactor" in path.read_text()}
    assert users == {f"{NAME}.app.tap", f"{NAME}.app.worker"}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("__init__.py")), ids=lambda path: path.parent.name)
def test_a_package_opens_with_its_charter(path: Path) -> None:
    text = ast.get_docstring(ast.parse(path.read_text())) or ""
    assert len(text.split()) > 10, f"{path} does not say what belongs here"


def test_the_plugin_folders_are_no_packages() -> None:
    assert not list((PACKAGE.parent / "twisted").rglob("__init__.py"))
