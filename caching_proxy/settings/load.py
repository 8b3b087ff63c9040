"""Reading the settings, once at start.

A flag beats the environment, which beats ``.env``, which beats the default; an empty value counts as unset. Anything
that cannot be right stops the start with one line (:class:`SettingsError`); what is merely unwise comes back as
warnings.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from caching_proxy.settings.checks import Given, check
from caching_proxy.settings.model import Settings
from caching_proxy.settings.parsers import BadValue, SettingsError, without_password
from caching_proxy.settings.table import TABLE
from caching_proxy.settings.variable import Variable


def load(
    environ: Mapping[str, str], dotenv: Mapping[str, str], overrides: Mapping[str, str]
) -> tuple[Settings, tuple[str, ...]]:
    """The settings, from the first source that has a value for a variable.

    Args:
        environ: The environment.
        dotenv: What a ``.env`` file says.
        overrides: Flags, by the variable's name; they beat the other two.

    Returns:
        The settings and the warnings about them.

    Raises:
        SettingsError: One cannot be right; the text is one line for the user.
    """
    values: dict[str, Any] = {}
    given: dict[str, Given] = {}
    for row in TABLE:
        found = next(_candidates(row, overrides, environ, dotenv), None)
        if found is not None:
            given[row.name] = found
            values[row.attribute] = _parsed(row, found)
        elif row.default is not None:
            values[row.attribute] = row.parser.convert(row.default)
        elif row.required:
            raise SettingsError(row.name, None, row.parser.expected)
        else:
            values[row.attribute] = row.parser.unset
    return check(Settings(**values), given)


def _candidates(row: Variable, *sources: Mapping[str, str]) -> Iterator[Given]:
    for source in sources:
        for name in (row.name, *row.aliases):
            text = source.get(name, "").strip()
            if text:
                yield Given(name, text)


def _parsed(row: Variable, found: Given) -> object:
    try:
        return row.parser.convert(found.text)
    except ValueError as problem:
        reason = f" ({problem})" if isinstance(problem, BadValue) and str(problem) != row.parser.expected else ""
        shown = "***" if row.secret else without_password(found.text)
        raise SettingsError(found.name, shown, row.parser.expected + reason) from None


__all__ = ["Settings", "SettingsError", "load", "without_password"]
