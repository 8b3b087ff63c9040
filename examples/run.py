"""What ``make run`` runs: the proxy alone where ``BACKEND_URL`` is set, else the proxy and the demo backend.

The demo backend lives in this process and the proxy in a child, ``twistd -n cachingproxy``. Ctrl-C, SIGTERM or the
end of the proxy stops both; nothing is left behind.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import treq
from demo_backend import listen, make_site
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall, IReactorCore, IReactorProcess, IReactorTCP, IReactorTime
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from caching_proxy.app.options import fail
from caching_proxy.settings import dotenv
from caching_proxy.settings.load import load
from caching_proxy.settings.model import Settings
from caching_proxy.settings.parsers import SettingsError

TWISTD = str(Path(sys.executable).with_name("twistd"))
COMMAND = (TWISTD, "-n", "--pidfile=", "cachingproxy")
APART = (sys.executable, "-c", "import os, sys; os.setpgrp(); os.execv(sys.argv[1], sys.argv[1:])")
"""Runs a command in a process group of its own, so that Ctrl-C reaches it once: through us."""
ASK_AGAIN_SECONDS = 0.1
KILL_SECONDS = 5.0


class Reactor(IReactorCore, IReactorProcess, IReactorTCP, IReactorTime):
    """What this program uses of a reactor."""


def needs_demo(environ: Mapping[str, str], found: Mapping[str, str]) -> bool:
    """Whether nobody named a backend."""
    return not (environ.get("BACKEND_URL", "").strip() or found.get("BACKEND_URL", "").strip())


def demo_environment(environ: Mapping[str, str], found: Mapping[str, str], backend_port: int) -> dict[str, str]:
    """The proxy's environment: the demo backend, and an admin token made up for this run where there is none."""
    made = {**environ, "BACKEND_URL": f"http://127.0.0.1:{backend_port}"}
    if not (environ.get("ADMIN_TOKEN") or found.get("ADMIN_TOKEN")):
        made["ADMIN_TOKEN"] = secrets.token_urlsafe(18)
    return made


def introduction(settings: Settings, backend_port: int) -> str:
    """What to try, as three lines of curl."""
    base = f"http://localhost:{settings.port}"
    admin = f"http://localhost:{settings.admin_port or settings.port}"
    token = (settings.admin_token or b"").decode("ascii")
    pattern = '{"pattern": "cache:GET:*:/items*"}'
    look = f"curl -si {base}/items | grep -i x-cache-status"
    forget = f"curl -s -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' -d '{pattern}'"
    return f"""
BACKEND_URL is not set, so the demo backend answers, on http://127.0.0.1:{backend_port}. The proxy is {base}. Try:

  {look}    # MISS: fetched
  {look}    # HOT_HIT: from memory
  {forget} {admin}/invalidate    # forgotten: MISS again

Ctrl-C stops both.
"""


class Proxy(ProcessProtocol):
    """The child; ``ended`` fires with its exit status, 128 + n for a signal."""

    def __init__(self) -> None:
        self.ended: Deferred[int] = Deferred()
        self.running = True

    def processEnded(self, reason: Failure) -> None:
        self.running = False
        value = reason.value
        status = getattr(value, "exitCode", None)
        self.ended.callback(status if status is not None else 128 + (getattr(value, "signal", None) or 0))


class Demo:
    """Backend and proxy, started and stopped together."""

    def __init__(self, reactor: Reactor, environ: Mapping[str, str], found: Mapping[str, str]) -> None:
        self._reactor = reactor
        self._environ = environ
        self._found = found
        self._proxy = Proxy()
        self._timer: IDelayedCall | None = None
        self._stopping = False
        self.status = 0

    def start(self) -> None:
        backend_port = listen(self._reactor, make_site(self._reactor), "127.0.0.1", 0)
        environment = demo_environment(self._environ, self._found, backend_port)
        try:
            self._settings, _ = load(environment, self._found, {})
        except SettingsError as problem:
            fail(problem)
        self._text = introduction(self._settings, backend_port)
        self._reactor.spawnProcess(
            self._proxy, sys.executable, (*APART, *COMMAND), environment, childFDs={0: 0, 1: 1, 2: 2}
        )
        self._proxy.ended.addCallback(self._proxy_ended)
        self._reactor.addSystemEventTrigger("before", "shutdown", self._stop)
        self._ask()

    def _ask(self) -> None:
        """Print the introduction as soon as the proxy answers."""
        self._timer = None
        if not self._proxy.running:
            return
        url = f"http://127.0.0.1:{self._settings.admin_port or self._settings.port}/health"
        asked = treq.get(url, timeout=1).addCallback(treq.content)
        asked.addCallbacks(lambda _: print(self._text, flush=True), self._not_yet)

    def _not_yet(self, reason: Failure) -> None:
        del reason  # refused, or slow to start: ask again
        self._timer = self._reactor.callLater(ASK_AGAIN_SECONDS, self._ask)

    def _proxy_ended(self, status: int) -> None:
        self.status = 0 if self._stopping else status
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._reactor.running:
            self._reactor.stop()

    def _stop(self) -> Deferred[None]:
        self._stopping = True
        if not self._proxy.running:
            return succeed(None)
        self._signal("TERM")
        killer = self._reactor.callLater(self._settings.shutdown_grace_seconds + KILL_SECONDS, self._signal, "KILL")
        return self._proxy.ended.addBoth(lambda _: killer.cancel() if killer.active() else None)

    def _signal(self, name: str) -> None:
        try:
            if self._proxy.transport is not None:
                self._proxy.transport.signalProcess(name)
        except ProcessExitedAlready:
            return


def main() -> None:
    found, _ = dotenv.read(Path(".env"))
    if not needs_demo(os.environ, found):
        os.execv(TWISTD, COMMAND)
    from twisted.internet import reactor

    demo = Demo(cast("Reactor", reactor), os.environ, found)
    reactor.callWhenRunning(demo.start)
    reactor.run()
    sys.exit(demo.status)


if __name__ == "__main__":
    main()
