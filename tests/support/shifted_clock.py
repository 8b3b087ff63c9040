"""A wall clock that a test sets back and forth in a real process, which knows nothing of it.

The process gets a ``sitecustomize`` of its own through ``PYTHONPATH``: its ``time.time`` adds eight bytes that it
shares with the test through a file in memory. The monotonic clock stays as it is, as on a machine whose clock is set.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

_OFFSET = struct.Struct("d")
_PATCH = """
import mmap, struct, time
with open({path!r}, "r+b") as file:
    _shared = mmap.mmap(file.fileno(), 8)
_real, _offset = time.time, struct.Struct("d").unpack_from
time.time = lambda: _real() + _offset(_shared)[0]
"""


class ShiftedClock:
    """Put ``environment`` into the settings of a process; :meth:`by` then shifts its clock."""

    def __init__(self, folder: Path) -> None:
        path = folder / "offset"
        path.write_bytes(bytes(_OFFSET.size))
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), _OFFSET.size)
        site = folder / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text(_PATCH.format(path=str(path)))
        root = Path(__file__).resolve().parents[2]
        self.environment = {"PYTHONPATH": f"{site}:{root}"}

    def by(self, seconds: float) -> None:
        """From now on the process is so many seconds ahead (negative: behind) of the machine."""
        _OFFSET.pack_into(self._shared, 0, seconds)
