"""The proxy in a worker: accepts from sockets that it was given, and does what the supervisor says."""

from __future__ import annotations

import socket
from typing import Any, NoReturn

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater

from caching_proxy.app.compose import Proxy
from caching_proxy.app.service import LAST_SECONDS, ProxyService
from caching_proxy.app.team import Team
from caching_proxy.cache.shared_invalidator import SharedInvalidator
from caching_proxy.server.endpoint_factory import endpoint_factory
from caching_proxy.server.listener import Listener, accept_waiting, adopt
from caching_proxy.settings.parsers import SettingsError
from caching_proxy.telemetry.log_writer import LogWriter
from caching_proxy.web.admin.services import Workers
from caching_proxy.workers.announcer import answer_drops
from caching_proxy.workers.channel import ControlChannel, attach
from caching_proxy.workers.frames import WorkerFrame, pieces
from caching_proxy.workers.siblings import Siblings

TURNS = 3

LINGER_SECONDS = 1.0
"""For so long clients whose connection is idle may have sent a request that has not arrived yet."""


@attrs.frozen(slots=True)
class _Served:
    """What answers connections to one of our ports; ``native``: by the event loop's own transports."""

    factory: Factory
    native: bool = True


class WorkerService(ProxyService):
    """``begin`` is what the supervisor said first, ``control`` the channel to it, ``log`` where lines go."""

    linger_seconds = LINGER_SECONDS

    def __init__(
        self,
        reactor: Any,
        proxy: Proxy,
        begin: dict[str, Any],
        control: socket.socket,
        channel: ControlChannel,
        siblings: Siblings,
        log: LogWriter,
        team: Team,
    ) -> None:
        super().__init__(reactor, proxy, _give_up)
        self._writer = log
        self._team = team
        self._parted: Deferred[None] = Deferred()
        self._permitted: list[Deferred[Listener]] = []
        self._slot: int = begin["slot"]
        self._number: int = begin["number"]
        made: dict[int, socket.socket] = {}
        self._sockets = {
            prefix: [[made.setdefault(one, _socket(made, one)) for one in some] for some in slots]
            for prefix, slots in begin["sockets"].items()
        }
        self._served: dict[str, _Served] = {}
        self._adopted: dict[int, list[Deferred[Listener]]] = {}
        self._told_to_stop = False
        self._channel = channel
        self._control = control
        self._siblings = siblings
        assert isinstance(proxy.invalidator, SharedInvalidator)
        answer_drops(siblings, proxy.invalidator.hear)

    def privilegedStartService(self) -> None:
        attach(self._reactor, self._control, self._channel)
        super().privilegedStartService()

    def startService(self) -> None:
        super().startService()
        self._say("ready")

    def stopService(self) -> Deferred[None]:
        if not self._told_to_stop:
            self._say("leaving")
        return super().stopService()

    def _say(self, what: str, **words: object) -> None:
        self._channel.send(WorkerFrame({"say": what, **words}))

    # -- listening -----------------------------------------------------------------------------------

    def _handle_signals(self) -> None:
        """They come through the supervisor."""

    def _listen(self, where: str | tuple[str, int], site: Factory, prefix: str) -> Deferred[Listener]:
        served = _Served(site) if not isinstance(where, str) else _Served(endpoint_factory(where, site), native=False)
        self._served[prefix] = served
        serving: Deferred[Listener] = Deferred()
        self._permitted.append(serving)
        return serving.addCallback(lambda _: self._accept(prefix, self._slot))

    def _accept(self, prefix: str, slot: int) -> Deferred[Listener]:
        served = self._served[prefix]
        return adopt(self._reactor, self._sockets[prefix][slot], served.factory, native=served.native)

    def _serve(self) -> None:
        """Siblings tell us from now on what they invalidate."""
        permitted, self._permitted = self._permitted, []
        for serving in permitted:
            serving.callback(None)  # type: ignore[arg-type]

    def _announce(self, _: object) -> None:
        self._say("serving")

    def _adopt(self, slot: int) -> None:
        """Accept from another slot's sockets too."""
        if slot in self._adopted or not self.running:
            return
        self._adopted[slot] = [
            self._accept(prefix, slot)
            for prefix in self._served
            if self._sockets[prefix][slot] != self._sockets[prefix][self._slot]
        ]

    def _release(self, slot: int) -> None:
        for adopting in self._adopted.pop(slot, ()):
            adopting.addCallback(lambda listener: listener.stop_accepting())

    def _concentrate(self) -> None:
        """Let go of every socket but our own."""
        for slot in list(self._adopted):
            self._release(slot)
        for slots in self._sockets.values():
            for one in {id(one): one for some in slots for one in some if one not in slots[self._slot]}.values():
                one.close()
        self._say("concentrated")

    async def _stop(self) -> None:
        await super()._stop()
        texts = list(pieces(self._team.answers.counted()))
        for n, text in enumerate(texts, 1):
            self._channel.send(WorkerFrame({"say": "last", "more": n < len(texts)}, text))
        timer = self._reactor.callLater(LAST_SECONDS, self._parting)
        await self._parted
        if timer.active():
            timer.cancel()

    def _parting(self) -> None:
        """What we have counted is kept, or nobody is there to keep it."""
        if not self._parted.called:
            self._parted.callback(None)

    async def _stop_accepting(self) -> None:
        for slot in list(self._adopted):
            self._release(slot)
        await super()._stop_accepting()
        if self._told_to_stop:  # nobody else has them: what waits in them is ours
            for prefix, served in self._served.items():
                sockets = self._sockets[prefix][self._slot]
                await accept_waiting(self._reactor, sockets, served.factory, native=served.native)
        for slots in self._sockets.values():
            for one in slots[self._slot]:
                one.close()
        for _ in range(TURNS):  # what the loop has accepted becomes a connection in one of its next turns
            await deferLater(self._reactor, 0)

    # -- the supervisor ------------------------------------------------------------------------------

    def told(self, frame: WorkerFrame) -> None:
        """The supervisor says something."""
        words = frame.words
        match words["do"]:
            case "call" | "reply" | "reached" | "answered":
                self._siblings.told(frame)
            case "ping":
                self._say("pong")
            case "serve":
                self._serve()
            case "adopt":
                self._adopt(words["slot"])
            case "release":
                self._release(words["slot"])
            case "count":
                self._team.workers = Workers(words["serving"], words["wanted"])
            case "part":
                self._parting()
            case "draining":
                self._proxy.readiness.draining = True
            case "reopen":
                self._writer.reopen()
            case "concentrate":
                self._concentrate()
            case "stop":
                self._end(replaced="reload" in words)

    def _end(self, replaced: bool = False) -> None:
        self._told_to_stop, self.delays, self.tells = True, False, not replaced
        if self.running:
            self._reactor.stop()

    def supervisor_gone(self) -> None:
        """The channel has ended."""
        self._siblings.supervisor_gone()
        self._parting()
        if self.running:
            self._log.error("the supervisor is gone: this worker ends")
            self._end()


def _socket(made: dict[int, socket.socket], number: int) -> socket.socket:
    """The socket with this descriptor, made once."""
    if number in made:
        return made[number]
    one = socket.socket(fileno=number)
    one.setblocking(False)
    return one


def _give_up(problem: SettingsError) -> NoReturn:
    raise problem
