"""What breaks in a game, and how it is mended."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from simulation.play import Game, Slot
    from simulation.process import Process

MOODS = (
    b"LOADING Redis is loading the dataset in memory",
    b"READONLY You can't write against a read only replica.",
    b"OOM command not allowed when used memory > 'maxmemory'.",
    b"BUSY Redis is busy running a script.",
    b"NOAUTH Authentication required.",
)


class Faults:
    """Those of one game. Whatever lasts ends by itself, or with :meth:`end`."""

    def __init__(self, game: Game) -> None:
        self._game = game
        self._world = game.world
        self._dead: list[Process] = []  # kept: what python frees with them would make a noise in the middle of the game
        self.stopping: list[Process] = []
        """Processes that end in order, and have not yet."""
        self._mending: list[Callable[[], None]] = []
        self._kinds: dict[str, Callable[[Slot], None]] = {
            "cut": self._cut,
            "stall": self._stall,
            "freeze": self._freeze,
            "mood": self._mood,
            "restart redis": self._restart_redis,
            "flush": self._flush,
            "forget scripts": lambda slot: game.server.known.clear(),
            "kill": self._kill,
            "restart": self._restart,
            "unsubscribe": self._unsubscribe,
        }

    def strike(self, slot: Slot) -> None:
        """Something goes wrong."""
        kind = self._world.random.choice(self._world.odds.faults)
        self._world.note(f"FAULT {kind} at {slot.name.decode()}")
        self._kinds[kind](slot)

    def end(self) -> None:
        """Mend everything."""
        while self._mending:
            self._mending[0]()

    def _lasts(self, mend: Callable[[], None]) -> None:
        """Mended after a while."""

        def mended() -> None:
            if mended in self._mending:
                self._mending.remove(mended)
                self._world.note("mended")
                mend()

        self._mending.append(mended)
        self._world.clock.callLater(self._world.random.choice((0.001, 0.05, 1.0, 3.5, 12.0)), mended)

    def _cut(self, slot: Slot) -> None:
        wires = slot.link.wires
        for wire in self._world.random.sample(wires, self._world.random.randint(0, len(wires))):
            wire.cut()

    def _unsubscribe(self, slot: Slot) -> None:
        for wire in [wire for wire in slot.link.wires if wire.subscribed]:
            wire.cut()

    def _stall(self, slot: Slot) -> None:
        slot.link.stalled = True

        def go_on() -> None:
            slot.link.stalled = False
            slot.link.let_go()

        self._lasts(go_on)

    def _freeze(self, slot: Slot) -> None:
        self._world.frozen = True

        def thaw() -> None:
            self._world.frozen = False
            for each in self._game.slots:
                each.link.let_go()

        self._lasts(thaw)

    def _mood(self, slot: Slot) -> None:
        server = self._game.server
        server.mood = self._world.random.choice(MOODS)

        def well() -> None:
            server.mood = None

        self._lasts(well)

    def _restart_redis(self, slot: Slot) -> None:
        if self._anybody_new():
            return
        self._world.down = True
        server = self._game.server
        server.emptied()
        server.known.clear()
        for each in self._game.slots:
            for wire in list(each.link.wires):
                wire.cut()
        server.sessions.clear()

        def up() -> None:
            self._world.down = False

        self._lasts(up)

    def _flush(self, slot: Slot) -> None:
        if not self._anybody_new():
            self._game.server.emptied()

    def _anybody_new(self) -> bool:
        """Who has not asked for the ledger yet does not learn that it was lost: documented."""
        return any(not slot.process.bus.seen for slot in self._game.slots)

    def _kill(self, slot: Slot) -> None:
        slot.process.kill()
        self._dead.append(slot.process)
        slot.lose()
        slot.begin()

    def _restart(self, slot: Slot) -> None:
        """In order: what it is told to stop it finishes, while its successor begins."""
        old = slot.process
        slot.lose()
        self.stopping.append(old)
        Deferred.fromCoroutine(old.stop()).addBoth(self._stopped, old)
        slot.begin()

    def _stopped(self, left: object, process: Process) -> None:
        self.stopping.remove(process)
        if isinstance(left, Failure):  # else whatever it was at for clients, who did not get to the end
            self._world.fail(f"{process.origin!r} cannot stop: {left}")
