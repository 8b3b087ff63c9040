"""The running proxy: what is opened at start, in which order it closes, and what SIGHUP does.

Starting: sockets are bound before privileges are shed (``twistd --uid``) and before anything else begins, so a port
that is taken ends the program at once.

Stopping: for ``DRAIN_DELAY_SECONDS`` only ``/ready`` changes, so that balancers can look elsewhere; then no new
connections; idle ones close; requests under way may finish within the grace time, and so may what
they left behind: fetches for the cache, invalidations, writes to the store. Each step waits for the one before.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any, NoReturn

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, TimeoutError
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from caching_proxy.app.compose import Proxy
from caching_proxy.app.store_parts import not_writable
from caching_proxy.app.systemd import SILENT, Notifier
from caching_proxy.server.listener import Listener, listen
from caching_proxy.settings.listen_errors import listener_refused
from caching_proxy.settings.parsers import SettingsError

LAST_SECONDS = 1.0
"""What each step of stopping may take even when the grace time is over."""


class ProxyService(Service):
    """Runs a composed proxy on ``reactor``; ``give_up`` ends the program when it cannot start, ``notify`` tells the
    service manager how it goes."""

    delays = True
    """Whether ``DRAIN_DELAY_SECONDS`` is waited for at the end."""
    tells = True
    """Whether ``/ready`` says that the proxy is about to end."""
    linger_seconds = 0.0
    """For so long idle connections may bring a last request, at the end."""

    _log = Logger()

    def __init__(
        self, reactor: Any, proxy: Proxy, give_up: Callable[[SettingsError], NoReturn], notify: Notifier = SILENT
    ) -> None:
        self._notify = notify
        self._reactor = reactor
        self._proxy = proxy
        self._give_up = give_up
        self._listeners: list[Listener] = []
        self._opening: list[Deferred[None]] = []
        self._problem: SettingsError | None = None

    def privilegedStartService(self) -> None:
        Service.privilegedStartService(self)
        settings, proxy = self._proxy.settings, self._proxy
        self._open(settings.listen or (settings.host, settings.port), proxy.front)
        if proxy.admin_site is not None and settings.admin_port is not None:
            self._open((settings.admin_host, settings.admin_port), proxy.admin_site, "ADMIN_")
        if proxy.journal is not None:
            try:
                proxy.journal.open()
            except OSError as problem:
                self._problem = self._problem or not_writable(settings, problem)
        if self._problem is not None:
            self._give_up(self._problem)
        DeferredList(self._opening).addCallback(self._announce)

    def startService(self) -> None:
        Service.startService(self)
        self._proxy.store.start()
        if self._proxy.bus is not None:
            self._proxy.bus.start(self._proxy.heard, self._proxy.invalidator.forget)
        if self._proxy.journal is not None and self._proxy.journal.found:
            found = self._proxy.journal.found
            self._log.info("{n} invalidations of an earlier process are carried out now", n=len(found))
            self._proxy.invalidator.restore(found)
        self._proxy.verifier.start()
        self._proxy.followed.start()
        self._proxy.steps.start()
        self._proxy.lag.start()
        self._proxy.statistics.start()
        if self._proxy.certificates is not None:
            self._proxy.certificates.start()
        self._handle_signals()

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        self._notify.stopping()
        return Deferred.fromCoroutine(self._stop())

    def _handle_signals(self) -> None:
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, lambda *_: self._reactor.callFromThread(self._reload))

    def _listen(self, where: str | tuple[str, int], site: Factory, prefix: str) -> Deferred[Listener]:
        return listen(self._reactor, where, site)

    def _reload(self) -> None:
        """SIGHUP: what is in files is read anew."""
        self._notify.reloading()
        self._proxy.rules.reload()
        self._proxy.cache_rules.reload()
        if self._proxy.certificates is not None:
            self._proxy.certificates.reload()
        self._notify.ready()

    def _open(self, where: str | tuple[str, int], site: Factory, prefix: str = "") -> None:
        opening = self._listen(where, site, prefix)
        opened = opening.addCallbacks(self._listeners.append, self._cannot_listen, errbackArgs=(where, prefix))
        self._opening.append(opened)

    def _cannot_listen(self, failure: Failure, where: str | tuple[str, int], prefix: str) -> None:
        refusal = listener_refused(failure.value or RuntimeError("no reason given"), where, prefix)
        self._log.critical("cannot listen: {problem}", problem=str(refusal))
        self._problem = self._problem or refusal

    def _announce(self, _: object) -> None:
        addresses = ", ".join(listener.address for listener in self._listeners)
        self._log.info("listening on {addresses}", addresses=addresses)
        if self._problem is None:
            self._notify.ready()

    async def _stop(self) -> None:
        proxy, settings = self._proxy, self._proxy.settings
        proxy.readiness.draining = self.tells
        if settings.drain_delay_seconds and self.delays:
            self._log.info("draining: serving for {n} seconds more", n=settings.drain_delay_seconds)
            await deferLater(self._reactor, settings.drain_delay_seconds)
        grace = settings.shutdown_grace_seconds
        until = self._reactor.seconds() + grace
        await DeferredList(self._opening)
        await self._stop_accepting()
        proxy.streams.close()
        proxy.statistics.stop()
        sites = [site for site in (proxy.site, proxy.admin_site) if site is not None]
        await DeferredList([site.connections.drain(grace, None, self.linger_seconds) for site in sites])
        await self._in_time(proxy.upstream.stop(), until, "answers of the backend")
        await self._in_time(proxy.invalidator.settled(), until, "invalidations")
        proxy.invalidator.stop()
        await self._keep_what_is_pending(until)
        await self._in_time(proxy.writer.drain(), until, "writes to the store")
        if proxy.claims is not None:
            await self._in_time(proxy.claims.stop(), until, "its claims")
        if proxy.bus is not None:
            await self._in_time(proxy.bus.stop(), until, "the bus")
        await self._in_time(proxy.store.stop(), until, "connections to the store")
        proxy.verifier.stop()
        proxy.steps.stop()
        proxy.lag.stop()
        if proxy.certificates is not None:
            proxy.certificates.stop()
        proxy.access.stop()
        await self._in_time(proxy.followed.stop(), until, "the trace collector")
        self._log.info("stopped")

    async def _keep_what_is_pending(self, until: float) -> None:
        pending, journal = self._proxy.invalidator.pending, self._proxy.journal
        if journal is not None:
            kept: list[bool] = []
            keeping = journal.keep(()).addCallbacks(lambda _: kept.append(True), lambda _: None)
            await self._in_time(keeping, until, "the journal of invalidations")
            journal.stop()
            if kept and pending:
                self._log.info("{n} invalidations are left in STATE_DIR for the next start", n=pending)
                return
        if pending:
            self._log.warn("{n} invalidations never reached the store, and are lost", n=pending)

    async def _stop_accepting(self) -> None:
        await DeferredList([listener.stop_accepting() for listener in self._listeners])

    async def _in_time(self, ending: Deferred[None], until: float, what: str) -> None:
        """Wait for ``ending``, but not (much) longer than the grace time."""
        left = max(until - self._reactor.seconds(), LAST_SECONDS)
        try:
            await ending.addTimeout(left, self._reactor)
        except TimeoutError:
            self._log.warn("stopping without waiting any longer for {what}", what=what)
