"""The invalidation rules file: read at start, read again on SIGHUP."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from twisted.logger import Logger

from caching_proxy.rules.invalidation_rules import Rule, RulesError, parse_rules


class RulesFile:
    """The rules in force. A missing file means no rules; a file that cannot be used keeps the old ones."""

    _log = Logger()

    def __init__(self, path: Path, read: Callable[[Path], bytes] = Path.read_bytes) -> None:
        self._path = path
        self._read = read
        self._rules: tuple[Rule, ...] = ()

    def __call__(self) -> tuple[Rule, ...]:
        """The rules in force."""
        return self._rules

    def load(self) -> None:
        """Read the file; raises :class:`RulesError`, which does not name the file, if it cannot be used."""
        try:
            text = self._read(self._path)
        except FileNotFoundError:
            self._rules = ()
            self._log.warn("{path} is missing: POST requests invalidate only their own target", path=str(self._path))
            return
        except OSError as error:
            raise RulesError(error.strerror or str(error)) from error
        self._rules = parse_rules(text)

    def reload(self) -> None:
        """Read the file again and say what came of it."""
        try:
            self.load()
        except RulesError as error:
            reason = f"{self._path}: {error}"
            self._log.error("invalidation rules not reloaded, the old ones stay: {reason}", reason=reason)
        else:
            self._log.info("{n} invalidation rules in force", n=len(self._rules))
