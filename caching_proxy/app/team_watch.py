"""What all workers do: each tells its figures and what happened in it, when one of them is watched."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import attrs

from caching_proxy.app.figures import Figures, shown, together
from caching_proxy.telemetry.fetched_lines import FetchedLines
from caching_proxy.telemetry.happenings import Happening, Happenings
from caching_proxy.web.admin.streams import Seen
from caching_proxy.workers.frames import pieces
from caching_proxy.workers.siblings import Parts, SiblingReply, Siblings, Words

FIGURES = "figures"


class TeamWatch:
    """``statistics``, ``happenings`` and ``lines`` are those of this worker, which the others know as ``name``;
    ``siblings`` has the others."""

    def __init__(
        self,
        siblings: Siblings,
        name: str,
        statistics: Callable[[], Figures],
        happenings: Happenings,
        lines: FetchedLines,
    ) -> None:
        self._siblings = siblings
        self._name = name
        self._lines = lines
        self._statistics = statistics
        self._happenings = happenings
        siblings.answerers[FIGURES] = self._answer

    async def look(self, since: float, requests: bool) -> Seen:
        """The figures of all workers that answer, what happened in the others after ``since`` (POSIX seconds), and
        the ``requests`` that they answered since they were last asked."""
        words = {"since": since, "lines": self._name if requests else ""}
        said = await self._siblings.gather(FIGURES, words, patient=False)
        figures, news = [self._statistics()], list[Happening]()
        lines, left_out = list[str](), 0
        for parts in said.parts.values():
            told = _told(parts)
            if told is not None:
                figures.append(Figures(**told["figures"]))
                news += [Happening(**each) for each in told["news"]]
                lines += told["lines"]
                left_out += told["left_out"]
        return Seen(shown(together(figures)), sorted(news, key=lambda happening: happening.time), lines, left_out)

    def _answer(self, words: Words, blob: bytes, reply: SiblingReply) -> None:
        news = [attrs.asdict(each) for each in self._happenings.recent() if each.time > words["since"]]
        lines, left_out = self._lines.fetch(words["lines"]) if words["lines"] else ([], 0)
        told = {"figures": attrs.asdict(self._statistics()), "news": news, "lines": lines, "left_out": left_out}
        for piece in pieces(json.dumps(told).encode("ascii")):
            reply.part({}, piece)
        reply.end()


def _told(parts: Parts) -> dict[str, Any] | None:
    """What a worker said; None where it died half-way."""
    try:
        told = json.loads(b"".join(blob for _, blob in parts))
    except ValueError:
        return None
    return told if isinstance(told, dict) else None
