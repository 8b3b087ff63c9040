"""Which keys a request makes obsolete: the operator's rules file and the keys of one target.

A rule is a regular expression (RE2, see ``rules.linear_regex``) searched in path and query as sent, the methods that it
is for, and the patterns (Redis globs, see ``rules.glob``) to invalidate when it matches. ``$1``…``$9`` in a pattern
stand for what the groups captured, escaped, so that a client cannot smuggle in a ``*``; a group that took no part is
empty, and ``\\$`` is a plain ``$``. Tags may be named beside patterns, or in their place; what is captured stands in
them as it is. The file is checked whole when it is read: a rule that could never work is an
error, not a surprise.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import lru_cache

import attrs

from caching_proxy.http.methods import SAFE
from caching_proxy.http.tokens import is_token_text
from caching_proxy.rules.glob import escape, literal, shorten
from caching_proxy.rules.key import GET_PREFIX, PREFIX, key_bytes
from caching_proxy.rules.linear_regex import Match, Regex, compile_regex
from caching_proxy.rules.tags import MAX_TAG, Tags

MAX_PATTERN = 4096
"""Longest pattern in bytes. A longer one is an error in the file; one that captures made longer is cut and given a
final ``*``: it takes a few keys too many rather than one too few."""

WITHOUT_RULES = "POST requests invalidate only their own target"
"""What a missing file of rules comes to."""

_ANY_ROLE = GET_PREFIX + b"*:"
_DEFAULT_METHODS = frozenset({b"POST"})
_FIELDS = frozenset({"post_path_regex", "invalidate_patterns", "invalidate_tags", "methods", "soft"})
_REFERENCE = re.compile(rb"\\.|\$([1-9])", re.DOTALL)


class RulesError(ValueError):
    """What is wrong with a rules file, in one line for the operator; a rule is named by its number from 1."""


@attrs.frozen(slots=True)
class Rule:
    """A match of ``regex`` in a target requested by one of ``methods`` invalidates ``patterns`` and ``tags``, ``soft``
    or for good."""

    regex: Regex
    patterns: tuple[bytes, ...]
    methods: frozenset[bytes] = _DEFAULT_METHODS
    tags: Tags = ()
    soft: bool = False


@attrs.frozen(slots=True)
class Obsolete:
    """What to invalidate: patterns and tags, each once."""

    patterns: tuple[bytes, ...] = ()
    tags: Tags = ()
    soft: bool = False


def parse_rules(text: str | bytes) -> tuple[Rule, ...]:
    """The rules of a rules file's content, in order; RulesError says what is wrong with the first bad one."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RulesError(f"not valid JSON: {error}") from error
    if not isinstance(document, list):
        raise RulesError("must be a list of rules")
    return tuple(_rule(number, item) for number, item in enumerate(document, 1))


def resolve(rules: tuple[Rule, ...], method: bytes, target: bytes) -> tuple[Obsolete, ...]:
    """What to invalidate after a successful ``method`` on ``target``, ready for a store: at most one for good and one
    softly, and nothing in both."""
    patterns: dict[bytes, bool] = {}
    tags: dict[bytes, bool] = {}
    for rule in rules:
        if method not in rule.methods:
            continue
        match = rule.regex.search(target)
        if match is None:
            continue
        for pattern in rule.patterns:
            name = _fixed(pattern) if b"$" not in pattern else _bounded(_expanded(pattern, match, escape))
            patterns[name] = patterns.get(name, True) and rule.soft
        for template in rule.tags:
            tag = _expanded(template, match, bytes)
            if 0 < len(tag) <= MAX_TAG:  # nothing carries others
                tags[tag] = tags.get(tag, True) and rule.soft
    if not patterns and not tags:
        return ()
    parts: tuple[tuple[list[bytes], list[bytes]], ...] = ([], []), ([], [])  # for good, softly
    for name, softly in patterns.items():
        parts[softly][0].append(name)
    for name, softly in tags.items():
        parts[softly][1].append(name)
    (gone, without), (stale, outdated) = parts
    for_good = (Obsolete(tuple(gone), tuple(without)),) if gone or without else ()
    return (*for_good, Obsolete(tuple(stale), tuple(outdated), True)) if stale or outdated else for_good


def _bounded(pattern: bytes) -> bytes:
    return shorten(normalise_pattern(pattern), MAX_PATTERN)


_fixed = lru_cache(256)(_bounded)
"""What becomes of a pattern that captures nothing."""


def normalise_pattern(pattern: bytes) -> bytes:
    """``pattern`` with ``*`` as its role where it has no role segment: ``cache:GET:/x`` → ``cache:GET:*:/x``.

    A target begins with ``/`` and a role never does; that is what tells the two apart. A ``*`` for the method spans
    the role as well.
    """
    method, colon, rest = pattern[len(PREFIX) :].partition(b":")
    if pattern.startswith(PREFIX) and colon and b"*" not in method and rest.startswith((b"/", b"\\/")):
        return b"%b%b:*:%b" % (PREFIX, method, rest)
    return pattern


