"""One client's place in a body that arrives for several: what is there is handed on at the client's pace."""

from __future__ import annotations

from typing import Protocol

from twisted.python.failure import Failure

from caching_proxy.http.body import Body


class Collected(Protocol):
    """The body, as one of its readers sees it."""

    def read(self, at: int) -> bytes:
        """Some bytes from position ``at`` on; none if there are no more yet."""

    def finish(self, reader: TeeReader) -> bool:
        """Whether ``reader``, who has read all there is, is at the end; it is told so."""

    def held(self) -> None:
        """A reader is not ready for more."""

    def left(self, reader: TeeReader) -> None:
        """The client of ``reader`` is gone."""


class TeeReader:
    """One client's place in a fill; the source behind its body."""

    __slots__ = ("_fill", "_paused", "_pushing", "at", "behind_from", "body")
    body: Body

    def __init__(self, fill: Collected) -> None:
        self.at = 0
        self.behind_from = 0  # where it was when the body was not collected any more
        self._fill: Collected | None = fill
        self._paused = False
        self._pushing = False

    @property
    def ready(self) -> bool:
        """Whether the client takes more, and is not being handed older bytes just now."""
        return not self._paused and not self._pushing

    def push(self) -> None:
        """Hand the client what is there, as far as it takes it."""
        if self._pushing or self._fill is None:
            return
        self._pushing = True
        fill = self._fill
        while not self._paused and self._fill is not None:
            data = fill.read(self.at)
            if not data:
                break
            self.at += len(data)
            self.body.feed(data)
        self._pushing = False
        if not self._paused and self._fill is not None and fill.finish(self):
            self._fill = None

    def cut(self, why: Failure) -> None:
        """Its client gets no more of the body."""
        self._fill = None
        self.body.fail(why)

    # -- Source ----------------------------------------------------------------------------------

    def pause_body(self) -> None:
        self._paused = True
        if self._fill is not None:
            self._fill.held()

    def resume_body(self) -> None:
        self._paused = False
        self.push()

    def cancel_body(self) -> None:
        fill, self._fill = self._fill, None
        if fill is not None:
            fill.left(self)
