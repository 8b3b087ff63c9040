"""A worker's end of the control channel: what it asks of its siblings through the supervisor, and answers to them.

An answer comes in as many parts as it needs. The supervisor says when every sibling has answered something and when all
have answered in full; one that has died meanwhile counts as answered, as it serves nothing any more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from caching_proxy.workers.frames import WorkerFrame

Words = dict[str, Any]
OnPart = Callable[[int, Words, bytes], object]
"""Number of the worker that answers (0: the supervisor), words, bytes."""


@attrs.define(slots=True, eq=False)
class SiblingReply:
    """The way to answer a question; after ``end`` nothing more is sent."""

    _send: Callable[[Words, bytes], object]
    ended: bool = False

    def part(self, words: Words | None = None, blob: bytes = b"") -> None:
        self._send({"more": True, "with": words or {}}, blob)

    def end(self, words: Words | None = None, blob: bytes = b"") -> None:
        if not self.ended:
            self.ended = True
            self._send({"more": False, "with": words or {}}, blob)


Parts = list[tuple[Words, bytes]]


@attrs.define(slots=True, eq=False)
class Gathered:
    """What each worker said, by its number, and the slots of those that were late."""

    parts: dict[int, Parts] = attrs.Factory(dict)
    late: list[int] = attrs.Factory(list)

    def part(self, worker: int, words: Words, blob: bytes) -> None:
        if words.get("anew"):
            self.parts[worker] = []
        self.parts.setdefault(worker, []).append((words, blob))


Answerer = Callable[[Words, bytes, SiblingReply], object]


@attrs.define(slots=True, eq=False)
class _Ask:
    on_part: OnPart
    on_reached: Callable[[], object]
    done: Deferred[list[int]]


class Siblings:
    """``send`` gives a frame to the supervisor; ``answerers`` answer what siblings ask, by its name."""

    _log = Logger()

    def __init__(self, send: Callable[[Words, bytes], object]) -> None:
        self.answerers: dict[str, Answerer] = {}
        self._send = send
        self._asks: dict[int, _Ask] = {}
        self._numbers = 0
        self._alone = False

    def ask(
        self,
        what: str,
        words: Words,
        on_part: OnPart = lambda worker, words, blob: None,
        on_reached: Callable[[], object] = lambda: None,
        *,
        blob: bytes = b"",
        slot: int | None = None,
        everyone: bool = False,
        patient: bool = True,
    ) -> Deferred[list[int]]:
        """Ask every sibling, or those of a slot; with ``everyone`` ourselves too.

        Fires with the slots of those that did not answer in time; never fails. With ``patient`` it takes as long as it
        takes: who hangs is killed.
        """
        done: Deferred[list[int]] = Deferred()
        ask = _Ask(on_part, on_reached, done)
        if self._alone:
            self._end(ask, [])
            return done
        self._numbers += 1
        self._asks[self._numbers] = ask
        whom = {"patient": patient, "slot": slot, "everyone": everyone}
        asked = {"say": "ask", "ask": self._numbers, "what": what, "with": words, **whom}
        self._send(asked, blob)
        return done

    async def gather(
        self,
        what: str,
        words: Words,
        *,
        blob: bytes = b"",
        slot: int | None = None,
        everyone: bool = False,
        patient: bool = True,
    ) -> Gathered:
        """All that is answered, when it is complete; the arguments are those of :meth:`ask`."""
        said = Gathered()
        asking = self.ask(what, words, said.part, blob=blob, slot=slot, everyone=everyone, patient=patient)
        said.late = await asking
        return said

    def told(self, frame: WorkerFrame) -> None:
        """A frame came that is about questions."""
        words = frame.words
        if words["do"] == "call":
            self._answer(words, frame.blob)
            return
        ask = self._asks.get(words["ask"])
        if ask is None:
            return
        if words["do"] == "reply":
            ask.on_part(words["worker"], words["with"], frame.blob)
        elif words["do"] == "reached":
            ask.on_reached()
        else:
            del self._asks[words["ask"]]
            if not ask.done.called:
                ask.done.callback(words["late"])

    def supervisor_gone(self) -> None:
        """Nobody answers any more, and everybody ends."""
        self._alone = True
        asks, self._asks = self._asks, {}
        for ask in asks.values():
            self._end(ask, [])

    def _end(self, ask: _Ask, late: list[int]) -> None:
        ask.on_reached()
        if not ask.done.called:
            ask.done.callback(late)

    def _answer(self, words: Words, blob: bytes) -> None:
        call = words["call"]
        reply = SiblingReply(lambda said, bytes_: self._send({"say": "reply", "call": call, **said}, bytes_))
        try:
            self.answerers[words["what"]](words["with"], blob, reply)
        except Exception:  # noqa: BLE001  the one who asks must not wait for ever
            self._log.failure("a sibling's question {what} could not be answered", what=words["what"])
            reply.end()
