"""What docstrings and comments of the package refer to is there: modules, files, rules of ``docs/http-caching.md``."""

from __future__ import annotations

import ast
import importlib
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.rule_names import DOCUMENT, read_rules
from zope.interface.interface import InterfaceClass

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "caching_proxy"

_ROLE = re.compile(r":\w+:`~?(caching_proxy[\w.]*)`")
_PATH = re.compile(r"(?<![\w/.<-])([a-z_]\w*(?:/[\w.-]*\w)+)")
_DOTTED = re.compile(r"``([a-z_]\w*)\.([a-z_]\w*)((?:\.\w+)*)``")
_RULE = re.compile(r"(?<![\w-])[A-Z]\d{1,2}(?![\w.])")
_OURS = {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"}
_FOLDERS = {"docs", "tests", "bench", "examples", "deploy", "changelog.d", "requirements"}
_FOREIGN = {"attrs", "functools", "json", "sys", "time", "twisted"}


def _texts(source: str) -> Iterator[str]:
    """Docstrings, those of attributes too, and comments."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.string


def _is_there(dotted: str) -> bool:
    """Whether a module, or what it holds, has this name."""
    parts = dotted.split(".")
    for size in range(len(parts), 0, -1):
        try:
            found: object = importlib.import_module(".".join(parts[:size]))
        except ImportError:
            continue
        for name in parts[size:]:
            if name in getattr(found, "__annotations__", ()):
                return True
            if isinstance(found, InterfaceClass):
                return name in found
            if not hasattr(found, name):
                return False
            found = getattr(found, name)
        return True
    return False


def _missing(source: str, rules: frozenset[str]) -> Iterator[str]:
    """What the texts of ``source`` speak of and nobody can find."""
    for text in _texts(source):
        yield from (name for name in _ROLE.findall(text) if not _is_there(name))
        for room, module, rest in _DOTTED.findall(text):
            if room not in _FOREIGN and (room in _OURS or room not in _known(source)):
                name = f"{room}.{module}{rest}"
                if not _is_there(f"caching_proxy.{name}"):
                    yield name
        for path in _PATH.findall(text):
            top = path.split("/")[0]
            places = {ROOT} if top in _FOLDERS else {PACKAGE} if top in _OURS else set()
            if places and not any((place / each).exists() for place in places for each in (path, f"{path}.py")):
                yield path
        yield from (number for number in _RULE.findall(text) if number not in rules)


def _known(source: str) -> set[str]:
    """Names that ``source`` uses itself: ``settings.workers`` may be about a parameter."""
    return set(re.findall(r"\b[a-z_]\w*\b", re.sub(r"``.*?``", "", source)))


@pytest.fixture(scope="module")
def rules() -> frozenset[str]:
    return frozenset(rule.number for rule in read_rules(DOCUMENT.read_text(encoding="utf-8")))


@pytest.mark.slow
def test_nothing_refers_to_what_is_not_there(rules: frozenset[str]) -> None:
    modules = sorted(PACKAGE.rglob("*.py"))
    assert modules
    found = [
        f"{path.relative_to(ROOT)}: {name}" for path in modules for name in _missing(path.read_text("utf-8"), rules)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("See ``rules.key`` and :func:`caching_proxy.rules.key.target_of`.", []),
        ("See ``core.key``.", ["core.key"]),
        ("See ``rules.keys``.", ["rules.keys"]),
        ("See :mod:`caching_proxy.rules.keys`.", ["caching_proxy.rules.keys"]),
        ("See rules/key.py, cache/pipeline and docs/rules.md.", []),
        ("See rules/keys.py and docs/rule.md.", ["rules/keys.py", "docs/rule.md"]),
        ("As B2 asks (P13), with HS256.", []),
        ("As X99 asks.", ["X99"]),
        ("``attrs.frozen`` is not ours, and text/html is no path.", []),
    ],
)
def test_what_is_found(text: str, missing: list[str], rules: frozenset[str]) -> None:
    assert list(_missing(f'"""{text}"""\n', rules)) == missing
    assert list(_missing(f"# {text}\n", rules)) == missing
