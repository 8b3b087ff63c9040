"""``check-config``: what the daemon would say of its settings and rules, without starting it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import attrs

from caching_proxy.rules.cache_rules import parse_cache_rules
from caching_proxy.rules.invalidation_rules import RulesError, parse_rules
from caching_proxy.settings import dotenv
from caching_proxy.settings.load import SettingsError, load

CACHE_RULES_FILE = "cache_rules.json"


@attrs.frozen
class Checked:
    """``problems`` would stop the start, ``warnings`` are said at the start, ``rules`` counts those of each file."""

    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    rules: Mapping[str, int] = attrs.Factory(dict)


def check_config(file: Path | None, environ: Mapping[str, str]) -> Checked:
    """The settings of ``file`` (as ``.env``) alone, or of the environment with ``.env``; and the rules they name."""
    values, said = dotenv.read(file if file is not None else Path(".env"))
    if file is not None and not file.is_file():
        return Checked((f"{file}: there is no such file",))
    try:
        settings, warnings = load({} if file is not None else environ, values, {})
    except (SettingsError, ValueError) as problem:
        return Checked((" ".join(str(problem).split()),), tuple(said))
    problems: list[str] = []
    rules: dict[str, int] = {}
    for path, parse, needed in (
        (settings.invalidation_config, parse_rules, False),
        (settings.cache_rules or CACHE_RULES_FILE, parse_cache_rules, settings.cache_rules is not None),
    ):
        try:
            rules[str(path)] = len(parse(Path(path).read_bytes()))
        except FileNotFoundError:
            if needed:
                problems.append(f"{path}: there is no such file")
        except (OSError, RulesError) as problem:
            problems.append(f"{path}: {getattr(problem, 'strerror', None) or problem}")
    return Checked(tuple(problems), (*said, *warnings), rules)
