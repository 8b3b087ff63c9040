"""Answers made from a stored entry, kept for as long as its age in whole seconds says the same."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from caching_proxy.http.messages import Field
from caching_proxy.http.pieces import Content
from caching_proxy.rules.entry import CacheEntry

FORMS = 16
"""Answers of one entry that are kept for a second: to GET, to HEAD, to some conditions."""

_GET = b"GET"


@attrs.define(slots=True, eq=False)
class Rendering:
    """An answer's head as bytes and its body."""

    status: int
    head: bytes
    body: Content


@attrs.define(slots=True, eq=False)
class Shown:
    """An entry that answers, and the answers made from it while its age in whole seconds is ``age``.

    ``settled``: the same request is answered so for as long as the record stays. ``whole`` is the one to a GET without
    conditions: most entries are asked for nothing else.
    """

    entry: CacheEntry
    settled: bool = True
    age: int = -1
    whole: Rendering | None = None
    _others: dict[object, Rendering] | None = None
    """By form. That of a GET with a single condition is the condition's name and value."""

    def renew(self, age: int) -> None:
        """A second has passed: ``Age`` and its like say something else."""
        self.age = age
        self.whole = self._others = None

    def find(self, form: object) -> Rendering | None:
        """The answer of a ``form``: a method, a status, or what the request said."""
        if form == _GET:
            return self.whole
        return None if self._others is None else self._others.get(form)

    def conditional(self, lines: Sequence[Field], at: int | None) -> Rendering | None:
        """The answer to a GET whose one condition stands ``at`` that place of ``lines``."""
        return None if at is None or self._others is None else self._others.get(lines[at])

    def keep(self, form: object, rendering: Rendering) -> None:
        """Keep an answer for the rest of the second."""
        if form == _GET:
            self.whole = rendering
        elif self._others is None:
            self._others = {form: rendering}
        elif len(self._others) < FORMS:
            self._others[form] = rendering
