"""The running proxy: what is opened at start, in which order it closes, and what SIGHUP does.

Stopping: no new connections; idle ones close; requests under way may finish within the grace time; then pending
store writes, the backend's connections and the store. Each step waits for the one before.
"""

from __future__ import annotations

import signal
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from caching_proxy.compose import Proxy
from caching_proxy.wire.listener import Listener, listen


class ProxyService(Service):
    """Runs a composed proxy on ``reactor``."""

    _log = Logger()

    def __init__(self, reactor: Any, proxy: Proxy) -> None:
        self._reactor = reactor
        self._proxy = proxy
        self._listeners: list[Listener] = []
        self._starting: Deferred[None] | None = None
        self.failed = False

    def startService(self) -> None:
        Service.startService(self)
        self._proxy.store.start()
        self._starting = Deferred.fromCoroutine(self._listen()).addErrback(self._not_listening)
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self._proxy.rules.reload))

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _listen(self) -> None:
        settings, proxy = self._proxy.settings, self._proxy
        self._listeners.append(
            await listen(self._reactor, settings.listen or (settings.host, settings.port), proxy.site)
        )
        if proxy.admin_site is not None and settings.admin_port is not None:
            admin_at = (settings.admin_host, settings.admin_port)
            self._listeners.append(await listen(self._reactor, admin_at, proxy.admin_site))
        addresses = ", ".join(listener.address for listener in self._listeners)
        self._log.info("listening on {addresses}", addresses=addresses, backend=settings.backend_url)

    def _not_listening(self, failure: Any) -> None:
        failure.trap(CannotListenError, ValueError)
        self._log.critical("cannot listen: {reason}", reason=failure.getErrorMessage())
        self.failed = True
        self._reactor.callWhenRunning(self._reactor.stop)

    async def _stop(self) -> None:
        proxy = self._proxy
        proxy.readiness.draining = True
        if self._starting is not None:
            await self._starting
        for listener in self._listeners:
            await listener.stop_accepting()
        for site in (proxy.site, proxy.admin_site):
            if site is not None:
                await site.connections.drain(proxy.settings.shutdown_grace_seconds)
        proxy.invalidator.stop()
        await proxy.writer.drain()
        await proxy.upstream.stop()
        await proxy.store.stop()
        proxy.access.stop()
        self._log.info("stopped")
