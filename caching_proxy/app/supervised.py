"""``WORKERS`` above 1: the service that binds the ports, starts the workers and passes signals on to them."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from caching_proxy.app.sources import Sources
from caching_proxy.app.systemd import Notifier
from caching_proxy.settings import dotenv
from caching_proxy.settings.listen_errors import listener_refused
from caching_proxy.settings.model import Settings
from caching_proxy.settings.parsers import SettingsError
from caching_proxy.telemetry.log_writer import LogWriter
from caching_proxy.telemetry.metrics import Metrics
from caching_proxy.workers.archive import Archive
from caching_proxy.workers.frames import WorkerFrame, pieces
from caching_proxy.workers.output import Relay
from caching_proxy.workers.process import FIRST_SOCKET, OnEnded, Process
from caching_proxy.workers.sockets import SharedPort, share
from caching_proxy.workers.spares import Spares
from caching_proxy.workers.supervisor import LAST_SECONDS, Supervisor, Worker

MODULE = "caching_proxy.app.worker"


class SupervisorService(Service):
    """Runs as many workers as ``WORKERS`` says. ``check`` gives a proxy's sources what their files hold, or raises.

    ``relay`` makes what takes the lines of a worker, None if workers write where ``log`` does; ``give_up`` ends the
    program before it runs, ``end`` when it runs already. ``notify`` tells the service manager how it goes.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        sources: Sources,
        check: Callable[[Sources], Sources],
        relay: Callable[[], Relay] | None,
        log: LogWriter,
        metrics: Metrics,
        give_up: Callable[[SettingsError], NoReturn],
        end: Callable[[str], object],
        notify: Notifier,
    ) -> None:
        self._reactor = reactor
        self._settings = settings
        self._sources = sources
        self._check = check
        self._relay = relay
        self._writer = log
        self._give_up = give_up
        self._ports: dict[str, SharedPort] = {}
        self._opening: list[Deferred[None]] = []
        self._problem: SettingsError | None = None
        self._lifeline, self._hold = os.pipe()
        archive = Archive(lambda: metrics.snapshot("supervisor", 0))
        self._notify = notify
        self._supervisor = Supervisor(reactor, settings.workers, self._spawn, end, archive, self._settled)
        self._spares: Spares[Process] = Spares(reactor, settings.spare_workers, self._launch)

    def privilegedStartService(self) -> None:
        Service.privilegedStartService(self)
        settings = self._settings
        self._open(settings.listen or (settings.host, settings.port), "")
        if settings.admin_port is not None:
            self._open((settings.admin_host, settings.admin_port), "ADMIN_")
        if self._problem is not None:
            self._give_up(self._problem)

    def startService(self) -> None:
        Service.startService(self)
        for name, act in (("SIGHUP", self._reload), ("SIGUSR1", self._reopen)):
            number = getattr(signal, name, None)
            if number is not None:
                signal.signal(number, lambda *_, act=act: self._reactor.callFromThread(act))
        DeferredList(self._opening).addCallback(self._run)

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        self._notify.stopping()
        return Deferred.fromCoroutine(self._stop())

    def _open(self, where: str | tuple[str, int], prefix: str) -> None:
        opening = share(self._reactor, where, self._settings.workers)
        opened = opening.addCallback(lambda port: self._ports.__setitem__(prefix, port))
        self._opening.append(opened.addErrback(self._cannot_listen, where, prefix))

    def _cannot_listen(self, failure: Failure, where: str | tuple[str, int], prefix: str) -> None:
        refusal = listener_refused(failure.value or RuntimeError("no reason given"), where, prefix)
        self._log.critical("cannot listen: {problem}", problem=str(refusal))
        self._problem = self._problem or refusal

    def _run(self, _: object) -> None:
        addresses = ", ".join(port.address for port in self._ports.values())
        self._log.info("listening on {addresses}", addresses=addresses)
        self._log.info("supervisor (pid {pid}) of {n} workers", pid=os.getpid(), n=self._settings.workers)
        self._supervisor.start(self._sources)

    def _spawn(
        self, worker: Worker, sources: object, on_frame: Callable[[WorkerFrame], object], on_ended: OnEnded
    ) -> Process:
        assert isinstance(sources, Sources)
        process = self._spares.take() or self._launch(on_ended)
        process.hand_over(on_frame, on_ended)
        for piece in pieces(_json(sources.to_json())):
            process.send({"do": "sources"}, piece)
        _, shared = self._sockets()
        place = {"number": worker.number, "slot": worker.slot, "sockets": shared}
        process.send({"do": "begin", "log": self._writer.path, **place})
        return process

    def _launch(self, on_ended: OnEnded) -> Process:
        """A process that loads what a worker needs, and then waits to be told which one it is."""
        sockets, _ = self._sockets()
        process = Process(self._reactor, lambda frame: None, on_ended)
        process.start(MODULE, self._lifeline, sockets, self._relay().take if self._relay is not None else None)
        process.send({"do": "load", "reactor": type(self._reactor).__module__})
        return process

    def _sockets(self) -> tuple[list[socket.socket], dict[str, list[list[int]]]]:
        """All that listen, once each, and for each port the descriptors that a worker has of them, by slot."""
        numbers: dict[int, int] = {}  # descriptor here → there
        sockets: list[socket.socket] = []
        for port in self._ports.values():
            for one in (one for some in port.slots for one in some):
                if one.fileno() not in numbers:
                    numbers[one.fileno()] = FIRST_SOCKET + len(sockets)
                    sockets.append(one)
        shared = {
            prefix: [[numbers[one.fileno()] for one in some] for some in port.slots]
            for prefix, port in self._ports.items()
        }
        return sockets, shared

    def _settled(self) -> None:
        """Every slot is served."""
        self._notify.ready()
        self._spares.fill()

    def _reload(self) -> None:
        """New workers with what ``.env`` and the files say now; nothing happens if that cannot be."""
        self._notify.reloading()
        found, complaints = dotenv.read(Path(".env"))
        for complaint in complaints:
            self._log.warn("{complaint}", complaint=complaint)
        for name in self._sources.ignored(found):
            self._log.warn("{name} in .env has changed: that needs a restart", name=name)
        try:
            sources = self._check(self._sources.changed(found))
        except (SettingsError, ValueError) as problem:
            self._log.error("not reloaded, the old workers stay: {why}", why=" ".join(str(problem).split()))
            self._notify.ready()
            return
        self._log.info("reloading: {n} new workers start", n=self._settings.workers)
        self._supervisor.reload(sources, self._settings.shutdown_grace_seconds + LAST_SECONDS)

    def _reopen(self) -> None:
        self._writer.reopen()
        self._supervisor.tell({"do": "reopen"})

    async def _stop(self) -> None:
        supervisor, settings = self._supervisor, self._settings
        supervisor.expect_no_more()
        supervisor.tell({"do": "draining"})
        if settings.drain_delay_seconds:
            self._log.info("draining: serving for {n} seconds more", n=settings.drain_delay_seconds)
            await deferLater(self._reactor, settings.drain_delay_seconds)
        await DeferredList(self._opening)
        await self._spares.stop()  # they have the sockets too
        await supervisor.concentrate()
        await DeferredList([port.close() for port in self._ports.values()])
        await supervisor.stop(settings.shutdown_grace_seconds + LAST_SECONDS)
        self._log.info("all workers have ended")


def _json(words: object) -> bytes:
    return json.dumps(words).encode()
