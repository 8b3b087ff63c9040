"""``twistd cachingproxy``: options to a service. The only module that touches the global reactor."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn, cast

from twisted.application.service import IService
from twisted.logger import Logger

from caching_proxy.logs import LoggedService, log_stream, make_observer
from caching_proxy.options import Options, fail, server_options

__all__ = ["Options", "makeService"]

_log = Logger()


def makeService(options: Options) -> IService:
    """The proxy as a service; ends the program with one line for settings that cannot work."""
    from twisted.internet import reactor  # only now: the options have chosen one

    from caching_proxy.compose import compose
    from caching_proxy.garbage import relax_collector
    from caching_proxy.reactors import exit_cleanly
    from caching_proxy.service import ProxyService

    flags = server_options(options)
    stream = log_stream(flags)
    top = LoggedService(make_observer(options.settings, stream) if stream is not None else None)
    try:
        proxy = compose(reactor, options.settings, stream or sys.stdout, os.urandom)
    except ValueError as problem:  # RulesError, KeyConfigError and bad URLs among them
        fail(problem)
    for warning in options.warnings:
        _log.warn("{warning}", warning=warning)
    exit_cleanly(reactor)
    reactor.callWhenRunning(relax_collector)
    top.addService(ProxyService(reactor, proxy, lambda problem: _give_up(problem, flags)))
    return cast("IService", top)


def _give_up(problem: Exception, flags: Mapping[str, object]) -> NoReturn:
    """End the program with status 1; what is wrong has been logged.

    A daemon raises the problem: ``twistd`` hands its line to the parent, which prints it and exits with status 1. In
    the foreground ``twistd`` would answer it with a traceback.
    """
    if not flags.get("nodaemon"):
        raise problem
    if pidfile := flags.get("pidfile"):
        Path(str(pidfile)).unlink(missing_ok=True)
    raise SystemExit(1)
