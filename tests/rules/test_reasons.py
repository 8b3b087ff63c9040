"""Every decision has words, and every rule they name is in the document."""

from __future__ import annotations

import pytest
from support.rule_names import DOCUMENT, read_rules

from caching_proxy.rules import reasons
from caching_proxy.rules.outcome import Bypass, Detour, Ground, Refusal, Trouble

TABLES = {
    Bypass: reasons.BYPASSES,
    Detour: reasons.DETOURS,
    Ground: reasons.GROUNDS,
    Refusal: reasons.REFUSALS,
    Trouble: reasons.TROUBLES,
}
RULES = {rule.number: rule for rule in read_rules(DOCUMENT.read_text(encoding="utf-8"))}
ALL = [
    *(reason for table in TABLES.values() for reason in table.values()),
    reasons.NO_ANSWER,
    reasons.ONLY_IF_CACHED,
]


@pytest.mark.parametrize("words", TABLES, ids=lambda words: words.__name__)
def test_every_word_has_a_reason(words) -> None:
    assert set(TABLES[words]) == set(words)


@pytest.mark.parametrize("reason", ALL, ids=lambda reason: reason.text[:40])
def test_the_rule_is_one_of_the_document(reason: reasons.Reason) -> None:
    assert reason.rule in RULES
    assert reason.rfc == "project" or reason.rfc.startswith("RFC ")
    assert not reason.text.endswith(".")
