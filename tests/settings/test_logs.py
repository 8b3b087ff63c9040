"""Log lines: shape, levels, redaction."""

from __future__ import annotations

import io
import json
import warnings

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from caching_proxy.settings.load import load
from caching_proxy.settings.model import Settings
from caching_proxy.telemetry.access_log import FLUSH_SECONDS, MOST_WAITING, AccessLog, make_access_log
from caching_proxy.telemetry.logs import make_observer
from caching_proxy.telemetry.redaction import target_without_secrets, text_without_secrets

SETTINGS: Settings = load({"BACKEND_URL": "http://backend"}, {}, {})[0]
DEVELOPMENT = attrs.evolve(SETTINGS, app_env="development")


class Logged:
    """A logger whose lines end up in ``text``."""

    def __init__(self, settings: Settings, namespace: str = "caching_proxy.test") -> None:
        self.stream = io.StringIO()
        write = make_observer(settings, self.stream)
        self.log = Logger(namespace=namespace, observer=lambda event: write({**event, "log_time": 0.25}))

    @property
    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


def _failure(text: str) -> Failure:
    try:
        raise ValueError(text)
    except ValueError:
        return Failure()


def test_a_json_line() -> None:
    logged = Logged(SETTINGS)
    logged.log.info("{size} of\n{bound}", size=1, bound=2, fields={"requestId": "r1", "level": "forged"})
    assert logged.lines == [
        {
            "time": "1970-01-01T00:00:00.250Z",
            "level": "info",
            "msg": "1 of\n2",
            "logger": "caching_proxy.test",
            "requestId": "r1",
        }
    ]


LEVELS = [
    ("info", ["info", "warn", "error", "fatal"]),
    ("trace", ["trace", "debug", "info", "warn", "error", "fatal"]),
    ("debug", ["debug", "info", "warn", "error", "fatal"]),
    ("fatal", ["fatal"]),
]


@pytest.mark.parametrize(("level", "seen"), LEVELS, ids=[level for level, _ in LEVELS])
def test_levels(level: str, seen: list[str]) -> None:
    logged = Logged(attrs.evolve(SETTINGS, log_level=level))
    logged.log.debug("x", trace=True)
    for each in (LogLevel.debug, LogLevel.info, LogLevel.warn, LogLevel.error, LogLevel.critical):
        logged.log.emit(each, "x")
    assert [line["level"] for line in logged.lines] == seen


@pytest.mark.parametrize(
    ("namespace", "message"),
    [
        ("twisted.internet.base", "Received SIGTERM"),
        ("log_legacy", "chatter"),
        ("caching_proxy.wire", "Starting factory {factory!r}"),
    ],
    ids=["twisted", "legacy", "factory"],
)
def test_remarks_of_twisted_are_debug(namespace: str, message: str) -> None:
    logged = Logged(attrs.evolve(SETTINGS, log_level="debug"), namespace)
    logged.log.info(message, factory=1)
    assert [line["level"] for line in logged.lines] == ["debug"]


def test_a_failure_is_one_line_without_internals() -> None:
    logged = Logged(SETTINGS)
    logged.log.failure("while serving", _failure("broken\nthing"))
    [line] = logged.lines
    assert (line["level"], line["msg"], line["error"]) == ("error", "while serving", "ValueError: broken\nthing")
    assert "stack" not in line


def test_a_failure_has_its_stack_at_debug() -> None:
    logged = Logged(attrs.evolve(SETTINGS, log_level="debug"))
    logged.log.failure("while serving", _failure("broken"))
    assert "Traceback" in str(logged.lines[0]["stack"])


def test_a_python_warning_is_a_warning() -> None:
    stream = io.StringIO()
    observer = make_observer(SETTINGS, stream)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.warn("careful", UserWarning, stacklevel=1)
    event = {
        "log_time": 0.0,
        "log_namespace": "log_legacy",
        "warning": caught[0].message,
        "category": "builtins.UserWarning",
    }
    observer(event)
    line = json.loads(stream.getvalue())
    assert (line["level"], line["msg"]) == ("warn", "UserWarning: careful")


def test_secrets_in_messages_are_hidden() -> None:
    logged = Logged(SETTINGS)
    logged.log.failure("asking redis://u:hunter2@h with Bearer hunter2-x", _failure("GET /a?token=hunter2&b=1"))
    assert "hunter2" not in logged.stream.getvalue()
    assert "b=1" in logged.stream.getvalue()


def test_a_field_that_json_does_not_know() -> None:
    logged = Logged(SETTINGS)
    logged.log.info("x", fields={"raw": b"\xff", "at": {1}})
    assert (logged.lines[0]["raw"], logged.lines[0]["at"]) == ("b'\\xff'", "{1}")


def test_a_development_line() -> None:
    logged = Logged(DEVELOPMENT)
    logged.log.warn("two\nlines", fields={"n": 1})
    assert logged.stream.getvalue() == (
        "\x1b[90m00:00:00.250\x1b[0m \x1b[33mWARN \x1b[0m caching_proxy.test: two lines n=1\n"
    )


