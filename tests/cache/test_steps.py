"""The steps of requests are those of the diagram in docs/architecture.md; some request takes each of its arrows."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from support.memory_proxy import MemoryProxy

from caching_proxy.cache.requests import ClientRequest
from caching_proxy.cache.steps import Step

DOCUMENT = (Path(__file__).resolve().parents[2] / "docs" / "architecture.md").read_text(encoding="utf-8")
ARROWS = set(re.findall(r"^    (\w+) --> (\w+)$", DOCUMENT, re.MULTILINE))
EXPLAINED = re.findall(r"^\| `(\w+)` \|", DOCUMENT, re.MULTILINE)
FRESH = "Cache-Control: max-age=60"


class Watched(MemoryProxy):
    """A proxy of which each request's steps are written down."""

    def __init__(self, **more: object) -> None:
        self.steps: dict[bytes, list[str]] = {}
        super().__init__(tell=self._note, **more)  # type: ignore[arg-type]

    def _note(self, step: Step, request: ClientRequest) -> None:
        self.steps.setdefault(request.request_id, []).append(step.value)


def pass_by(proxy: Watched) -> None:
    proxy.ask("POST", "/x")
    proxy.get("/x", "Authorization: none")


def loop(proxy: Watched) -> None:
    proxy.get("/x", "Via: 1.1 caching-proxy")


def miss_hit_and_stale(proxy: Watched) -> None:
    proxy.says(FRESH, 'ETag: "a"')
    proxy.get()
    proxy.get()
    proxy.forget_memory()
    proxy.get()
    proxy.advance(61)
    proxy.get()


def behind_the_back(proxy: Watched) -> None:
    proxy.says("Cache-Control: max-age=10, stale-while-revalidate=60")
    proxy.get()
    proxy.advance(20)
    proxy.get()


def together(proxy: Watched) -> None:
    proxy.says(FRESH)
    proxy.backend.hold()
    waiting = [proxy.start("GET", "/x") for _ in range(3)]
    proxy.backend.release()
    assert all(each.answer for each in waiting)


def not_shared(proxy: Watched) -> None:
    proxy.says("Cache-Control: no-store")
    proxy.backend.hold()
    waiting = [proxy.start("GET", "/x") for _ in range(2)]
    proxy.backend.release()
    assert all(each.answer for each in waiting)


def silent(proxy: Watched) -> None:
    proxy.says("Cache-Control: max-age=10, stale-if-error=600")
    proxy.get()
    proxy.advance(20)
    proxy.backend.hold()
    waiting = [proxy.start("GET", "/x") for _ in range(2)]
    proxy.advance(2)
    assert [each.answer.body for each in waiting if each.answer] == [b"one"] * 2
    proxy.backend.release()


def guessed_wrong(proxy: Watched) -> None:
    proxy.says(FRESH, "Vary: Accept-Language")
    for language in ("de", "en"):
        proxy.get("/x", f"Accept-Language: {language}")
    proxy.forget_memory()
    proxy.varying.__init__()  # type: ignore[misc]
    proxy.get("/x", "Accept-Language: de")


def filled(proxy: Watched) -> None:
    proxy.says(FRESH, 'ETag: "a"')
    proxy.get("/x", 'If-None-Match: "a"')


SCENES: list[Callable[[Watched], None]] = [
    *(pass_by, loop, miss_hit_and_stale, behind_the_back, together, not_shared, silent, guessed_wrong, filled),
]


def until_answered(proxy: Watched) -> list[list[str]]:
    """The steps of each request; what goes on for the cache alone after a stale answer stood in is left out."""
    return [steps[: steps.index("answer") + 1] for steps in proxy.steps.values()]


def arrows_of(proxy: Watched) -> set[tuple[str, str]]:
    return {pair for steps in until_answered(proxy) for pair in itertools.pairwise(steps)}


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_a_request_takes_arrows_of_the_diagram(scene: Callable[[Watched], None]) -> None:
    proxy = Watched(fill_on_conditional=True)
    scene(proxy)
    assert proxy.steps
    assert arrows_of(proxy) - ARROWS == set()
    assert {steps[0] for steps in until_answered(proxy)} == {"receive"}


def test_every_arrow_is_taken_by_some_request() -> None:
    taken: set[tuple[str, str]] = set()
    for scene in SCENES:
        proxy = Watched(fill_on_conditional=True)
        scene(proxy)
        taken |= arrows_of(proxy)
    assert ARROWS - taken == set()


def test_diagram_table_and_set_have_the_same_steps() -> None:
    names = {step.value for step in Step}
    assert {name for arrow in ARROWS for name in arrow} == names
    assert sorted(EXPLAINED) == sorted(names)
