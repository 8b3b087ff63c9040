"""Keeps one worker alive for each slot: starts, watches, replaces and ends them.

A worker belongs to a generation: a reload starts a new one beside the old and ends the old one only when every new
worker serves. While a slot has nobody, another worker accepts from its sockets, so that no connection waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from caching_proxy.workers.archive import Archive
from caching_proxy.workers.backoff import Backoff
from caching_proxy.workers.frames import WorkerFrame
from caching_proxy.workers.health import Health
from caching_proxy.workers.switchboard import ASKED_SECONDS, Switchboard

START_SECONDS = 30.0
"""A worker that does not serve after so long is killed."""

LAST_SECONDS = 3.0
"""What ending may take beyond the times that the settings give."""

HOPELESS = 5
"""So many starts without a single worker that ever served end the program."""


class IProcess(Protocol):
    """What is used of :class:`caching_proxy.workers.process.Process`."""

    pid: int

    def send(self, words: dict[str, Any], blob: bytes = b"") -> None: ...

    def kill(self) -> None: ...


Spawn = Callable[["Worker", object, Callable[[WorkerFrame], object], Callable[[str], object]], IProcess]
"""Worker, the sources of its settings, what hears its frames and its end → its process."""


class _Nobody:
    """A process that was not started."""

    pid = 0

    def send(self, words: dict[str, Any], blob: bytes = b"") -> None: ...

    def kill(self) -> None: ...


@attrs.define(slots=True, eq=False)
class Worker:
    """One process. ``number`` is never used again; ``slot`` says from which sockets it accepts."""

    number: int
    slot: int
    generation: int
    started: float
    process: IProcess = attrs.Factory(lambda: _Nobody())
    serves: bool = False
    served: bool = False
    leaving: bool = False
    failure: str = ""
    timer: IDelayedCall | None = None

    def quiet(self) -> None:
        """Forget what was to happen to it."""
        timer, self.timer = self.timer, None
        if timer is not None and timer.active():
            timer.cancel()


class Supervisor:
    """Runs ``slots`` workers, which ``spawn`` starts; ``give_up`` hears in one line why there can be none, ``settled``
    that every slot is served, also after a reload and whatever came of it."""

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        slots: int,
        spawn: Spawn,
        give_up: Callable[[str], object],
        archive: Archive,
        settled: Callable[[], object] = lambda: None,
    ) -> None:
        self._settled = settled
        self.workers: dict[int, Worker] = {}
        self._clock = clock
        self._archive = archive
        self._slots = slots
        self._spawn = spawn
        self._give_up = give_up
        self._backoff = [Backoff() for _ in range(slots)]
        self._waiting: dict[int, IDelayedCall] = {}  # slot → the start to come
        self._switchboard = Switchboard(clock, self._send, archive)
        self._health = Health(clock, self._ping, self._report, self._hangs)
        self._adopters: dict[int, int] = {}  # slot → the worker that accepts for nobody there
        self._numbers = 0
        self._served = False
        self._generation = self._generations = 0
        self._sources: object = None
        self._reloading: _Reload | None = None
        self._stopping = False
        self._ended: list[Deferred[None]] = []
        self._released: set[int] = set()
        self._concentrated: Deferred[None] | None = None
        self._concentrating: IDelayedCall | None = None

    # -- beginning and ending ------------------------------------------------------------------------

    def start(self, sources: object) -> None:
        """Start one worker for each slot, with settings from ``sources``."""
        self._sources = sources
        for slot in range(self._slots):
            self._start(slot, self._generation, sources)

    def tell(self, words: dict[str, Any]) -> None:
        """Tell every worker."""
        for worker in list(self.workers.values()):
            worker.process.send(words)

    def expect_no_more(self) -> None:
        """From now on nobody is started again."""
        self._stopping = True
        for waiting in self._waiting.values():
            waiting.cancel()
        self._waiting.clear()
        if self._reloading is not None:
            self._reloading.stop()

    def concentrate(self) -> Deferred[None]:
        """Let every worker let go of all sockets but its own; fires when they have, or after :data:`ASKED_SECONDS`.

        Afterwards a worker that closes its own sockets is the last who has them: it answers what waits there.
        """
        self._released = {worker.number for worker in self.workers.values() if worker.serves}
        for number in self._released:
            self.workers[number].process.send({"do": "concentrate"})
        done: Deferred[None] = Deferred()
        self._concentrated = done
        self._concentrating = self._clock.callLater(ASKED_SECONDS, self._concentrate_no_longer)
        self._has_concentrated(0)
        return done

    def _has_concentrated(self, number: int) -> None:
        self._released.discard(number)
        if not self._released:
            self._concentrate_no_longer()

    def _concentrate_no_longer(self) -> None:
        done, self._concentrated = self._concentrated, None
        if done is not None:
            if self._concentrating is not None and self._concentrating.active():
                self._concentrating.cancel()
            done.callback(None)

    def stop(self, seconds: float) -> Deferred[None]:
        """End every worker; those that take longer than ``seconds`` are killed. Fires when none is left."""
        self.expect_no_more()
        for worker in list(self.workers.values()):
            self._end(worker, {"do": "stop"}, seconds)
        if not self.workers:
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._ended.append(done)
        return done

    def reload(self, sources: object, grace: float) -> None:
        """Replace every worker by one with settings from ``sources``; if that fails, the old ones stay.

        The old ones have ``grace`` seconds to finish what they are at.
        """
        if self._stopping:
            return
        if self._reloading is not None:
            self._fail_reload("another one was asked for")
        self._generations += 1
        generation = self._generations
        self._reloading = _Reload(sources, grace, generation)
        self._reloading.timer = self._clock.callLater(START_SECONDS, self._fail_reload, "the new workers take too long")
        for slot in range(self._slots):
            self._start(slot, generation, sources)

    # -- one worker ----------------------------------------------------------------------------------

    def _start(self, slot: int, generation: int, sources: object) -> None:
        self._waiting.pop(slot, None)
        self._numbers += 1
        worker = Worker(self._numbers, slot, generation, self._clock.seconds())
        self.workers[worker.number] = worker
        worker.timer = self._clock.callLater(START_SECONDS, self._kill, worker, "it does not serve")
        try:
            worker.process = self._spawn(
                worker, sources, lambda frame: self.heard(worker, frame), lambda how: self._on_ended(worker, how)
            )
        except OSError as problem:  # no memory, too many processes
            self._log.failure("worker {n} could not be started", n=worker.number)
            self._clock.callLater(0, self._on_ended, worker, f"it could not be started ({problem})")

    def heard(self, worker: Worker, frame: WorkerFrame) -> None:
        """A frame came from a worker."""
        said = frame.words.get("say")
        if said == "ask":
            self._switchboard.ask(worker.number, frame)
        elif said == "reply":
            self._switchboard.reply(worker.number, frame)
        elif said == "last":
            self._archive.part(worker.number, frame.blob, frame.words["more"])
            if not frame.words["more"]:
                worker.process.send({"do": "part"})
        elif said == "pong":
            self._health.pong(worker.number)
        elif said == "ready":
            self._may_serve(worker)
        elif said == "serving":
            self._on_serving(worker)
        elif said == "failed":
            worker.failure = str(frame.words.get("why"))
        elif said == "leaving" and not worker.leaving:
            worker.serves, worker.leaving = False, True
            self._adopt(worker.slot)
        elif said == "concentrated":
            self._has_concentrated(worker.number)

    def _may_serve(self, worker: Worker) -> None:
        """From now on it hears what its siblings invalidate, and only then it may have something to forget."""
        self._switchboard.slots[worker.number] = worker.slot
        self._health.watch(worker.number)
        worker.process.send({"do": "serve"})

    def _on_serving(self, worker: Worker) -> None:
        if worker.leaving:
            return
        worker.quiet()
        worker.serves = worker.served = self._served = True
        self._count_serving()
        adopter = self.workers.get(self._adopters.pop(worker.slot, 0))
        if adopter is not None:
            adopter.process.send({"do": "release", "slot": worker.slot})
        self._log.info("worker {n} (pid {pid}) serves", n=worker.number, pid=worker.process.pid)
        for slot in range(self._slots):
            self._adopt(slot)  # if nobody was there who could
        reload = self._reloading
        if reload is not None and all(self._serving(slot, reload.generation) for slot in range(self._slots)):
            self._finish_reload(reload)
        if self._reloading is None and all(self._serving(slot) for slot in range(self._slots)):
            self._settled()

    def _count_serving(self) -> None:
        """Everybody knows how many slots are served."""
        serving = sum(self._serving(slot) for slot in range(self._slots))
        self.tell({"do": "count", "serving": serving, "wanted": self._slots})

    def _serving(self, slot: int, generation: int | None = None) -> bool:
        return any(
            worker.serves and worker.slot == slot and generation in (None, worker.generation)
            for worker in self.workers.values()
        )

    def _on_ended(self, worker: Worker, how: str) -> None:
        worker.quiet()
        del self.workers[worker.number]
        self._switchboard.gone(worker.number)
        self._health.forget(worker.number)
        if self._stopping:
            self._has_concentrated(worker.number)
            if not self.workers:
                waiting, self._ended = self._ended, []
                for done in waiting:
                    done.callback(None)
            return
        self._count_serving()
        for slot in [slot for slot, number in self._adopters.items() if number == worker.number]:
            del self._adopters[slot]
            self._adopt(slot)
        reload = self._reloading
        if reload is not None and worker.generation == reload.generation:
            self._fail_reload(worker.failure or f"a new worker ended: {how}")
        elif worker.generation == self._generation:
            self._replace(worker, how)
        else:
            self._log.info("worker {n} (pid {pid}) has ended: {how}", n=worker.number, pid=worker.process.pid, how=how)

    def _replace(self, worker: Worker, how: str) -> None:
        slot = worker.slot
        backoff = self._backoff[slot]
        wait = backoff.died(self._clock.seconds() - worker.started if worker.served else 0.0)
        why = worker.failure or how
        if not self._served and (worker.failure or backoff.short_lives >= HOPELESS):
            self._give_up(worker.failure or f"the workers cannot start: {how}")
            return
        self._log.warn(
            "worker {n} (pid {pid}) is gone: {why}; another one starts in {wait:.2f} s",
            n=worker.number,
            pid=worker.process.pid,
            why=why,
            wait=wait,
        )
        if not worker.leaving:
            self._adopt(slot)
        if not self._waiting.get(slot):
            generation = worker.generation
            self._waiting[slot] = self._clock.callLater(wait, self._start, slot, generation, self._sources)

    def _adopt(self, slot: int) -> None:
        """Let another worker accept from this slot's sockets while nobody else does."""
        if slot in self._adopters or self._serving(slot) or self._stopping:
            return
        burdens = list(self._adopters.values())
        free = [worker for worker in self.workers.values() if worker.serves]
        if free:
            adopter = min(free, key=lambda worker: burdens.count(worker.number))
            self._adopters[slot] = adopter.number
            adopter.process.send({"do": "adopt", "slot": slot})

    def _end(self, worker: Worker, words: dict[str, Any], seconds: float) -> None:
        worker.quiet()
        worker.serves, worker.leaving = False, True
        if worker.number not in self._switchboard.slots:  # it has not begun to serve: nothing is lost
            worker.process.kill()
            return
        worker.process.send(words)
        worker.timer = self._clock.callLater(seconds, self._kill, worker, "it does not end")

    def _kill(self, worker: Worker, why: str) -> None:
        self._log.error("worker {n} (pid {pid}) is killed: {why}", n=worker.number, pid=worker.process.pid, why=why)
        worker.process.kill()

    def _send(self, number: int, words: dict[str, Any], blob: bytes) -> None:
        worker = self.workers.get(number)
        if worker is not None:
            worker.process.send(words, blob)

    def _ping(self, number: int) -> None:
        self._send(number, {"do": "ping"}, b"")

    def _report(self, number: int) -> None:
        pid = self.workers[number].process.pid
        self._log.warn("worker {n} (pid {pid}) does not answer", n=number, pid=pid)

    def _hangs(self, number: int) -> None:
        self._kill(self.workers[number], "it hangs")

    # -- reloading -----------------------------------------------------------------------------------

    def _finish_reload(self, reload: _Reload) -> None:
        reload.stop()
        self._reloading = None
        self._sources, self._generation = reload.sources, reload.generation
        self._backoff = [Backoff() for _ in range(self._slots)]
        for waiting in self._waiting.values():
            waiting.cancel()
        self._waiting.clear()
        self._log.info("reloaded: {n} new workers serve, the old ones end", n=self._slots)
        for worker in self._of(lambda each: each.generation != reload.generation and not each.leaving):
            self._end(worker, {"do": "stop", "reload": True}, reload.grace)

    def _fail_reload(self, why: str) -> None:
        reload, self._reloading = self._reloading, None
        if reload is None:
            return
        reload.stop()
        self._log.error("not reloaded, the old workers stay: {why}", why=why)
        for worker in self._of(lambda each: each.generation == reload.generation):
            self._end(worker, {"do": "stop", "reload": True}, reload.grace)
        self._settled()

    def _of(self, condition: Callable[[Worker], bool]) -> Sequence[Worker]:
        return [worker for worker in self.workers.values() if condition(worker)]


@attrs.define(slots=True, eq=False)
class _Reload:
    """A new generation that does not serve yet."""

    sources: object
    grace: float
    generation: int
    timer: IDelayedCall | None = None

    def stop(self) -> None:
        if self.timer is not None and self.timer.active():
            self.timer.cancel()
