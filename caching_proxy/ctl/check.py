"""``check-config``: what the daemon would say of its settings and rules, without starting it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import attrs

from caching_proxy.rules.cache_rules import parse_cache_rules
from caching_proxy.rules.invalidation_rules import WITHOUT_RULES, parse_rules
from caching_proxy.settings import dotenv
from caching_proxy.settings.load import SettingsError, load
from caching_proxy.settings.unopened import would_refuse

CACHE_RULES_FILE = "cache_rules.json"


@attrs.frozen
class Checked:
    """``problems`` would stop the start, ``warnings`` are said at the start, ``rules`` counts those of each file."""

    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    rules: Mapping[str, int] = attrs.Factory(dict)


def check_config(file: Path | None, environ: Mapping[str, str]) -> Checked:
    """The settings of ``file`` (as ``.env``) alone, or of the environment with ``.env``; the rules that they name, and
    what they would open."""
    values, complaints = dotenv.read(file if file is not None else Path(".env"))
    if file is not None and not file.is_file():
        return Checked((f"{file}: there is no such file",))
    try:
        settings, warnings = load({} if file is not None else environ, values, {})
    except (SettingsError, ValueError) as problem:
        return Checked((" ".join(str(problem).split()),), tuple(complaints))
    said = [*complaints, *warnings]
    problems = list(map(str, would_refuse(settings)))
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
            elif parse is parse_rules:
                said.append(f"{path} is missing: {WITHOUT_RULES}")
        except (OSError, ValueError) as problem:  # RulesError among them
            problems.append(f"{path}: {getattr(problem, 'strerror', None) or problem}")
    return Checked(tuple(problems), tuple(said), rules)
