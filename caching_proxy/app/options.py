"""The flags of ``twistd cachingproxy``: one for each row of the settings table.

A wrong value ends the program with one line on stderr and status 1. ``twistd`` would print its whole usage before
a ``UsageError``, so the line is written here.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import NoReturn, cast

from twisted.python import usage

from caching_proxy.app.last_words import say
from caching_proxy.app.log_care import ignore_rotation
from caching_proxy.app.reactors import install_reactor
from caching_proxy.app.sources import Sources
from caching_proxy.settings import dotenv
from caching_proxy.settings.model import Settings
from caching_proxy.settings.parsers import SettingsError
from caching_proxy.settings.table import TABLE
from caching_proxy.settings.variable import Variable


def fail(problem: object) -> NoReturn:
    """End the program with ``problem`` as one line on stderr and exit status 1."""
    say(" ".join(str(problem).split()))
    raise SystemExit(1)


def _help(row: Variable) -> str:
    default = f", default {row.default}" if row.default is not None else ""
    return f"{row.help} [{', '.join((row.name, *row.aliases))}{default}]"


class Options(usage.Options):
    """After parsing, ``settings`` and ``warnings`` are there and the reactor is installed."""

    synopsis = "[options]"
    longdesc = (
        "A caching reverse proxy. Every flag mirrors an environment variable, which stands in brackets; flags beat the "
        "environment, which beats .env in the working directory."
    )
    optParameters = [[row.flag, None, None, _help(row)] for row in TABLE]

    settings: Settings
    sources: Sources
    warnings: tuple[str, ...]

    def postOptions(self) -> None:
        ignore_rotation()
        values = cast("Mapping[str, str | None]", self)
        given = {row.name: value for row in TABLE if (value := values[row.flag]) is not None}
        found, complaints = dotenv.read(Path(".env"))
        try:
            self.sources = Sources(given, found)
            self.settings, warnings = self.sources.settings()
        except SettingsError as problem:
            fail(problem)
        self.warnings = (*complaints, *warnings)
        install_reactor()

    def opt_version(self) -> None:
        """Show the version and exit."""
        from importlib.metadata import PackageNotFoundError, version

        try:
            found = version("caching-proxy")
        except PackageNotFoundError:
            found = "(not installed)"
        print(f"caching_proxy {found}")
        raise SystemExit(0)


def server_options(options: Options) -> MutableMapping[str, object]:
    """The flags given to ``twistd`` itself; empty where there is no ``twistd``."""
    return cast("MutableMapping[str, object]", getattr(options, "parent", None) or {})