def spellings(pattern: bytes) -> tuple[bytes, ...]:
    """``pattern`` with a role segment and, if it had none, as it was given too: older versions wrote such keys."""
    return tuple(dict.fromkeys((normalise_pattern(pattern), pattern)))


def target_for_all(pattern: bytes) -> bytes | None:
    """The target if ``pattern`` is one target for every role (``cache:GET:*:/x``): no walk over the keys is needed.

    As a glob it would match a few targets more, those that end in ``:/x`` themselves; a rule does not mean them.
    """
    if not pattern.startswith(_ANY_ROLE):
        return None
    target = literal(pattern[len(_ANY_ROLE) :])
    return target if target is not None and target.startswith(b"/") else None


def target_of(patterns: Sequence[bytes]) -> bytes | None:
    """The target if that, for every role, is all that ``patterns`` name: one pattern in its :func:`spellings`."""
    target = target_for_all(patterns[0])
    alike = target is not None and all(literal(pattern) == GET_PREFIX + target for pattern in patterns[1:])
    return target if alike else None


def directory(target: bytes) -> bytes:
    """``target`` up to its last ``/`` within a reasonable length; empty where there is none."""
    return target[: target.rfind(b"/", 0, MAX_PATTERN // 4) + 1]


def widened(pattern: bytes) -> bytes:
    """A shorter pattern that matches all that ``pattern`` matches: what is below the next ``/`` upwards.

    One that has none is cut to half of its length; in the end every pattern is ``*``, which stays.
    """
    body = pattern.rstrip(b"*")
    slash = body.rfind(b"/", 0, max(0, len(body) - 1))
    return shorten(pattern, slash + 2 if slash >= 0 else max(1, len(body) // 2))


def _rule(number: int, item: object) -> Rule:
    def wrong(reason: str) -> RulesError:
        return RulesError(f"rule {number}: {reason}")

    if not isinstance(item, dict):
        raise wrong("must be an object")
    unknown = sorted(set(item) - _FIELDS)
    if unknown:
        raise wrong(f"unknown field {', '.join(map(repr, unknown))}; known are {', '.join(sorted(_FIELDS))}")
    regex = item.get("post_path_regex")
    if not isinstance(regex, str) or not regex:
        raise wrong("post_path_regex must be a string that is not empty")
    try:
        compiled = compile_regex(regex)
    except ValueError as error:
        raise wrong(f"post_path_regex {error}") from error
    try:
        patterns = _templates(item, "invalidate_patterns", MAX_PATTERN, compiled.groups)
        tags = _templates(item, "invalidate_tags", MAX_TAG, compiled.groups)
        if not patterns and not tags:
            raise RulesError("invalidate_patterns or invalidate_tags must be a list that is not empty")
        soft = item.get("soft", False)
        if not isinstance(soft, bool):
            raise RulesError("soft must be true or false")
        return Rule(compiled, patterns, _methods(item), tags, soft)
    except RulesError as error:
        raise wrong(str(error)) from error


def _templates(item: dict[str, object], name: str, longest: int, groups: int) -> tuple[bytes, ...]:
    """The list of patterns or of tags called ``name``; empty where there is none."""
    if name not in item:
        return ()
    given = item[name]
    if not isinstance(given, list) or not given:
        raise RulesError(f"{name} must be a list that is not empty")
    return tuple(_template(one, name, longest, groups) for one in given)


def _template(text: object, name: str, longest: int, groups: int) -> bytes:
    if not isinstance(text, str) or not text:
        raise RulesError(f"{name} must hold strings that are not empty")
    try:
        raw = key_bytes(text)
    except ValueError as error:
        raise RulesError(f"{name}: {text!r} is not valid text") from error
    if len(raw) > longest:
        raise RulesError(f"{name}: {text[:40]!r}… is longer than {longest} bytes")
    for reference in _REFERENCE.finditer(raw):
        if reference[1] and int(reference[1]) > groups:
            given = f"{groups} group{'' if groups == 1 else 's'}"
            raise RulesError(f"{name}: {text!r} uses ${int(reference[1])}, post_path_regex has {given}")
    return raw


def _methods(item: dict[str, object]) -> frozenset[bytes]:
    if "methods" not in item:
        return _DEFAULT_METHODS
    names = item["methods"]
    if not isinstance(names, list) or not names:
        raise RulesError("methods must be a list that is not empty")
    methods = set()
    for name in names:
        if not isinstance(name, str) or not is_token_text(name):
            raise RulesError(f"methods: {name!r} is no method name")
        methods.add(name.upper().encode("ascii"))
    safe = sorted(methods & SAFE)  # RFC 9111 §4.4: a safe method never invalidates
    if safe:
        raise RulesError(f"methods: {safe[0].decode()} changes nothing, so it cannot invalidate")
    return frozenset(methods)


def _expanded(pattern: bytes, match: Match, quoted: Callable[[bytes], bytes]) -> bytes:
    def fill(reference: re.Match[bytes]) -> bytes:
        if reference[1] is None:
            return reference[0]
        return quoted(match[int(reference[1])] or b"")

    return _REFERENCE.sub(fill, pattern)
