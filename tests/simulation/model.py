"""Which answers are allowed.

Every answer is of one version of its target; what changes a target makes the next version. From some moment on
nothing older than a version may be answered, by one proxy or by all, or be in the store: these are the promises kept
here, by target and role.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from simulation.world import World

TARGETS = (b"/plain", b"/tagged", b"/varied")
ROLES = (b"anonymous", b"editor")
Place = tuple[bytes, bytes]
"""A target and a role."""

PLACES: tuple[Place, ...] = tuple((target, role) for target in TARGETS for role in ROLES)


@attrs.frozen
class Acknowledged:
    """An invalidation of ``places`` that was acknowledged at ``moment``, when the ledger was at ``mark``."""

    places: frozenset[Place]
    version: int
    mark: int
    moment: float


class Model:
    """Versions and promises. ``marks`` numbers every mark that any ledger ever had, in order."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.versions = dict.fromkeys(TARGETS, 1)
        self.marks: dict[bytes, int] = {}
        self.acknowledged: list[Acknowledged] = []
        self.stored = dict.fromkeys(PLACES, 0)
        """Nothing older may be in the store."""

    def changed(self, target: bytes) -> int:
        """The backend has something new; its version."""
        self.versions[target] += 1
        self._world.note(f"{target.decode()} is at {self.versions[target]}")
        return self.versions[target]

    def entered(self, mark: bytes) -> None:
        """The server has a new mark."""
        self.marks[mark] = len(self.marks)

    def promised(self, places: frozenset[Place], version: int, soft: bool = False) -> None:
        """An invalidation that was made after ``version`` came about is acknowledged; a ``soft`` one leaves what is
        older in the store, as stale."""
        for place in () if soft else places:
            self.stored[place] = max(self.stored[place], version)
        self.acknowledged.append(Acknowledged(places, version, len(self.marks) - 1, self._world.now))

    def heard(self, place: Place, seen: bytes | None) -> int:
        """The oldest version that a proxy may answer which has applied all up to the mark ``seen``."""
        mark = self.marks.get(seen or b"", -1)
        return max([0, *(each.version for each in self.acknowledged if each.mark <= mark and place in each.places)])

    def before(self, place: Place, moment: float) -> int:
        """The oldest version that a proxy may answer which has learnt what was acknowledged before ``moment``."""
        known = (each.version for each in self.acknowledged if each.moment < moment and place in each.places)
        return max([0, *known])
