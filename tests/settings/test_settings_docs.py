"""The files made from the table are up to date and true."""

from __future__ import annotations

from pathlib import Path

from caching_proxy.settings import dotenv
from caching_proxy.settings.docs import env_example, markdown
from caching_proxy.settings.load import load
from caching_proxy.settings.table import TABLE

ROOT = Path(__file__).parents[2]


def test_env_example_is_up_to_date() -> None:
    assert (ROOT / ".env.example").read_text(encoding="utf-8") == env_example()


def test_settings_md_is_up_to_date() -> None:
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == markdown()


def test_the_example_loads() -> None:
    values, complaints = dotenv.parse(env_example())
    found, warnings = load({}, values, {})
    assert found.backend_url == "http://localhost:8080"
    assert (*complaints, *warnings) == ()


def test_the_example_shows_true_defaults() -> None:
    shown = "\n".join(line.removeprefix("#") for line in env_example().splitlines() if not line.startswith("# "))
    values, _ = dotenv.parse(shown)
    assert set(values) == {row.name for row in TABLE}
    assert load({}, values, {})[0] == load({"BACKEND_URL": "http://localhost:8080"}, {}, {})[0]


def test_the_rules_file_is_valid() -> None:
    from caching_proxy.rules.invalidation_rules import parse_rules, resolve

    rules = parse_rules((ROOT / "invalidation_config.json").read_bytes())
    for method, target, pattern in (
        (b"POST", b"/items", b"cache:GET:*:/items*"),
        (b"PUT", b"/items/7?x=1", b"cache:GET:*:/items/7"),
    ):
        (obsolete,) = resolve(rules, method, target)
        assert pattern in obsolete.patterns
    assert resolve(rules, b"POST", b"/itemsets") == ()
