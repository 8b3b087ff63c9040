"""What the registry of methods says, and what is made of it."""

from __future__ import annotations

import json

import pytest

from caching_proxy.http.methods import RETRIED, SAFE
from caching_proxy.rules.invalidation_rules import RulesError, parse_rules


@pytest.mark.parametrize("method", [b"GET", b"PROPFIND", b"REPORT", b"SEARCH", b"QUERY"])
def test_M7_safe_methods_are_sent_again(method: bytes) -> None:
    assert method in SAFE
    assert method in RETRIED


@pytest.mark.parametrize("method", [b"POST", b"PATCH", b"LOCK", b"MOVE", b"PROPPATCH", b"get", b"X-FROB", b"query"])
def test_M7_others_are_not(method: bytes) -> None:
    assert method not in SAFE
    assert method not in RETRIED


@pytest.mark.parametrize("method", sorted(SAFE))
def test_I5_no_rule_invalidates_after_a_safe_method(method: bytes) -> None:
    rule = {"post_path_regex": "x", "invalidate_patterns": ["cache:GET:/x"], "methods": ["POST", method.decode()]}
    with pytest.raises(RulesError, match="changes nothing"):
        parse_rules(json.dumps([rule]))
