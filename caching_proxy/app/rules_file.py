"""The operator's files of rules: read at start, read again on SIGHUP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from twisted.logger import Logger

from caching_proxy.rules.cache_rules import CacheRule, parse_cache_rules
from caching_proxy.rules.invalidation_rules import WITHOUT_RULES, Rule, RulesError, parse_rules

T = TypeVar("T")

CACHE_RULES_FILE = "cache_rules.json"
"""Read where no other file of cache rules is named."""

_log = Logger()


class RulesFile(Generic[T]):
    """The rules in force. A file that cannot be used keeps the old ones.

    Args:
        read: Gives a file's content; raises OSError.
        what: What kind of rules, for messages.
        parse: Makes rules of the file's content; raises :class:`RulesError`.
        missing: Called where there is no file: that means no rules. None makes it an error.
        use: Called with the rules that hold from now on.
    """

    def __init__(
        self,
        path: Path,
        read: Callable[[Path], bytes],
        what: str,
        parse: Callable[[bytes], tuple[T, ...]],
        missing: Callable[[], object] | None,
        use: Callable[[tuple[T, ...]], object] | None = None,
    ) -> None:
        self.what = what
        self._path = path
        self._file = read
        self._parse = parse
        self._missing = missing
        self._use = use
        self._rules: tuple[T, ...] = ()

    def __call__(self) -> tuple[T, ...]:
        """The rules in force."""
        return self._rules

    def load(self) -> None:
        """Read the file; raises :class:`RulesError`, which does not name the file, if it cannot be used."""
        self._rules = rules = self._read()
        if self._use is not None:
            self._use(rules)

    def _read(self) -> tuple[T, ...]:
        try:
            text = self._file(self._path)
        except FileNotFoundError as error:
            if self._missing is None:
                raise RulesError("there is no such file") from error
            self._missing()
            return ()
        except (OSError, ValueError) as error:
            raise RulesError(getattr(error, "strerror", None) or str(error)) from error
        return self._parse(text)

    def reload(self) -> None:
        """Read the file again and say what came of it."""
        try:
            self.load()
        except RulesError as error:
            reason = f"{self._path}: {error}"
            _log.error("{what} not reloaded, the old ones stay: {reason}", what=self.what, reason=reason)
        else:
            _log.info("{n} {what} in force", n=len(self._rules), what=self.what)


def invalidation_rules_file(path: Path, read: Callable[[Path], bytes]) -> RulesFile[Rule]:
    """Which keys a request makes obsolete; a missing file deserves a word."""

    def missing() -> None:
        _log.warn("{path} is missing: {so}", path=str(path), so=WITHOUT_RULES)

    return RulesFile(path, read, "invalidation rules", parse_rules, missing)


def cache_rules_file(
    path: Path, read: Callable[[Path], bytes], optional: bool, use: Callable[[tuple[CacheRule, ...]], object]
) -> RulesFile[CacheRule]:
    """What holds for which targets; a file that somebody named has to be there."""
    return RulesFile(path, read, "cache rules", parse_cache_rules, (lambda: None) if optional else None, use)
