"""Where log lines go, and how they take over under ``twistd``: as a component of the application that it builds.

``twistd`` asks the application for an ``ILogObserver`` after ``makeService`` and before it starts; a service learns
of its application when it is given its parent. A user's ``--logger`` or ``--syslog`` still wins. What the lines look
like stands in :mod:`caching_proxy.telemetry.log_lines` and :mod:`caching_proxy.telemetry.access_log`, how they are
written in :mod:`caching_proxy.telemetry.log_writer`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from twisted.application.service import IServiceCollection, MultiService
from twisted.logger import ILogObserver, globalLogBeginner
from twisted.python.components import Componentized

from caching_proxy.settings.parsers import SettingsError
from caching_proxy.settings.unopened import LOG_FILE_ALLOWED, ROTATED_ALLOWED, STANDARD_OUTPUTS
from caching_proxy.telemetry.access_log import AccessLog, make_access_log
from caching_proxy.telemetry.log_file import LogFile
from caching_proxy.telemetry.log_lines import SEVERITY, LineObserver, development_line, json_line
from caching_proxy.telemetry.log_output import DescriptorOutput
from caching_proxy.telemetry.log_writer import LineSink, LogWriter

if TYPE_CHECKING:
    from caching_proxy.settings.model import Settings

__all__ = [
    "AccessLog",
    "LoggedService",
    "log_elsewhere",
    "make_access_log",
    "make_observer",
    "open_log",
    "shared_log",
    "start_logging",
]

DAEMON_FILE = "twistd.log"

_STDERR = "/dev/stderr"


def make_observer(settings: Settings, sink: LineSink) -> LineObserver:
    """The observer that ``APP_ENV`` and ``LOG_LEVEL`` ask for."""
    if settings.development:
        return LineObserver(sink, settings.log_level, development_line)
    with_stack = SEVERITY[settings.log_level] <= SEVERITY["debug"]
    return LineObserver(sink, settings.log_level, lambda event, level: json_line(event, level, with_stack))


def start_logging(settings: Settings, sink: LineSink) -> None:
    """Log to ``sink`` from now on, also what others print, for programs that ``twistd`` does not run."""
    globalLogBeginner.beginLoggingTo([make_observer(settings, sink)])


def log_elsewhere(server_options: Mapping[str, object]) -> bool:
    """Whether a flag of ``twistd`` takes all lines but the access log's."""
    return bool(server_options.get("logger") or server_options.get("syslog"))


def open_log(settings: Settings, server_options: Mapping[str, object]) -> LogWriter:
    """The log that ``LOG_FILE`` names, else ``twistd``'s flags: stdout with ``-n``, a file for a daemon.

    Call it before logging begins: afterwards ``sys.stdout`` leads back into the log.

    Raises:
        SettingsError: it cannot be written.
    """
    daemon = not server_options.get("nodaemon", True)
    variable, name = _name(settings, server_options, daemon)
    if name is None or name in STANDARD_OUTPUTS:
        if daemon and name is not None:
            raise SettingsError(variable, name, "a file, as a daemon has neither stdout nor stderr")
        return _standard(name, settings.workers > 1)
    path = os.path.abspath(name)  # a daemon may change its directory
    log = _file(settings, variable, name, path)
    if (uid := server_options.get("uid")) is not None:  # who is to write to it later
        gid = server_options.get("gid")
        log.belong(int(str(uid)), -1 if gid is None else int(str(gid)))
    return LogWriter(log, path=path)


def shared_log(settings: Settings, path: str | None) -> LogWriter:
    """The log of a worker, beside others: the file at ``path``, else the stdout that they have in common.

    Raises:
        SettingsError: the file cannot be written.
    """
    if path is None or path == _STDERR:
        return _standard(path, True)
    return LogWriter(_file(settings, "LOG_FILE", path, path), path=path)


def _name(settings: Settings, server_options: Mapping[str, object], daemon: bool) -> tuple[str, str | None]:
    """The variable or flag that decides, and the file's name; None for stdout."""
    if settings.log_file:
        return "LOG_FILE", settings.log_file
    if (name := server_options.get("logfile")) and not (name == "-" and not daemon):
        return "--logfile", str(name)
    return "LOG_FILE", DAEMON_FILE if daemon else None


def _standard(name: str | None, shared: bool) -> LogWriter:
    """Stdout or stderr. One that was closed at the start gets nothing: its number is another file's by now."""
    stream, path = (sys.stderr, name) if name == _STDERR else (sys.stdout, None)
    if stream is None:
        return LogWriter(DescriptorOutput(os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)), path=path)
    return LogWriter(DescriptorOutput(stream.fileno(), shared), stream.encoding, path)


def _file(settings: Settings, variable: str, name: str, path: str) -> LogFile:
    try:
        log = LogFile(path, settings.log_rotate_bytes, settings.log_keep)
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or problem
        raise _refusal(settings, variable, name, f"{LOG_FILE_ALLOWED} ({reason})") from None
    if settings.log_rotate_bytes and log.rotates and not os.access(Path(log.path).parent, os.W_OK | os.X_OK):
        log.close()
        allowed = f"{ROTATED_ALLOWED} (Permission denied)"
        raise _refusal(settings, variable, name, allowed)
    return log


def _refusal(settings: Settings, variable: str, name: str, allowed: str) -> SettingsError:
    if variable == "LOG_FILE" and not settings.log_file:
        return SettingsError(variable, None, f"{allowed}, as a daemon without it logs to {name}")
    return SettingsError(variable, name, allowed)


class LoggedService(MultiService):
    """The top service: installs ``observer`` as the application's one observer, and has ``log`` written."""

    def __init__(self, observer: ILogObserver | None, log: LogWriter) -> None:
        MultiService.__init__(self)
        self._observer = observer
        self._log = log

    def setServiceParent(self, parent: IServiceCollection) -> None:
        if self._observer is not None and isinstance(parent, Componentized):
            _set_component(parent, self._observer)
        MultiService.setServiceParent(self, parent)

    def privilegedStartService(self) -> None:
        self._log.start()  # now a daemon has forked
        MultiService.privilegedStartService(self)


def _set_component(application: Componentized, observer: ILogObserver) -> None:
    application.setComponent(ILogObserver, observer)
