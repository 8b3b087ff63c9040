"""The file of rules per path: what it may say, and what its reader says of it when it is wrong."""

from __future__ import annotations

import json

import pytest

from caching_proxy.rules.cache_rules import MAX_PARAMS, MAX_RULES, MAX_VARY, CacheRule, parse_cache_rules
from caching_proxy.rules.invalidation_rules import RulesError
from caching_proxy.rules.key import KeyPolicy
from caching_proxy.rules.outcome import Bypass
from caching_proxy.rules.policy import CachePolicy, Override
from caching_proxy.rules.terms import Share

POLICY, KEYS = CachePolicy(default_ttl=7, stale_if_error=8), KeyPolicy(ignore_params=(b"utm_*",))


def parsed(**more: object) -> CacheRule:
    (rule,) = parse_cache_rules(json.dumps([{"match": "^/x", **more}]))
    return rule


@pytest.mark.parametrize(
    ("given", "policy"),
    [
        ({}, {"default_ttl": 7}),
        ({"ttl": 5}, {"default_ttl": 5}),
        ({"ttl": 0}, {"default_ttl": 0}),
        ({"status_ttl": {"404": 10, "200": 1}}, {"status_ttl": ((404, 10), (200, 1))}),
        ({"mode": "respect", "ttl": 5}, {"override": None}),
        ({"mode": "override", "ttl": 5}, {"override": Override(ttl=5)}),
        ({"mode": "override", "status_ttl": {"404": 1}}, {"override": Override(status_ttl=((404, 1),))}),
        ({"mode": "override", "ttl": 5, "override_private": True}, {"override": Override(ttl=5, private=True)}),
        (
            {"mode": "override", "ttl": 5, "stale_if_error": 3, "stale_while_revalidate": 4},
            {"override": Override(5, (), False, 4, 3), "stale_if_error": 3, "stale_while_revalidate": 4},
        ),
        ({"stale_while_revalidate": 0}, {"stale_while_revalidate": 0, "stale_if_error": 8}),
        ({"vary": ["Accept-Language", "X-B", "x-b"]}, {"vary": (b"accept-language", b"x-b")}),
    ],
    ids=str,
)
def test_what_a_rule_does_to_the_policy(given: dict[str, object], policy: dict[str, object]) -> None:
    made = parsed(**given).terms(POLICY, KEYS).policy
    assert {name: getattr(made, name) for name in policy} == policy


