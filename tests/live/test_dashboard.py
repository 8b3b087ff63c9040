"""The dashboard in a real Chromium: what it shows, what it does, what cannot be done to it, and who can use it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.browser import axe, errors, make_driver, violations, wait
from support.live_backend import LiveBackend, answer
from support.proxy_process import ProxyProcess, StartProxy

__all__ = ["axe"]

pytestmark = [pytest.mark.live, pytest.mark.slow]

TOKEN = "correct-horse-battery-staple"
EVIL = "<img src=x onerror=window.hit=1><script>window.hit=1</script>"


@pytest.fixture(scope="module")
def proxy(start_shared: StartProxy, backend: LiveBackend) -> ProxyProcess:
    backend.on("/page", answer(b"hello", 200, ("Cache-Control", "max-age=600"), ("Content-Type", "text/plain")))
    backend.on("/other", answer(b"o", 200, ("Cache-Control", "max-age=600"), ("Vary", "Accept-Language")))
    backend.on("/private", answer(b"p", 200, ("Cache-Control", "private")))
    return start_shared(BACKEND_URL=backend.url, ADMIN_TOKEN=TOKEN, LOG_LEVEL="warn")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    driver = make_driver()
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: Any, proxy: ProxyProcess) -> Any:
    """Signed in, and something to look at."""
    for target in ("/page", "/page", "/other", "/private"):
        proxy.get(target)
    return signed_in(browser, proxy)


def signed_in(driver: Any, proxy: ProxyProcess) -> Any:
    driver.get_log("browser")  # what another test left there
    driver.get(f"http://127.0.0.1:{proxy.port}/_cache/")
    find = finder(driver)
    wait(driver, lambda _: find("token").is_displayed())
    find("token").send_keys(TOKEN + "\n")
    wait(driver, lambda _: text(driver, "connection") == "Live")
    return driver


def finder(driver: Any) -> Callable[[str], Any]:
    return lambda name: driver.find_element("id", name)


def text(driver: Any, name: str) -> str:
    return str(driver.find_element("id", name).text)


def click(driver: Any, selector: str) -> None:
    driver.execute_script(
        "arguments[0].scrollIntoView({block: 'center'})", driver.find_element("css selector", selector)
    )
    driver.find_element("css selector", selector).click()


def fill(driver: Any, name: str, value: str) -> None:
    field = driver.find_element("id", name)
    field.clear()
    field.send_keys(value)


def search(driver: Any, what: str) -> list[str]:
    fill(driver, "keys-search", what)
    click(driver, "#keys-form button")
    wait(driver, lambda _: "…" not in text(driver, "keys") and "Search to" not in text(driver, "keys-count"))
    return [each.text for each in driver.find_elements("css selector", "#keys tbody tr")]


def test_it_shows_what_happens_as_it_happens(page: Any, proxy: ProxyProcess) -> None:
    wait(page, lambda _: "/private" in text(page, "uncached") and "B9" in text(page, "uncached"))
    total = proxy.request("GET", "/_cache/stats", {"Authorization": f"Bearer {TOKEN}"}).json()
    assert isinstance(total, dict)
    wait(page, lambda _: f"{total['requests']['total']:,} since the start" in text(page, "figures"))
    proxy.get("/page")
    wait(page, lambda _: f"{total['requests']['total'] + 1:,} since the start" in text(page, "figures"))
    wait(page, lambda _: page.find_elements("css selector", "#chart-rate canvas"))
    label = page.find_element("id", "chart-latency").get_attribute("aria-label")
    assert label.startswith("Latency now: p50")
    assert "/page" in text(page, "paths")
    assert "anonymous" in text(page, "roles")
    assert errors(page) == []


def test_the_token_is_in_memory_only(page: Any, proxy: ProxyProcess) -> None:
    held = page.execute_script(
        "return JSON.stringify([document.cookie, {...localStorage}, {...sessionStorage}, location.href, "
        "document.documentElement.outerHTML, document.getElementById('token').value])"
    )
    assert TOKEN not in held
    page.refresh()
    wait(page, lambda _: page.find_element("id", "token").is_displayed())
    assert not page.find_element("id", "board").is_displayed()


def test_a_wrong_token_is_refused_with_words(browser: Any, proxy: ProxyProcess) -> None:
    browser.get(f"http://127.0.0.1:{proxy.port}/_cache/")
    wait(browser, lambda _: browser.find_element("id", "token").is_displayed())
    for wrong in ("wrong\n", "ä€\n"):
        browser.find_element("id", "token").send_keys(wrong)
        wait(browser, lambda _: "token" in text(browser, "sign-in-error"))
    assert not browser.find_element("id", "board").is_displayed()


def test_keys_are_found_looked_into_and_invalidated(page: Any, proxy: ProxyProcess) -> None:
    proxy.get("/other", **{"Accept-Language": "de"})
    [row] = search(page, "/oth")
    assert row.split() == ["cache:GET:anonymous:/other", "anonymous", "200", *row.split()[3:]]
    assert row.split()[-1] == "2"
    assert len(search(page, "/page")) == 1
    click(page, "#keys tbody button")
    wait(page, lambda _: page.find_element("id", "entry").is_displayed())
    assert text(page, "entry-key") == "cache:GET:anonymous:/page"
    assert text(page, "entry-body") == "hello"
    assert "max-age=600" in text(page, "entry-fields")
    click(page, "#entry-invalidate")
    wait(page, lambda _: "invalidated 1 key" in text(page, "entry-status"))
    page.find_element("id", "entry-close").click()
    wait(page, lambda _: "admin at 127.0.0.1" in text(page, "invalidations"))
    assert proxy.get("/page").cache == "MISS"


def test_a_pattern_is_previewed_and_then_invalidated(page: Any, proxy: ProxyProcess) -> None:
    fill(page, "invalidate-what", "cache:GET:*:/pa*")
    click(page, "#invalidate-preview")
    wait(page, lambda _: "This would invalidate 1 keys." in text(page, "invalidate-result"))
    assert "cache:GET:anonymous:/page" in text(page, "invalidate-result")
    assert proxy.get("/page").cache == "HOT_HIT"
    click(page, "#invalidate-form button[type=submit]")
    wait(page, lambda _: "invalidated 1 key" in text(page, "invalidate-result"))
    assert proxy.get("/page").cache == "MISS"


def test_tags_and_soft(page: Any, proxy: ProxyProcess, backend: LiveBackend) -> None:
    fields = (("Cache-Control", "max-age=600"), ("Surrogate-Key", "item-1 item-2"), ("Content-Type", "text/plain"))
    backend.on("/tagged", answer(b"t", 200, *fields))
    proxy.get("/tagged")
    assert len(search(page, "/tagged")) == 1
    click(page, "#keys tbody button")
    wait(page, lambda _: text(page, "entry-body") == "t")
    click(page, "#entry-soft")
    wait(page, lambda _: "marked as stale 1 key" in text(page, "entry-status"))
    page.find_element("id", "entry-close").click()
    assert proxy.get("/tagged").cache != "HOT_HIT"
    assert proxy.get("/tagged").cache == "HOT_HIT"
    click(page, "#invalidate-form input[value=tag]")
    fill(page, "invalidate-what", "item-2")
    click(page, "#invalidate-preview")
    wait(page, lambda _: "This would invalidate 1 keys." in text(page, "invalidate-result"))
    assert "cache:GET:anonymous:/tagged" in text(page, "invalidate-result")
    assert proxy.get("/tagged").cache == "HOT_HIT"
    click(page, "#invalidate-form button[type=submit]")
    wait(page, lambda _: "invalidated 1 key" in text(page, "invalidate-result"))
    wait(page, lambda _: "tags item-2" in text(page, "invalidations") and "(soft)" in text(page, "invalidations"))
    assert proxy.get("/tagged").cache == "MISS"


def test_why(page: Any) -> None:
    fill(page, "why-url", "/page")
    fill(page, "why-headers", "Cookie: sid=1\nAccept-Language: de")
    click(page, "#why-form button[type=submit]")
    wait(page, lambda _: text(page, "why-result").startswith("BYPASS"))
    assert "IGNORED_COOKIES" in text(page, "why-result")
    fill(page, "why-url", "/pa ge")
    click(page, "#why-form button[type=submit]")
    wait(page, lambda _: '"url" must be' in text(page, "why-result"))


def test_nothing_that_is_cached_can_run(page: Any, proxy: ProxyProcess, backend: LiveBackend) -> None:
    """Markup in a key, a field, a body, a path that is not cached, a pattern and a role."""
    target = "/evil?<img/src=x/onerror=window.hit=1><script>window.hit=1</script>"
    fields = (("Cache-Control", "max-age=600"), ("X-Evil", EVIL), ("Content-Type", "text/html"))
    backend.on(target, answer(EVIL.encode(), 200, *fields))
    backend.on("/private" + target, answer(b"", 200, ("Cache-Control", "private")))
    proxy.get(target)
    proxy.get("/private" + target)
    [row] = search(page, "/evil")
    assert "<script>" in row
    click(page, "#keys tbody button")
    wait(page, lambda _: text(page, "entry-body") == EVIL)
    assert EVIL in text(page, "entry-fields")
    page.find_element("id", "entry-close").click()
    body = {"pattern": "cache:" + EVIL}
    fields_ = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    assert proxy.request("POST", "/invalidate", fields_, json.dumps(body).encode()).status == 200
    wait(page, lambda _: EVIL in text(page, "invalidations") and "/private/evil" in text(page, "uncached"))
    fill(page, "invalidate-what", "cache:*<script>*")
    click(page, "#invalidate-preview")
    wait(page, lambda _: "<script>" in text(page, "invalidate-result"))
    fill(page, "why-url", target)
    click(page, "#why-form button[type=submit]")
    wait(page, lambda _: text(page, "why-result").startswith("HOT_HIT"))
    assert page.execute_script("return window.hit ?? null") is None
    assert page.find_elements("css selector", "main img, main script, dialog img, dialog script") == []
    assert errors(page) == []


def test_the_policy_stops_what_is_inline_or_from_elsewhere(page: Any) -> None:
    blocked = page.execute_async_script(
        """const done = arguments[arguments.length - 1], seen = [];
        addEventListener('securitypolicyviolation', (event) => seen.push(event.effectiveDirective));
        const script = document.createElement('script');
        try { script.textContent = 'window.hit = 1'; document.body.append(script); } catch { seen.push('refused'); }
        const image = new Image(); image.src = 'http://192.0.2.1/x.png';
        fetch('http://192.0.2.1/').catch(() => 0);
        setTimeout(() => done([window.hit ?? null, seen]), 300);"""
    )
    assert blocked[0] is None
    assert {"connect-src", "img-src"} <= set(blocked[1])
    page.get_log("browser")


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False), (390, True)])
def test_everybody_can_use_it(proxy: ProxyProcess, axe: str, width: int, dark: bool) -> None:
    driver = make_driver(width, 844, dark)
    try:
        driver.get(f"http://127.0.0.1:{proxy.port}/_cache/")
        wait(driver, lambda _: driver.find_element("id", "token").is_displayed())
        assert violations(driver, axe) == []
        for target in ("/page", "/private"):
            proxy.get(target)
        signed_in(driver, proxy)
        search(driver, "/page")
        fill(driver, "why-url", "/page")
        click(driver, "#why-form button[type=submit]")
        wait(driver, lambda _: text(driver, "why-result"))
        wait(driver, lambda _: "/private" in text(driver, "uncached"))
        assert violations(driver, axe) == []
        overflow = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert driver.execute_script(overflow) <= 0
        click(driver, "#keys tbody button")
        wait(driver, lambda _: driver.find_element("id", "entry").is_displayed())
        assert violations(driver, axe) == []
    finally:
        driver.quit()


def test_the_keyboard_suffices(page: Any, proxy: ProxyProcess) -> None:
    from selenium.webdriver.common.keys import Keys

    assert page.switch_to.active_element.get_attribute("id") == "content"
    page.find_element("id", "keys-search").send_keys("/page" + Keys.ENTER)
    wait(page, lambda _: "1 keys" in text(page, "keys-count"))
    page.find_element("css selector", "#keys tbody button").send_keys(Keys.ENTER)
    wait(page, lambda _: page.find_element("id", "entry").is_displayed())
    page.switch_to.active_element.send_keys(Keys.ESCAPE)
    wait(page, lambda _: not page.find_element("id", "entry").is_displayed())
    assert page.switch_to.active_element.get_attribute("data-key") == "cache:GET:anonymous:/page"


def test_open_endpoints_need_no_sign_in(browser: Any, start_proxy: StartProxy, backend: LiveBackend) -> None:
    opened = start_proxy(BACKEND_URL=backend.url, ADMIN_AUTH="none", LOG_LEVEL="error")
    browser.get(f"http://127.0.0.1:{opened.port}/_cache/")
    wait(browser, lambda _: text(browser, "connection") == "Live")
    assert opened.stop() == 0
    wait(browser, lambda _: text(browser, "connection") != "Live")


def test_without_a_token_the_page_says_how_to_enable_it(
    browser: Any, start_proxy: StartProxy, backend: LiveBackend
) -> None:
    closed = start_proxy(BACKEND_URL=backend.url, LOG_LEVEL="error")
    browser.get(f"http://127.0.0.1:{closed.port}/_cache/")
    wait(browser, lambda _: "set ADMIN_TOKEN" in text(browser, "sign-in-error"))


def test_no_file_of_the_page_names_another_origin() -> None:
    from caching_proxy.web.dashboard import __file__ as home

    for path in (Path(home).parent / "files").iterdir():
        if path.suffix in (".html", ".css", ".js") and not path.name.startswith("uPlot"):
            assert "//" not in path.read_text().replace("http://www.w3.org/2000/svg", "").replace("// ", ""), path.name
