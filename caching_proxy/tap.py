"""``twistd cachingproxy``: options to a service. The only module that touches the global reactor."""

from __future__ import annotations

import os
import sys
from typing import cast

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
    from caching_proxy.reactors import exit_cleanly
    from caching_proxy.service import ProxyService

    stream = log_stream(server_options(options))
    top = LoggedService(make_observer(options.settings, stream) if stream is not None else None)
    try:
        proxy = compose(reactor, options.settings, stream or sys.stdout, os.urandom)
    except ValueError as problem:  # RulesError, KeyConfigError and bad URLs among them
        fail(problem)
    for warning in options.warnings:
        _log.warn("{warning}", warning=warning)
    exit_cleanly(reactor)
    top.addService(ProxyService(reactor, proxy))
    return cast("IService", top)
