"""Where log lines go, and how they take over under ``twistd``: as a component of the application that it builds.

``twistd`` asks the application for an ``ILogObserver`` after ``makeService`` and before it starts; a service learns
of its application when it is given its parent. A user's ``--logger`` or ``--syslog`` still wins. What the lines look
like stands in :mod:`caching_proxy.telemetry.log_lines` and :mod:`caching_proxy.telemetry.access_log`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, TextIO, cast

from twisted.application.service import IServiceCollection, MultiService
from twisted.logger import ILogObserver, globalLogBeginner
from twisted.python.components import Componentized
from twisted.python.logfile import LogFile

from caching_proxy.telemetry.access_log import AccessLog, make_access_log
from caching_proxy.telemetry.log_lines import SEVERITY, LineObserver, development_line, json_line

if TYPE_CHECKING:
    from caching_proxy.settings.model import Settings

__all__ = ["AccessLog", "LoggedService", "log_stream", "make_access_log", "make_observer", "start_logging"]

DEFAULT_FILE = "twistd.log"


def make_observer(settings: Settings, stream: TextIO) -> LineObserver:
    """The observer that ``APP_ENV`` and ``LOG_LEVEL`` ask for."""
    if settings.development:
        return LineObserver(stream, settings.log_level, development_line)
    with_stack = SEVERITY[settings.log_level] <= SEVERITY["debug"]
    return LineObserver(stream, settings.log_level, lambda event, level: json_line(event, level, with_stack))


def start_logging(settings: Settings, stream: TextIO) -> LineObserver:
    """Log to ``stream`` from now on, for programs that ``twistd`` does not run; stdout and stderr stay as they are."""
    observer = make_observer(settings, stream)
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)
    return observer


def log_stream(server_options: Mapping[str, object]) -> TextIO | None:
    """Where lines go, by ``twistd``'s flags: stdout with ``-n``, else a file; None where ``twistd`` logs itself.

    Call it before logging begins: afterwards ``sys.stdout`` leads back into the log.
    """
    if server_options.get("logger") or server_options.get("syslog"):
        return None
    name = str(server_options.get("logfile") or "")
    if name == "-" or (not name and server_options.get("nodaemon", True)):
        return sys.stdout
    return cast("TextIO", LogFile.fromFullPath(name or DEFAULT_FILE))


class LoggedService(MultiService):
    """The top service: installs ``observer`` as the application's one observer."""

    def __init__(self, observer: ILogObserver | None) -> None:
        MultiService.__init__(self)
        self._observer = observer

    def setServiceParent(self, parent: IServiceCollection) -> None:
        if self._observer is not None and isinstance(parent, Componentized):
            _set_component(parent, self._observer)
        MultiService.setServiceParent(self, parent)


def _set_component(application: Componentized, observer: ILogObserver) -> None:
    application.setComponent(ILogObserver, observer)
