"""Rules per path: what the operator says about caching some targets (``CACHE_RULES``).

A file is a list of objects; the first whose ``match`` is found in path and query as sent holds for a target, and none
is added to another. The file is checked whole when it is read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping

import attrs

from caching_proxy.http.cache_control import SATURATED
from caching_proxy.http.tokens import is_token_text
from caching_proxy.rules.invalidation_rules import RulesError
from caching_proxy.rules.key import KeyPolicy, key_bytes
from caching_proxy.rules.linear_regex import Regex, compile_regex
from caching_proxy.rules.outcome import Bypass
from caching_proxy.rules.policy import CachePolicy, Override, StatusTTLs
from caching_proxy.rules.storability_checks import NEVER_STORED
from caching_proxy.rules.tags import MAX_TAG, MAX_TAGS_BYTES, Tags, fit
from caching_proxy.rules.terms import Share, Terms

MAX_RULES = 500
MAX_PARAMS = 100
MAX_VARY = 16
MAX_RULE_TAGS = 100

_STATUS = re.compile(r"[2-5][0-9][0-9]")
_NEVER_KEPT = NEVER_STORED | {206, 304}


@attrs.frozen(slots=True)
class CacheRule:
    """One rule; None where it leaves things as they are. Durations are whole seconds."""

    match: Regex = attrs.field(eq=False)
    ttl: int | None = None
    status_ttl: StatusTTLs = ()
    override: bool = False
    override_private: bool = False
    share: Share = Share.ROLE
    vary: tuple[bytes, ...] = ()
    ignore_params: tuple[bytes, ...] = ()
    stale_while_revalidate: int | None = None
    stale_if_error: int | None = None
    collapse: bool = True
    tags: Tags = ()

    def terms(self, policy: CachePolicy, keys: KeyPolicy) -> Terms:
        """What holds for the targets of this rule; ``policy`` and ``keys`` are those of the settings."""
        policy = attrs.evolve(
            policy,
            default_ttl=_or(self.ttl, policy.default_ttl),
            status_ttl=self.status_ttl,
            override=self._override(),
            vary=self.vary,
            tags=self.tags,
            stale_while_revalidate=_or(self.stale_while_revalidate, policy.stale_while_revalidate),
            stale_if_error=_or(self.stale_if_error, policy.stale_if_error),
        )
        if self.ignore_params:
            keys = attrs.evolve(keys, ignore_params=(*keys.ignore_params, *self.ignore_params))
        bypass = Bypass.RULE if self.share is Share.NONE else None
        return Terms(policy, keys, self.share, self.collapse, bypass)

    def _override(self) -> Override | None:
        if not self.override:
            return None
        return Override(
            self.ttl, self.status_ttl, self.override_private, self.stale_while_revalidate, self.stale_if_error
        )


def _or(given: int | None, otherwise: int) -> int:
    return otherwise if given is None else given


def parse_cache_rules(text: str | bytes) -> tuple[CacheRule, ...]:
    """The rules of a file's content, in order; RulesError says what is wrong with the first bad one."""
    try:
        document = json.loads(text, object_pairs_hook=_Object)
    except (ValueError, RecursionError) as error:
        raise RulesError(f"not valid JSON: {error}") from error
    if not isinstance(document, list):
        raise RulesError("must be a list of rules")
    if len(document) > MAX_RULES:
        raise RulesError(f"has {len(document)} rules; {MAX_RULES} are allowed")
    return tuple(_rule(number, item) for number, item in enumerate(document, 1))


class _Object:
    """A JSON object as it stands in the file: a name that comes twice is a mistake, not a matter of the last one."""

    def __init__(self, pairs: list[tuple[str, object]]) -> None:
        self.pairs = pairs

    def checked(self, known: Iterable[str] | None = None) -> dict[str, object]:
        """As a dictionary; RulesError for a name twice, or one that is not ``known``."""
        found: dict[str, object] = {}
        for name, value in self.pairs:
            if name in found:
                raise RulesError(f"{name!r} stands there twice")
            if known is not None and name not in known:
                raise RulesError(f"unknown field {name!r}; known are {', '.join(sorted(known))}")
            found[name] = value
        return found


