"""Puts measured figures into a document, between the comments that mark their place.

``<!-- bench: NAME -->`` opens a place, ``<!-- bench: end -->`` closes it; everything else stays as it is.
"""

from __future__ import annotations

from pathlib import Path

from bench.servers import BenchError

END = "<!-- bench: end -->"


def place(file: Path, name: str, text: str) -> None:
    """Write ``text`` into the place called ``name``; BenchError if ``file`` has no such place."""
    mark = f"<!-- bench: {name} -->"
    before, found, rest = file.read_text().partition(mark)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise BenchError(f"{file} has no place called {name}")
    file.write_text(f"{before}{mark}\n\n{text.strip()}\n\n{END}{after}")