def test_what_a_rule_does_to_keys_sharing_and_collapsing() -> None:
    plain = parsed().terms(POLICY, KEYS)
    assert (plain.keys, plain.share, plain.collapse, plain.bypass) == (KEYS, Share.ROLE, True, None)
    assert parsed(ignore_params=["a", "é*"]).terms(POLICY, KEYS).keys.ignore_params == (b"utm_*", b"a", b"\xc3\xa9*")
    assert parsed(collapse=False).terms(POLICY, KEYS).collapse is False
    for share in ("everyone", "role", "token"):
        assert parsed(share=share).terms(POLICY, KEYS).share is Share(share)
    assert parsed(share="none").terms(POLICY, KEYS).bypass is Bypass.RULE


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "^not valid JSON: "),
        (b"\xff\xfe\xfa", "^not valid JSON: "),
        ("[" * 200_000, "^not valid JSON: "),
        ("{}", "^must be a list"),
        ("3", "^must be a list"),
        ("[[]]", "^rule 1: must be an object"),
        ('[{"match": "a"}, {}]', "^rule 2: match is missing"),
        ('[{"match": "a", "ttl": 1, "ttl": 2}]', "^rule 1: 'ttl' stands there twice"),
        ('[{"match": "a", "status_ttl": {"404": 1, "404": 2}}]', "^rule 1: '404' stands there twice"),
        (json.dumps([{"match": "a"}] * (MAX_RULES + 1)), f"^has {MAX_RULES + 1} rules; {MAX_RULES} are allowed"),
    ],
    ids=range(10),
)
def test_a_file_that_is_wrong_as_a_whole(text: str | bytes, message: str) -> None:
    with pytest.raises(RulesError, match=message):
        parse_cache_rules(text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"match": ""}, "match must be a string that is not empty"),
        ({"match": 1}, "match must be a string that is not empty"),
        ({"match": "("}, r"match '\(' is no regular expression of RE2"),
        ({"match": r"^/(?!private)"}, "is no regular expression of RE2: invalid perl operator"),
        ({"match": "(a?){400}"}, "is too large"),
        ({"ttl": "5"}, "ttl must be a whole number of seconds from 0"),
        ({"ttl": True}, "ttl must be a whole number"),
        ({"ttl": 1.5}, "ttl must be a whole number"),
        ({"ttl": -1}, "ttl must be a whole number"),
        ({"ttl": 2**31 + 1}, "ttl must be a whole number"),
        ({"ttl": None}, "ttl must be a whole number"),
        ({"status_ttl": {}}, "status_ttl must be an object"),
        ({"status_ttl": [404]}, "status_ttl must be an object"),
        ({"status_ttl": {"4xx": 1}}, "'4xx' is no status"),
        ({"status_ttl": {"100": 1}}, "'100' is no status"),
        ({"status_ttl": {"٤٠٤": 1}}, "is no status"),
        ({"status_ttl": {"429": 1}}, "429 is never given a lifetime"),
        ({"status_ttl": {"206": 1}}, "206 is never given a lifetime"),
        ({"status_ttl": {"404": "1"}}, "status_ttl: 404 must be a whole number"),
        ({"mode": "force"}, "mode must be one of respect, override"),
        ({"mode": "override"}, 'mode "override" needs ttl or status_ttl'),
        ({"override_private": True}, 'override_private needs mode "override"'),
        ({"override_private": 1}, "override_private must be true or false"),
        ({"share": "all"}, "share must be one of role, everyone, token, none"),
        ({"share": None}, "share must be one of"),
        ({"share": ["role"]}, "share must be one of"),
        ({"share": "none", "ttl": 5}, 'share "none" stores nothing, so ttl has no meaning'),
        ({"vary": []}, "vary must be a list of strings"),
        ({"vary": "Accept"}, "vary must be a list of strings"),
        ({"vary": [""]}, "vary must be a list of strings"),
        ({"vary": ["*"]}, r"vary: '\*' is no field name"),
        ({"vary": ["a b"]}, "vary: 'a b' is no field name"),
        ({"vary": ["é"]}, "vary: 'é' is no field name"),
        ({"vary": [str(n) for n in range(MAX_VARY + 1)]}, f"vary has {MAX_VARY + 1} members; {MAX_VARY} are allowed"),
        ({"ignore_params": {}}, "ignore_params must be a list of strings"),
        ({"ignore_params": ["\ud800"]}, "ignore_params must hold valid text"),
        ({"ignore_params": ["x"] * (MAX_PARAMS + 1)}, "ignore_params has"),
        ({"stale_while_revalidate": "1"}, "stale_while_revalidate must be a whole number"),
        ({"stale_if_error": False}, "stale_if_error must be a whole number"),
        ({"collapse": 0}, "collapse must be true or false"),
        ({"TTL": 5}, "unknown field 'TTL'; known are collapse, ignore_params, match, mode, override_private, share"),
    ],
    ids=lambda given: str(given)[:40],
)
def test_a_rule_that_is_wrong(changes: dict[str, object], message: str) -> None:
    with pytest.raises(RulesError, match=f"^rule 2: .*{message}") as caught:
        parse_cache_rules(json.dumps([{"match": "a"}, {"match": "b", **changes}]))
    assert "\n" not in str(caught.value)


def test_an_empty_file_of_rules() -> None:
    assert parse_cache_rules("[]") == ()
