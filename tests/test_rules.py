"""docs/http-caching.md is true to the tests: every rule has one, and every test that it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.rule_names import (
    DOCUMENT,
    LEVELS,
    TESTS,
    Rule,
    Shown,
    by_rule,
    collect,
    main,
    read_rules,
    untested,
    updated,
)

ROW = "| **A1** | MUST | 9111 §4 | Text. | {} |\n"
SOURCE = """
TABLE = [pytest.param(1, id="C3-low"), pytest.param(2, id="C33 high"), pytest.param(3, id="C4x")]

def test_A1_A2_first_A9(): ...

@pytest.mark.parametrize("n", [1, 2], ids=["B7", "no rule"])
async def test_cases(n): ...

@pytest.mark.parametrize("n", TABLE)
def test_B1_table(n): ...

@pytest.mark.xfail(reason="not yet")
def test_D1_expected_to_fail(): ...

@pytest.mark.skip
def test_D2_skipped(): ...

def helper_E1(): ...
"""


@pytest.fixture(scope="module")
def rules() -> list[Rule]:
    return read_rules(DOCUMENT.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def tests() -> list[Shown]:
    return collect(TESTS)


@pytest.mark.slow
def test_every_rule_has_a_test(rules: list[Rule], tests: list[Shown]) -> None:
    assert [rule.number for rule in untested(rules, tests)] == []


@pytest.mark.slow
def test_every_number_that_a_test_carries_is_a_rule(rules: list[Rule], tests: list[Shown]) -> None:
    known = {rule.number for rule in rules}
    assert [(test.name, number) for test in tests for number in test.rules if number not in known] == []


@pytest.mark.slow
def test_every_test_in_the_document_shows_its_rule(rules: list[Rule], tests: list[Shown]) -> None:
    """After a test was renamed: ``python tests/support/rule_names.py --write``."""
    shown = by_rule(tests)
    wrong = [(r.number, name) for r in rules for name in r.shown if name not in {t.name for t in shown[r.number]}]
    assert wrong == []
    assert [rule.number for rule in rules if not rule.shown and rule.left_out is None] == []


def test_only_optional_rules_are_left_out(rules: list[Rule]) -> None:
    assert [rule.number for rule in rules if rule.left_out is not None and rule.level != "MAY"] == []


def test_rows_are_whole_and_numbered_without_a_gap(rules: list[Rule]) -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    assert len(rules) == len(re.findall(r"^\| \*\*", document, re.MULTILINE)) > 160
    last: dict[str, int] = {}
    for rule in rules:
        letter, number = rule.number[0], int(rule.number[1:])
        assert number == last.get(letter, 0) + 1, rule.number
        last[letter] = number
        assert rule.level in LEVELS, rule.number
        assert rule.source, rule.number
        assert rule.text.endswith("."), rule.number


def test_numbers_are_found_in_names_and_ids(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "test_x.py").write_text(SOURCE)
    (tmp_path / "other.py").write_text("def test_F1(): ...")
    assert collect(tmp_path) == [
        Shown("deep/test_x.py::test_A1_A2_first_A9", ("A1", "A2")),
        Shown("deep/test_x.py::test_cases", ("B7",)),
        Shown("deep/test_x.py::test_B1_table", ("B1", "C3", "C33")),
    ]


def test_a_rule_is_tested_or_left_out() -> None:
    [open_] = read_rules(ROW.format(""))
    [left_out] = read_rules(ROW.format("left out: of no use"))
    assert (left_out.left_out, left_out.shown) == ("of no use", ())
    assert untested([open_, left_out], []) == [open_]
    assert untested([open_], [Shown("core/test_x.py::test_A1", ("A1",))]) == []


def test_the_last_column_is_kept_while_it_holds() -> None:
    tests = [Shown(f"{layer}/test_x.py::test_A1_{n}", ("A1",)) for layer in ("wire", "core") for n in (1, 2)]
    document = updated(ROW.format("`core/test_x.py::test_A1_2`, `cache/test_gone.py::test_A1`"), tests)
    assert document == ROW.format("`core/test_x.py::test_A1_2`, `wire/test_x.py::test_A1_1`")
    assert updated(document, tests) == document
    reason = ROW.format("left out: of no use")
    assert updated(reason, tests) == reason


@pytest.mark.slow
def test_the_script_finds_nothing_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out == ""
