"""What every test gets: the plugins, a failure on errors logged and not expected, and Hypothesis without deadlines."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from twisted.logger import ILogObserver, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

sys.path.insert(0, str(Path(__file__).parent))

pytest_plugins = ["support.redis_server", "support.proxy_process", "support.redis_cluster"]

STARTS_SOMETHING = {"redis_server", "shared_cluster", "shared_redis", "start_proxy"}
"""Fixtures that start a server or a process: a test that has one is live, wherever it stands."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if STARTS_SOMETHING.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.live)


def pytest_collection_finish() -> None:
    """Spare the collector of garbage what was made of ten thousand tests and stays: a tenth of the time and more."""
    gc.collect()
    gc.freeze()


settings.register_profile("suite", deadline=None, derandomize=True, print_blob=False)
settings.load_profile("suite")


@implementer(ILogObserver)
class LoggedErrors:
    """Errors and worse that were logged during a test."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def __call__(self, event: dict[str, object]) -> None:
        level = event.get("log_level")
        if level in (LogLevel.error, LogLevel.critical):
            self.events.append(
                f"{event.get('log_namespace')}: {event.get('log_format')} {event.get('log_failure', '')}"
            )

    def flush(self) -> list[str]:
        """The errors so far; they no longer fail the test."""
        events, self.events = self.events, []
        return events


@pytest.fixture
def logged_lines() -> Iterator[list[tuple[str, str]]]:
    """Level and text of what is logged from ``info`` up."""
    lines: list[tuple[str, str]] = []

    def observe(event: dict[str, object]) -> None:
        level = event.get("log_level")
        if level is not LogLevel.debug:
            lines.append((getattr(level, "name", ""), formatEvent(event)))

    globalLogPublisher.addObserver(observe)  # type: ignore[arg-type]
    yield lines
    globalLogPublisher.removeObserver(observe)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def logged_errors() -> Iterator[LoggedErrors]:
    """Fails the test on a logged error that it did not flush."""
    observer = LoggedErrors()
    globalLogPublisher.addObserver(observer)
    yield observer
    globalLogPublisher.removeObserver(observer)
    assert not observer.events, "errors were logged: " + "; ".join(observer.events)
