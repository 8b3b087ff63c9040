"""Chromium in Django's admin behind the daemon: signs in (CSRF, Origin, session), adds, changes, deletes, signs out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apps.running import Pair, pair
from apps.test_walks import OWN_NAME, django
from support.browser import make_driver, wait


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Pair]:
    with pair(django, tmp_path, **OWN_NAME) as both:
        yield both


@pytest.fixture
def browser() -> Iterator[Any]:
    driver = make_driver()
    yield driver
    driver.quit()


def test_the_admin_in_a_browser(site: Pair, browser: Any) -> None:
    assert _session(browser, site.direct) == _session(browser, site.proxied)


def _session(driver: Any, base: str) -> list[str]:
    """What the pages say on the way."""
    seen: list[str] = []
    driver.delete_all_cookies()
    driver.get(base + "/admin/")
    seen.append(driver.current_url.removeprefix(base))
    _fill(driver, username="boss", password="secret")
    seen.append(_text(driver, "site-name"))
    driver.get(base + "/admin/auth/group/add/")
    _fill(driver, name="editors")
    seen.append(_text(driver, ".messagelist"))
    driver.find_element("link text", "editors").click()
    _fill(driver, name="writers")
    seen.append(_text(driver, ".messagelist"))
    driver.find_element("link text", "writers").click()
    driver.find_element("css selector", ".deletelink").click()
    _fill(driver)
    seen.append(_text(driver, ".messagelist"))
    driver.find_element("css selector", "#logout-form button").click()
    wait(driver, lambda each: each.current_url.endswith("/logout/"))
    driver.get(base + "/who/")
    seen.append(driver.find_element("css selector", "body").text)
    return seen


def _fill(driver: Any, **values: str) -> None:
    for name, value in values.items():
        field = driver.find_element("name", name)
        field.clear()
        field.send_keys(value)
    was = driver.current_url
    driver.find_element("css selector", "#content-main [type=submit], #content [type=submit]").click()
    wait(driver, lambda each: each.current_url != was)


def _text(driver: Any, where: str) -> str:
    selector = where if where.startswith(".") else f"#{where}"
    return str(wait(driver, lambda each: each.find_element("css selector", selector).text))
