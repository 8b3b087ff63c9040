"""``twistd cachingproxy``: options to a service. The only module that touches the global reactor."""

from __future__ import annotations

import atexit
import os
import textwrap
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, cast

import attrs
from twisted.application.service import IService
from twisted.logger import Logger

from caching_proxy.app.last_words import say
from caching_proxy.app.log_care import attend
from caching_proxy.app.options import Options, fail, server_options
from caching_proxy.app.sources import Recording, Sources
from caching_proxy.settings.parsers import SettingsError
from caching_proxy.telemetry.log_writer import LogWriter
from caching_proxy.telemetry.logs import LoggedService, log_elsewhere, make_observer, open_log
from caching_proxy.workers.output import Relay

__all__ = ["Options", "makeService"]

_log = Logger()

_REPORT_BYTES = 98
"""What a daemon may tell the ``twistd`` that waits for it: 100 bytes with the status before them."""


def makeService(options: Options) -> IService:
    """The proxy as a service; ends the program with one line for settings that cannot work."""
    from twisted.internet import reactor  # only now: the options have chosen one

    from caching_proxy.app.clocks import WallClock, count_monotonically
    from caching_proxy.app.compose import compose
    from caching_proxy.app.descriptors import fitted, raised_limit
    from caching_proxy.app.gc_tuning import tune_gc
    from caching_proxy.app.instruments import watch_log
    from caching_proxy.app.reactors import exit_cleanly
    from caching_proxy.app.service import ProxyService
    from caching_proxy.app.supervised import SupervisorService
    from caching_proxy.app.systemd import Notifier

    flags = server_options(options)
    elsewhere = log_elsewhere(flags)
    try:
        log = open_log(options.settings, flags)
        settings, cramped = fitted(options.settings, raised_limit())
        count_monotonically(reactor)
        wall, recording = WallClock(reactor), Recording()
        proxy = compose(reactor, settings, log, os.urandom, wall, recording)
    except (SettingsError, ValueError) as problem:  # KeyConfigError and bad URLs among them
        fail(problem)
    for warning in (*options.warnings, *cramped):
        _log.warn("{warning}", warning=warning)
    watch_log(proxy.metrics, log)
    attend(log, reactor)
    exit_cleanly(reactor)
    reactor.callWhenRunning(tune_gc)
    top = LoggedService(None if elsewhere else make_observer(settings, log), log)
    give_up, notify = partial(_give_up, flags=flags, log=log), Notifier(reactor, os.environ)
    if settings.workers == 1:
        top.addService(ProxyService(reactor, proxy, give_up, notify))
        return cast("IService", top)
    sources = attrs.evolve(options.sources, files=recording.files)
    check, relay = partial(_checked, reactor, log), Relay if elsewhere else None
    how = check, relay, log, proxy.metrics, give_up, partial(_end, reactor), notify
    top.addService(SupervisorService(reactor, settings, sources, *how))
    return cast("IService", top)


def _checked(reactor: Any, log: LogWriter, sources: Sources) -> Sources:
    """``sources`` with what their files hold; raises SettingsError or ValueError where no proxy can be made of them."""
    from caching_proxy.app.compose import compose

    settings, warnings = sources.settings()
    recording = Recording()
    compose(reactor, settings, log, read=recording)
    for warning in warnings:
        _log.warn("{warning}", warning=warning)
    return attrs.evolve(sources, files=recording.files)


def _end(reactor: Any, line: str) -> None:
    """End a program that runs, with status 1 and one line on stderr."""
    _log.critical("{line}", line=line)
    say(line)
    reactor.addSystemEventTrigger("after", "shutdown", atexit.register, os._exit, 1)
    reactor.stop()


def _give_up(problem: Exception, flags: Mapping[str, object], log: LogWriter) -> NoReturn:
    """End the program with status 1 and, on stderr, one line; what is wrong has been logged as well.

    The problem is not raised, since ``twistd`` would answer it with a traceback. A daemon has no stderr: it reports as
    ``twistd`` does, to the parent, which prints it and exits with status 1.
    """
    log.finish()
    line = " ".join(str(problem).split())
    pipe = flags.get("statusPipe")
    if isinstance(pipe, int):
        os.write(pipe, b"1 " + _report(line))
        os.close(pipe)
    else:
        say(line)
    if pidfile := flags.get("pidfile"):
        Path(str(pidfile)).unlink(missing_ok=True)
    raise SystemExit(1)


def _report(line: str) -> bytes:
    """``line`` as ASCII, cut between words where it is too long: what it lacks stands in the log."""
    plain = line.encode("ascii", "backslashreplace").decode("ascii")
    return textwrap.shorten(plain, _REPORT_BYTES, placeholder=" ...", break_on_hyphens=False).encode("ascii")