def test_a_development_line_cannot_steer_a_terminal() -> None:
    logged = Logged(DEVELOPMENT)
    logged.log.info("{text}", text="\x1b]0;title\x07")
    assert logged.stream.getvalue().endswith(": \\x1b]0;title\\x07\n")


def test_a_development_failure_shows_its_stack() -> None:
    logged = Logged(DEVELOPMENT)
    logged.log.failure("oh", _failure("broken"))
    first, *rest = logged.stream.getvalue().splitlines()
    assert first.endswith("oh (ValueError: broken)")
    assert rest[0] == "    Traceback (most recent call last):"


# -- access lines ----------------------------------------------------------------------------------


def _access(clock: Clock, development: bool = False) -> tuple[AccessLog, io.StringIO]:
    stream = io.StringIO()
    return AccessLog(stream, True, clock, development), stream


def test_an_access_line() -> None:
    clock = Clock()
    clock.advance(1.25)
    access, stream = _access(clock)
    access.log(b"GET", b'/a"b?x=1', 200, "HOT_HIT", "admin", 0.0012345, "r1")
    assert stream.getvalue() == ""
    clock.advance(FLUSH_SECONDS)
    assert json.loads(stream.getvalue()) == {
        "time": "1970-01-01T00:00:01.250Z",
        "level": "info",
        "msg": "request",
        "logger": "access",
        "method": "GET",
        "path": '/a"b?x=1',
        "status": 200,
        "cacheStatus": "HOT_HIT",
        "role": "admin",
        "durationMs": 1.234,
        "requestId": "r1",
    }
    assert clock.getDelayedCalls() == []


def test_one_timer_for_many_lines() -> None:
    clock = Clock()
    access, stream = _access(clock)
    for _ in range(10):
        access.log(b"GET", b"/", 200, "HIT", "anonymous", 0.1, "r")
    assert len(clock.getDelayedCalls()) == 1
    access.stop()
    assert (len(stream.getvalue().splitlines()), clock.getDelayedCalls()) == (10, [])


def test_waiting_lines_are_bounded() -> None:
    access, stream = _access(Clock())
    for _ in range(MOST_WAITING):
        access.log(b"GET", b"/", 200, "HIT", "anonymous", 0.1, "r")
    assert stream.getvalue().count("\n") == MOST_WAITING
    access.stop()


@pytest.mark.parametrize(
    ("changes", "lines"),
    [({}, 1), ({"access_log": False}, 0), ({"log_level": "warn"}, 0), ({"log_level": "debug"}, 1)],
    ids=["default", "off", "warn", "debug"],
)
def test_when_access_is_logged(changes: dict[str, str | bool], lines: int) -> None:
    stream = io.StringIO()
    access = make_access_log(attrs.evolve(SETTINGS, **changes), stream, Clock())
    access.log(b"GET", b"/", 200, "HIT", "anonymous", 0.1, "r")
    access.stop()
    assert stream.getvalue().count("\n") == lines


def test_a_development_access_line_cannot_steer_a_terminal() -> None:
    access, stream = _access(Clock(), development=True)
    access.log(b"GET", b"/\x1b]0;x\x07", 200, "HIT", "anonymous", 0.0015, "r1")
    access.stop()
    assert stream.getvalue().endswith("access: GET /\\u001b]0;x\\u0007 200 HIT anonymous 1.5ms r1\n")


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.binary(max_size=30), st.binary(max_size=30), st.text(max_size=10))
def test_every_access_line_is_one_json_object(method: bytes, target: bytes, text: str) -> None:
    access, stream = _access(Clock())
    access.log(method, target, 200, text, text, 0.1, text)
    access.stop()
    assert stream.getvalue().count("\n") == 1
    assert json.loads(stream.getvalue())["role"] == text


TARGETS = [
    (b"/a?token=x", b"/a?token=***"),
    (b"/a?access_token=x&b=1", b"/a?access_token=***&b=1"),
    (b"/a?b=1;Password=x", b"/a?b=1;Password=***"),
    (b"/a?api_key=x&apikey=y&api-key=z", b"/a?api_key=***&apikey=***&api-key=***"),
    (b"/a?client_secret=x", b"/a?client_secret=***"),
    (b"/a?code=x&state=1", b"/a?code=***&state=1"),
    (b"/a?X-Amz-Signature=x", b"/a?X-Amz-Signature=***"),
    (b"/a?sig=x", b"/a?sig=***"),
    (b"/a?%74oken=x", b"/a?%74oken=***"),
    (b"/a?user[password]=x", b"/a?user[password]=***"),
    (b"/a?token", b"/a?token"),
    (b"/a?design=1&page=2", b"/a?design=1&page=2"),
    (b"/token=x", b"/token=x"),
]


@pytest.mark.parametrize(("target", "shown"), TARGETS, ids=[target.decode() for target, _ in TARGETS])
def test_targets(target: bytes, shown: bytes) -> None:
    assert target_without_secrets(target) == shown


@settings(deadline=None, derandomize=True, max_examples=200)
@given(st.text(max_size=60))
def test_redaction_never_raises(text: str) -> None:
    assert isinstance(text_without_secrets(text), str)
    assert isinstance(target_without_secrets(text.encode("utf-8", "surrogatepass")), bytes)
