"""Which rules of docs/http-caching.md have a test, found in the sources of the tests without running any.

A test shows a rule by carrying its number at the start of its name (``test_V1_V2_…``) or at the start of the id of a
parametrised case (``id="P8 …"``). Tests that are expected to fail, or skipped, show nothing.

``python tests/support/rule_names.py`` prints rules without a test and exits with 1 if there are
any; with ``--write`` it first brings the last column of the document up to date.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeGuard

import attrs

TESTS = Path(__file__).resolve().parents[1]
DOCUMENT = TESTS.parent / "docs" / "http-caching.md"
LEVELS = frozenset({"MUST", "SHOULD", "DO", "MAY"})

_ROW = re.compile(
    r"\| \*\*(?P<number>[A-Z]\d+)\*\* \|(?P<level>[^|]*)\|(?P<source>[^|]*)\|(?P<text>[^|]*)\|(?P<shown>[^|]*)\|"
)
_LEFT_OUT = re.compile(r"left out: *(.+)")
_NAMED = re.compile(r"`([^`]+)`")
_NUMBER = re.compile(r"[A-Z]\d+")
_ID = re.compile(r"([A-Z]\d+)(?![A-Za-z0-9])")
_UNPROVEN = frozenset({"xfail", "skip"})
_LAYERS = ("http", "rules", "cache", "web", "server", "upstream", "live")


@attrs.frozen
class Rule:
    """A row of the document: ``shown`` are the names of tests, ``left_out`` the reason where there are none."""

    number: str
    level: str
    source: str
    text: str
    shown: tuple[str, ...]
    left_out: str | None


@attrs.frozen
class Shown:
    """A test, named ``path::function`` from the folder of the tests, and the rules whose numbers it carries."""

    name: str
    rules: tuple[str, ...]

    @property
    def layer(self) -> str:
        return self.name.partition("/")[0]


def read_rules(document: str) -> list[Rule]:
    """The rows of all tables, in order."""
    return [_rule(match) for match in _ROW.finditer(document)]


def _rule(match: re.Match[str]) -> Rule:
    number, level, source, text, shown = (part.strip() for part in match.groups())
    reason = _LEFT_OUT.fullmatch(shown)
    named = () if reason else tuple(_NAMED.findall(shown))
    return Rule(number, level, source, text, named, reason[1] if reason else None)


def collect(folder: Path) -> list[Shown]:
    """All tests below ``folder`` that carry a rule's number, by file and line."""
    found: list[Shown] = []
    for path in sorted(folder.rglob("test_*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        name = path.relative_to(folder).as_posix()
        found += [Shown(f"{name}::{test}", rules) for test, rules in _tests_of(tree) if rules]
    return found


def _tests_of(module: ast.Module) -> Iterator[tuple[str, tuple[str, ...]]]:
    tables = {
        target.id: statement.value
        for statement in module.body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
    for node in module.body:
        if _is_test(node) and not any(_unproven(decorator) for decorator in node.decorator_list):
            numbers = [*_in_name(node.name), *_in_ids(node.decorator_list, tables)]
            yield node.name, tuple(dict.fromkeys(numbers))


def _is_test(node: ast.stmt) -> TypeGuard[ast.FunctionDef | ast.AsyncFunctionDef]:
    return isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")


def _unproven(decorator: ast.expr) -> bool:
    mark = decorator.func if isinstance(decorator, ast.Call) else decorator
    return isinstance(mark, ast.Attribute) and mark.attr in _UNPROVEN


def _in_name(name: str) -> Iterator[str]:
    for word in name.split("_")[1:]:
        if not _NUMBER.fullmatch(word):
            return
        yield word


def _in_ids(decorators: Iterable[ast.expr], tables: Mapping[str, ast.expr]) -> Iterator[str]:
    """Numbers at the start of ids, in the decorators themselves and in the module's tables that they name."""
    for decorator in decorators:
        named = [tables[n.id] for n in ast.walk(decorator) if isinstance(n, ast.Name) and n.id in tables]
        for node in (each for tree in (decorator, *named) for each in ast.walk(tree)):
            if isinstance(node, ast.keyword) and node.arg in ("id", "ids"):
                found = (_ID.match(text) for text in _strings(node.value))
                yield from (match[1] for match in found if match is not None)


def _strings(tree: ast.expr) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def by_rule(tests: Iterable[Shown]) -> dict[str, list[Shown]]:
    """The tests of each rule."""
    found: dict[str, list[Shown]] = {}
    for test in tests:
        for number in test.rules:
            found.setdefault(number, []).append(test)
    return found


def untested(rules: Iterable[Rule], tests: Iterable[Shown]) -> list[Rule]:
    """Rules that nothing shows and that are not left out on purpose."""
    shown = by_rule(tests)
    return [rule for rule in rules if rule.left_out is None and rule.number not in shown]


def updated(document: str, tests: Iterable[Shown]) -> str:
    """The document with one test a layer in the last column; names that still hold are kept."""
    shown = by_rule(tests)

    def row(match: re.Match[str]) -> str:
        rule = _rule(match)
        if rule.left_out is not None:
            return match[0]
        names = ", ".join(f"`{name}`" for name in _chosen(rule, shown.get(rule.number, [])))
        return f"| **{rule.number}** | {rule.level} | {rule.source} | {rule.text} | {names} |"

    return _ROW.sub(row, document)


def _chosen(rule: Rule, tests: list[Shown]) -> list[str]:
    kept: dict[str, str] = {}
    for test in sorted(tests, key=lambda test: test.name not in rule.shown):  # those already named come first
        kept.setdefault(test.layer, test.name)
    order = [*_LAYERS, *sorted(set(kept) - set(_LAYERS))]
    return [kept[layer] for layer in order if layer in kept]


def main(arguments: list[str]) -> int:
    """The exit status."""
    tests = collect(TESTS)
    document = DOCUMENT.read_text(encoding="utf-8")
    if "--write" in arguments:
        document = updated(document, tests)
        DOCUMENT.write_text(document, encoding="utf-8")
    rules = read_rules(document)
    missing = untested(rules, tests)
    for rule in missing:
        print(f"{rule.number} {rule.level} ({rule.source}): {rule.text}")
    print(f"{len(rules) - len(missing)} of {len(rules)} rules have a test or a reason to have none", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
