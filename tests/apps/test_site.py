"""The site of the documents: diagrams are drawn, and no page loads anything from elsewhere."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from apps.running import program, running
from support.browser import errors, make_driver, wait
from support.proxy_process import ROOT, free_port

FOREIGN = (
    "return performance.getEntriesByType('resource').map((each) => each.name)"
    ".filter((name) => new URL(name).host !== location.host)"
)


@pytest.fixture
def browser() -> Iterator[Any]:
    driver = make_driver()
    yield driver
    driver.quit()


def test_the_site_stands_on_its_own(browser: Any, tmp_path: Path) -> None:
    program("npm", "npm")
    made = subprocess.run(["make", "-s", "docs-site"], cwd=ROOT, capture_output=True, text=True, timeout=400)
    assert made.returncode == 0, made.stderr
    pages = sorted(path.name for path in (ROOT / "site").glob("*.html"))
    assert "applications.html" in pages
    port = free_port()
    serve = [sys.executable, "-m", "http.server", str(port), "-b", "127.0.0.1", "-d", str(ROOT / "site")]
    with running(serve, port, tmp_path):
        for page in pages:
            browser.get(f"http://127.0.0.1:{port}/{page}")
            assert browser.execute_script(FOREIGN) == [], page
        browser.get(f"http://127.0.0.1:{port}/architecture.html")
        drawn = wait(browser, lambda each: each.find_element("css selector", "div.mermaid"))
        assert drawn.size["height"] > 100
        assert not browser.find_elements("css selector", "pre.mermaid")
        assert errors(browser) == []
