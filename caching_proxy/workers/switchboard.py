"""The supervisor's part in what workers ask each other: passes questions and answers on, and knows who has answered."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import attrs
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from caching_proxy.workers.archive import WHAT, Archive
from caching_proxy.workers.frames import WorkerFrame, pieces

ASKED_SECONDS = 2.0
"""Within so long a worker answers, or it is reported."""

Send = Callable[[int, dict[str, Any], bytes], object]
"""Number of a worker, words, bytes; nothing happens if there is no such worker."""


@attrs.define(slots=True, eq=False)
class _Call:
    """``silent``: those who have not answered anything yet; ``open``: those who have not answered in full."""

    asker: int
    ask: int
    what: str
    silent: set[int]
    open: set[int]
    reached: bool = False
    timer: IDelayedCall | None = None


class Switchboard:
    """``slots`` says in which slot each worker is that may be asked, by its number."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, send: Send, archive: Archive) -> None:
        self.slots: dict[int, int] = {}
        self._clock = clock
        self._send = send
        self._archive = archive
        self._calls: dict[int, _Call] = {}
        self._numbers = 0

    def ask(self, asker: int, frame: WorkerFrame) -> None:
        """A worker asks the others."""
        words = frame.words
        others = self.slots if words["everyone"] else self.slots.keys() - {asker}
        asked = {number for number in others if words["slot"] in (None, self.slots[number])}
        self._numbers += 1
        number = self._numbers
        call = self._calls[number] = _Call(asker, words["ask"], words["what"], set(asked), set(asked))
        question = {"do": "call", "call": number, "what": words["what"], "with": words["with"]}
        if call.what == WHAT:
            self._instead(call, 0, self._archive.own())
        for each in asked:
            self._send(each, question, frame.blob)
        if not words["patient"] and asked:
            call.timer = self._clock.callLater(ASKED_SECONDS, self._too_late, number)
        self._look_at(number)

    def reply(self, worker: int, frame: WorkerFrame) -> None:
        """A worker answers."""
        words = frame.words
        call = self._calls.get(words["call"])
        if call is None or worker not in call.open:
            return
        if call.what == WHAT:
            self._archive.part(worker, frame.blob, words["more"])
        if words["with"] or frame.blob:
            said = {"do": "reply", "ask": call.ask, "worker": worker, "with": words["with"]}
            self._send(call.asker, said, frame.blob)
        call.silent.discard(worker)
        if not words["more"]:
            call.open.discard(worker)
        self._look_at(words["call"])

    def gone(self, worker: int) -> None:
        """A worker is there no more: it has nothing to say, and nobody to hear it."""
        self.slots.pop(worker, None)
        for number, call in list(self._calls.items()):
            if call.asker == worker:
                self._forget(number)
            elif worker in call.open:
                self._know(call, worker)
                call.silent.discard(worker)
                call.open.discard(worker)
                self._look_at(number)
        self._archive.gone(worker)

    def _know(self, call: _Call, worker: int) -> None:
        """What is known of a worker that does not answer."""
        if call.what == WHAT:
            self._instead(call, worker, self._archive.known(worker))

    def _instead(self, call: _Call, worker: int, blob: bytes) -> None:
        """Send ``blob`` as the answer of a worker, in place of what came so far; 0 is the supervisor."""
        for n, piece in enumerate(pieces(blob)):
            said = {"do": "reply", "ask": call.ask, "worker": worker, "with": {} if n else {"anew": True}}
            self._send(call.asker, said, piece)

    def _look_at(self, number: int) -> None:
        call = self._calls.get(number)
        if call is None:
            return
        if not call.silent and not call.reached:
            call.reached = True
            self._send(call.asker, {"do": "reached", "ask": call.ask}, b"")
        if not call.open:
            self._end(number, ())

    def _too_late(self, number: int) -> None:
        call = self._calls[number]
        late = sorted(self.slots[each] for each in call.open if each in self.slots)
        for each in call.open:
            self._know(call, each)
        self._log.warn("{what}: workers in the slots {late} do not answer", what=call.what, late=late)
        self._end(number, late)

    def _end(self, number: int, late: Iterable[int]) -> None:
        call = self._calls[number]
        self._forget(number)
        self._send(call.asker, {"do": "answered", "ask": call.ask, "late": list(late)}, b"")

    def _forget(self, number: int) -> None:
        call = self._calls.pop(number)
        if call.timer is not None and call.timer.active():
            call.timer.cancel()
