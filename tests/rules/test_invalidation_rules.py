"""Invalidation rules: SPEC section 7."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from caching_proxy.rules.glob import compile_glob
from caching_proxy.rules.invalidation_rules import (
    MAX_PATTERN,
    Obsolete,
    RulesError,
    normalise_pattern,
    parse_rules,
    resolve,
    spellings,
)


def rule(regex: str, *patterns: str, **more: object) -> dict[str, object]:
    return {"post_path_regex": regex, "invalidate_patterns": list(patterns), **more}


def resolved(method: bytes, target: bytes, *rules: dict[str, object]) -> tuple[bytes, ...]:
    return tuple(
        pattern for part in resolve(parse_rules(json.dumps(rules)), method, target) for pattern in part.patterns
    )


@pytest.mark.parametrize(
    ("regex", "pattern", "target", "expected"),
    [
        pytest.param("^/users$", "cache:GET:*:/users*", b"/users", b"cache:GET:*:/users*", id="plain"),
        pytest.param("users", "cache:GET:/users", b"/api/users/1", b"cache:GET:*:/users", id="role-inserted"),
        pytest.param("page=1$", "cache:GET:*:/x", b"/x?page=1", b"cache:GET:*:/x", id="query"),
        pytest.param("^/u/([^/]+)/(.*)$", "cache:GET:*:/$2/$1", b"/u/7/x", b"cache:GET:*:/x/7", id="groups"),
        pytest.param("^/u/(.+)$", "cache:GET:*:/u/$1*", b"/u/*?[a", b"cache:GET:*:/u/\\*\\?\\[a*", id="escaped"),
        pytest.param("^/u/(a-.)", "cache:GET:*:/u/[$1]", b"/u/a-z", b"cache:GET:*:/u/[a\\-z]", id="in-a-class"),
        pytest.param("^/u(/x)?", "cache:GET:*:/v$1", b"/u", b"cache:GET:*:/v", id="unmatched-group"),
        pytest.param("(u)", "cache:GET:*:/$12", b"/u", b"cache:GET:*:/u2", id="one-digit"),
        pytest.param("(u)", "cache:GET:*:/$0$$", b"/u", b"cache:GET:*:/$0$$", id="other-dollars"),
        pytest.param("(.*)", "cache:GET:*:/\\$1", b"*", b"cache:GET:*:/\\$1", id="escaped-dollar"),
        pytest.param("^(.*)$", "cache:GET:$1", b"/x", b"cache:GET:*:/x", id="target-from-group"),
        pytest.param("/x", "other:*", b"/x", b"other:*", id="foreign-key"),
    ],
)
def test_resolving(regex: str, pattern: str, target: bytes, expected: bytes) -> None:
    assert resolved(b"POST", target, rule(regex, pattern)) == (expected,)


def test_every_matching_rule_counts_and_patterns_come_once() -> None:
    rules = [rule("a", "cache:GET:/1", "cache:GET:/2"), rule("b", "cache:GET:/3"), rule("a", "cache:GET:*:/2", "x")]
    assert resolved(b"POST", b"/a", *rules) == (b"cache:GET:*:/1", b"cache:GET:*:/2", b"x")
    assert resolved(b"POST", b"/c", *rules) == ()
    assert resolved(b"POST", b"/a") == ()


def test_tags_beside_patterns_or_alone() -> None:
    rules = [
        {"post_path_regex": "^/items/(.*)$", "invalidate_tags": ["item-$1", "items", "*"]},
        rule("^/items", "cache:GET:/items", invalidate_tags=["items", "$a"], soft=True),
        rule("^/items", "cache:GET:/other", soft=True),
    ]
    found = resolve(parse_rules(json.dumps(rules)), b"POST", b"/items/a*b")
    assert found == (
        Obsolete((), (b"item-a*b", b"items", b"*")),
        Obsolete((b"cache:GET:*:/items", b"cache:GET:*:/other"), (b"$a",), soft=True),
    )
    assert resolve(parse_rules(json.dumps(rules)), b"POST", b"/none") == ()


def test_a_tag_that_captures_made_too_long_is_carried_by_nothing() -> None:
    rules = parse_rules('[{"post_path_regex": "^/(.*)$", "invalidate_tags": ["$1"]}]')
    assert resolve(rules, b"POST", b"/" + b"a" * 1024) == (Obsolete((), (b"a" * 1024,)),)
    assert resolve(rules, b"POST", b"/" + b"a" * 1025) == ()
    assert resolve(rules, b"POST", b"/") == ()


def test_a_rule_without_anything_to_invalidate() -> None:
    with pytest.raises(RulesError, match=r"^rule 1: invalidate_patterns or invalidate_tags must be a list"):
        parse_rules('[{"post_path_regex": "a"}]')


def test_methods() -> None:
    default, named = rule("x", "default"), rule("x", "named", methods=["put", "X-FROB"])
    assert resolved(b"POST", b"/x", default, named) == (b"default",)
    assert resolved(b"PUT", b"/x", default, named) == (b"named",)
    assert resolved(b"X-FROB", b"/x", default, named) == (b"named",)
    assert resolved(b"DELETE", b"/x", default, named) == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"^not valid JSON: "),
        ("", r"^not valid JSON: "),
        (b"\xff\xfe\xfa", r"^not valid JSON: "),
        ("[" * 200_000, r"^not valid JSON: "),
        ("{}", r"^must be a list"),
        ("null", r"^must be a list"),
        ("[1]", r"^rule 1: must be an object"),
        ('[{"post_path_regex": "a", "invalidate_patterns": ["b"]}, {}]', r"^rule 2: post_path_regex must be"),
    ],
)
def test_a_file_that_is_wrong_as_a_whole(text: str | bytes, message: str) -> None:
    with pytest.raises(RulesError, match=message):
        parse_rules(text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"post_path_regex": 1}, "post_path_regex must be a string"),
        ({"post_path_regex": ""}, "post_path_regex must be a string"),
        ({"post_path_regex": "("}, r"post_path_regex '\(' is no regular expression"),
        ({"post_path_regex": "a{1,1001}"}, "is no regular expression"),
        ({"post_path_regex": "a(?=b)"}, r"is no regular expression of RE2: invalid perl operator: \(\?="),
        ({"post_path_regex": "(a)\\1"}, r"is no regular expression of RE2: invalid escape sequence"),
        ({"post_path_regex": "(a?){400}"}, "is too large: [0-9]+ instructions of 500 allowed"),
        ({"post_path_regex": "\ud800"}, "is no regular expression"),
        ({"invalidate_patterns": None}, "invalidate_patterns must be a list that is not empty"),
        ({"invalidate_patterns": []}, "invalidate_patterns must be a list that is not empty"),
        ({"invalidate_patterns": "x"}, "invalidate_patterns must be a list that is not empty"),
        ({"invalidate_patterns": ["x", 1]}, "invalidate_patterns must hold strings"),
        ({"invalidate_patterns": [""]}, "invalidate_patterns must hold strings"),
        ({"invalidate_patterns": ["\ud800"]}, "is not valid text"),
        ({"invalidate_patterns": ["x" * (MAX_PATTERN + 1)]}, f"longer than {MAX_PATTERN} bytes"),
        ({"invalidate_patterns": ["/$4"]}, r"'/\$4' uses \$4, post_path_regex has 1 group$"),
        ({"post_path_regex": "a", "invalidate_patterns": ["$1"]}, "has 0 groups$"),
        ({"methods": []}, "methods must be a list"),
        ({"methods": "POST"}, "methods must be a list"),
        ({"methods": ["PO ST"]}, "'PO ST' is no method name"),
        ({"methods": [""]}, "'' is no method name"),
        ({"methods": [1]}, "1 is no method name"),
        ({"methods": ["POST", "GET"]}, "GET changes nothing"),
        (
            {"patterns": []},
            "unknown field 'patterns'; known are invalidate_patterns, invalidate_tags, methods, post_path_regex, soft",
        ),
        ({"invalidate_tags": []}, "invalidate_tags must be a list that is not empty"),
        ({"invalidate_tags": [1]}, "invalidate_tags must hold strings"),
        ({"invalidate_tags": ["$2"]}, r"invalidate_tags: '\$2' uses \$2, post_path_regex has 1 group$"),
        ({"invalidate_tags": ["x" * 1025]}, "longer than 1024 bytes"),
        ({"soft": 1}, "soft must be true or false"),
    ],
)
def test_a_rule_that_is_wrong(changes: dict[str, object], message: str) -> None:
    rules = [rule("a", "b"), {**rule("(a)", "cache:GET:/$1"), **changes}]
    with pytest.raises(RulesError, match=f"^rule 2: .*{message}") as caught:
        parse_rules(json.dumps(rules))
    assert "\n" not in str(caught.value)


def test_an_empty_file_of_rules_and_one_in_bytes() -> None:
    assert parse_rules("[]") == ()
    (only,) = parse_rules(b'\xef\xbb\xbf[{"post_path_regex": "\xc3\xa9", "invalidate_patterns": ["\xc3\xa9"]}]')
    assert only.regex.pattern == b"\xc3\xa9"
    assert only.patterns == (b"\xc3\xa9",)
    assert only.methods == {b"POST"}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (b"cache:GET:/x", b"cache:GET:*:/x"),
        (b"cache:GET:/x:y*", b"cache:GET:*:/x:y*"),
        (b"cache:GET://host/x", b"cache:GET:*://host/x"),
        (b"cache:GET:\\/x", b"cache:GET:*:\\/x"),
        (b"cache:HEAD:/x", b"cache:HEAD:*:/x"),
        (b"cache:GET:*:/x", b"cache:GET:*:/x"),
        (b"cache:GET:admin:/x", b"cache:GET:admin:/x"),
        (b"cache:GET:a*:/x", b"cache:GET:a*:/x"),
        (b"cache:GET:*/x", b"cache:GET:*/x"),
        (b"cache:GET:*", b"cache:GET:*"),
        (b"cache:*:/x", b"cache:*:/x"),
        (b"cache:*", b"cache:*"),
        (b"*", b"*"),
        (b"cache:GET:", b"cache:GET:"),
        (b"/x", b"/x"),
        (b"", b""),
    ],
)
def test_normalise_pattern(pattern: bytes, expected: bytes) -> None:
    assert normalise_pattern(pattern) == expected
    assert normalise_pattern(expected) == expected


def test_captures_cannot_make_a_pattern_longer_than_the_bound() -> None:
    rules = parse_rules(json.dumps([rule("^/(.*)$", "cache:GET:/$1/$1")]))
    captured = b"*" * 5000
    ((pattern,),) = (part.patterns for part in resolve(rules, b"POST", b"/" + captured))
    assert len(pattern) <= MAX_PATTERN
    matches = compile_glob(pattern)
    assert matches(b"cache:GET:admin:/" + captured + b"/" + captured)
    assert not matches(b"cache:GET:admin:/x")


text = st.sampled_from([b"*", b"?", b"[", b"]", b"\\", b"^", b"-", b"a", b"/", b":", b"$1"])
captures = st.lists(text, max_size=8).map(b"".join)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(captures, captures)
def test_a_capture_stands_only_for_itself(captured: bytes, other: bytes) -> None:
    rules = parse_rules(json.dumps([rule("^/in/(.*)$", "cache:GET:*:/out/$1/end")]))
    ((pattern,),) = (part.patterns for part in resolve(rules, b"POST", b"/in/" + captured))
    matches = compile_glob(pattern)
    assert matches(b"cache:GET:r:/out/" + captured + b"/end")
    assert matches(b"cache:GET:r:/out/" + other + b"/end") is (other == captured)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (b"cache:GET:/x", (b"cache:GET:*:/x", b"cache:GET:/x")),
        (b"cache:GET:admin:/x", (b"cache:GET:admin:/x",)),
        (b"cache:*", (b"cache:*",)),
    ],
    ids=["no-role", "role", "all"],
)
def test_spellings(pattern: bytes, expected: tuple[bytes, ...]) -> None:
    assert spellings(pattern) == expected