def _rule(number: int, item: object) -> CacheRule:
    try:
        if not isinstance(item, _Object):
            raise RulesError("must be an object")
        given = item.checked(_READ.keys() | {"mode"})
        if "match" not in given:
            raise RulesError("match is missing")
        return _consistent({name: _READ[name](name, value) for name, value in given.items() if name in _READ}, given)
    except RulesError as error:
        raise RulesError(f"rule {number}: {error}") from error


def _consistent(values: dict[str, object], given: Mapping[str, object]) -> CacheRule:
    """The rule, if its parts make sense together."""
    override = _one_of("respect", "override")("mode", given.get("mode", "respect")) == "override"
    rule = CacheRule(override=override, **values)  # type: ignore[arg-type]  # each was read by its own reader
    if override and rule.ttl is None and not rule.status_ttl:
        raise RulesError('mode "override" needs ttl or status_ttl, to say what holds instead')
    if rule.override_private and not override:
        raise RulesError('override_private needs mode "override"')
    if rule.share is Share.NONE and len(given) > 2:
        other = next(name for name in given if name not in ("match", "share"))
        raise RulesError(f'share "none" stores nothing, so {other} has no meaning')
    return rule


# -- readers of values -----------------------------------------------------------------------------


def _regex(name: str, value: object) -> Regex:
    if not isinstance(value, str) or not value:
        raise RulesError(f"{name} must be a string that is not empty")
    try:
        return compile_regex(value)
    except ValueError as error:
        raise RulesError(f"{name} {error}") from error


def _seconds(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= SATURATED:
        raise RulesError(f"{name} must be a whole number of seconds from 0 to {SATURATED}")
    return value


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise RulesError(f"{name} must be true or false")
    return value


def _one_of(*allowed: str) -> Callable[[str, object], str]:
    def read(name: str, value: object) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise RulesError(f"{name} must be one of {', '.join(allowed)}")
        return value

    return read


def _share(name: str, value: object) -> Share:
    return Share(_one_of(*(share.value for share in Share))(name, value))


def _statuses(name: str, value: object) -> StatusTTLs:
    if not isinstance(value, _Object) or not value.pairs:
        raise RulesError(f"{name} must be an object of statuses and seconds that is not empty")
    found = []
    for status, seconds in value.checked().items():
        if not _STATUS.fullmatch(status):
            raise RulesError(f"{name}: {status!r} is no status from 200 to 599")
        if int(status) in _NEVER_KEPT:
            raise RulesError(f"{name}: {status} is never given a lifetime")
        found.append((int(status), _seconds(f"{name}: {status}", seconds)))
    return tuple(found)


def texts(name: str, value: object, most: int) -> tuple[str, ...]:
    """A list of strings, none empty, each once."""
    if not isinstance(value, list) or not value or not all(isinstance(one, str) and one for one in value):
        raise RulesError(f"{name} must be a list of strings, none of them empty")
    if len(value) > most:
        raise RulesError(f"{name} has {len(value)} members; {most} are allowed")
    return tuple(dict.fromkeys(value))


def _names(name: str, value: object) -> tuple[bytes, ...]:
    found = texts(name, value, MAX_VARY)
    for one in found:
        if one == "*" or not is_token_text(one):
            raise RulesError(f"{name}: {one!r} is no field name")
    return tuple(sorted({one.lower().encode("ascii") for one in found}))


def _tags(name: str, value: object) -> Tags:
    found = texts(name, value, MAX_RULE_TAGS)
    for one in found:
        if not one.isprintable() or any(letter in " ," for letter in one):
            raise RulesError(f"{name}: {one!r} holds a blank, a comma or what cannot be printed")
    tags = tuple(one.encode() for one in found)
    if not fit(tags):
        raise RulesError(f"{name} are longer than {MAX_TAG} bytes each or {MAX_TAGS_BYTES} together")
    return tags


def _globs(name: str, value: object) -> tuple[bytes, ...]:
    found = texts(name, value, MAX_PARAMS)
    try:
        return tuple(map(key_bytes, found))
    except ValueError as error:
        raise RulesError(f"{name} must hold valid text") from error


_READ: Mapping[str, Callable[[str, object], object]] = {
    "match": _regex,
    "ttl": _seconds,
    "status_ttl": _statuses,
    "override_private": _flag,
    "share": _share,
    "vary": _names,
    "ignore_params": _globs,
    "stale_while_revalidate": _seconds,
    "stale_if_error": _seconds,
    "collapse": _flag,
    "tags": _tags,
}
