"""A worker's process: what the supervisor starts, once for each slot.

It takes its settings from the control channel, serves the sockets of its slot, and ends when it is told to or when the
supervisor is gone. Signals reach it through the supervisor; of those that a terminal or a service manager sends to
every process at once it heeds SIGTERM only.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from typing import Any

from twisted.python.reflect import namedModule

from caching_proxy.app.log_care import attend, ignore_rotation
from caching_proxy.app.reactors import install_reactor
from caching_proxy.app.sources import Sources
from caching_proxy.settings.model import Settings
from caching_proxy.settings.parsers import SettingsError
from caching_proxy.telemetry.logs import shared_log, start_logging
from caching_proxy.workers.announcer import Announcer
from caching_proxy.workers.channel import ControlChannel
from caching_proxy.workers.frames import FrameReader, WorkerFrame
from caching_proxy.workers.process import CONTROL, LIFELINE
from caching_proxy.workers.siblings import Siblings
from caching_proxy.workers.supervisor import LAST_SECONDS


def main() -> int:
    """The whole life of a worker; its exit status."""
    ignore_rotation()
    _heed_few_signals()
    control = socket.socket(fileno=CONTROL)
    begin, sources = _told(control)
    try:
        return _run(control, begin, sources)
    except (SettingsError, ValueError) as problem:
        line = " ".join(str(problem).split())
        control.sendall(WorkerFrame({"say": "failed", "why": line}).encode())
        return 1


def _told(control: socket.socket) -> tuple[dict[str, Any], Sources]:
    """What the supervisor says first."""
    text, reader = bytearray(), FrameReader()
    while data := control.recv(65536):
        for frame in reader.feed(data):
            if frame.words["do"] == "load":
                _load(frame.words["reactor"])
            elif frame.words["do"] == "sources":
                text += frame.blob
            elif frame.words["do"] == "begin":
                return frame.words, Sources.from_json(json.loads(text))
    raise SystemExit(0)  # the supervisor is gone already


def _load(kind: str) -> None:
    """Import all that a worker needs, on the reactor that it will have: nearly all that its start costs."""
    _install(kind)
    import caching_proxy.app.compose
    import caching_proxy.app.worker_service  # noqa: F401


def _run(control: socket.socket, begin: dict[str, Any], sources: Sources) -> int:
    from twisted.internet import reactor  # only now, as above

    from caching_proxy.app.clocks import WallClock, count_monotonically
    from caching_proxy.app.compose import compose
    from caching_proxy.app.descriptors import fitted, raised_limit
    from caching_proxy.app.gc_tuning import tune_gc
    from caching_proxy.app.instruments import watch_log
    from caching_proxy.app.reactors import exit_cleanly
    from caching_proxy.app.team import Team
    from caching_proxy.app.worker_service import WorkerService

    settings, _ = sources.settings()
    settings, _ = fitted(settings, raised_limit())
    log = shared_log(settings, begin["log"])
    log.start()
    attend(log, reactor)
    start_logging(settings, log)
    count_monotonically(reactor)
    channel = ControlChannel(lambda frame: service.told(frame), lambda: service.supervisor_gone())
    siblings = Siblings(lambda words, blob: channel.send(WorkerFrame(words, blob)))
    announcer = Announcer(siblings, lambda function: reactor.callLater(0, function))
    own_store, place = not settings.topology.shared, {name: begin[name] for name in ("number", "slot")}
    team = Team(siblings, announcer, reactor, wanted=settings.workers, own_store=own_store, **place)
    proxy = compose(reactor, settings, log, os.urandom, WallClock(reactor), sources.read, team)
    watch_log(proxy.metrics, log)
    exit_cleanly(reactor)
    _watch_lifeline(settings)
    service = WorkerService(reactor, proxy, begin, control, channel, siblings, log, team)
    reactor.callWhenRunning(tune_gc)
    service.privilegedStartService()
    service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.callWhenRunning(_heed_few_signals)
    reactor.run()
    return 0


def _install(kind: str) -> None:
    """The same reactor as the supervisor's, whose class comes from the module ``kind``."""
    if kind == install_reactor.__module__:
        install_reactor()
    else:
        namedModule(kind).install()


def _heed_few_signals() -> None:
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _watch_lifeline(settings: Settings) -> None:
    """A worker whose loop hangs does not see that the supervisor is gone: this thread does."""
    grace = settings.drain_delay_seconds + settings.shutdown_grace_seconds + LAST_SECONDS

    def watch() -> None:
        os.read(LIFELINE, 1)
        time.sleep(grace)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
