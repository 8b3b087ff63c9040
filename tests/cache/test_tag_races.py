"""Invalidations by tags that cross fetches, reads, writes and each other in any order: whoever asks after one gets
nothing from before it."""

from __future__ import annotations

from random import Random

import pytest
from support.memory_proxy import Exchange, MemoryProxy

from caching_proxy.http.messages import RequestHead
from caching_proxy.testing.upstream import Fetch

TAGS = {"/x": "one two", "/y": "two", "/z": "three", "/v de": "one", "/v en": "three"}
"""By path, and language where the answer depends on it."""

STORE = ("lookup", "put", "tagged", "soften", "discard", "mark")


class Race:
    """A proxy, and a backend whose answers have the version that was true when it was asked."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.proxy = MemoryProxy(keep_stale=10)
        self.proxy.backend.hold()
        self.version = dict.fromkeys(TAGS, 0)
        self.asked: dict[int, tuple[Fetch, int]] = {}
        self.open: list[tuple[Exchange, str, int]] = []
        self.told: list[str] = []

    def step(self) -> None:
        kind = self.random.choice(
            ("get",) * 5 + ("answer",) * 4 + ("change",) * 2 + ("hold", "delay", "release", "wait")
        )
        getattr(self, kind)()
        self.look()

    def get(self) -> None:
        target = self.random.choice(list(TAGS))
        wish = self.random.choice(((), (), (), ("Cache-Control: no-cache",)))
        self.told.append(f"get {target} {wish} {self.version[target]}")
        self.open.append((self.start(target, *wish), target, self.version[target]))

    def start(self, target: str, *wish: str) -> Exchange:
        path, _, language = target.partition(" ")
        lines = (*wish, f"Accept-Language: {language}") if language else wish
        return self.proxy.start("GET", path, *lines)

    def change(self) -> None:
        tag, soft = self.random.choice(("one", "two", "three")), self.random.random() < 0.3
        self.told.append(f"change {tag} {soft}")
        for target, tags in TAGS.items():
            self.version[target] += tag in tags.split()
        self.proxy.invalidate_tags(tag.encode(), soft=soft)

    def answer(self) -> None:
        waiting = [fetch for fetch, _ in self.asked.values() if fetch.waiting]
        if waiting:
            fetch = self.random.choice(waiting)
            self.told.append(f"answer {fetch.head.target!r} {self.asked[id(fetch)][1]}")
            self.reply(fetch)

    def reply(self, fetch: Fetch) -> None:
        version, target = self.asked[id(fetch)][1], target_of(fetch.head)
        lines = ["Cache-Control: max-age=900", f'ETag: "{target} {version}"']
        if " " in target:
            lines.append("Vary: Accept-Language")
        if _revalidates(fetch.head, version):
            fetch.answer(self.proxy.reply(*lines, status=304))
        else:
            fetch.answer(self.proxy.reply(*lines, f"Surrogate-Key: {TAGS[target]}", body=b"%d" % version))

    def hold(self) -> None:
        name = self.random.choice(STORE)
        self.told.append(f"hold {name}")
        self.proxy.store.hold(name)

    def delay(self) -> None:
        name = self.random.choice(STORE)
        self.told.append(f"delay {name}")
        self.proxy.store.delay(name)

    def release(self) -> None:
        names = self.random.sample(STORE, 2)
        self.told.append(f"release {names}")
        self.proxy.store.release(*names)

    def wait(self) -> None:
        seconds, forget = self.random.choice((0, 0.5, 1.0, 11.0)), self.random.random() < 0.3
        self.told.append(f"wait {seconds} {'and forget' if forget else ''}")
        self.proxy.advance(seconds)
        if forget:
            self.proxy.forget_memory()

    def look(self) -> None:
        """Note what the backend was asked just now, and hold answers against what was true when they were asked for."""
        for fetch in self.proxy.backend.requests:
            self.asked.setdefault(id(fetch), (fetch, self.version[target_of(fetch.head)]))
        for exchange, target, floor in list(self.open):
            assert exchange.failure is None
            if exchange.answer is not None:
                self.open.remove((exchange, target, floor))
                assert int(exchange.answer.body) >= floor, "\n".join([*self.told, f"{target}: {exchange.answer}"])

    def end(self) -> None:
        """Everything comes to its end, and what is stored is the latest."""
        self.proxy.store.release()
        for _ in range(100):
            self.look()
            waiting = [fetch for fetch, _ in self.asked.values() if fetch.waiting]
            for fetch in waiting:
                self.reply(fetch)
            self.proxy.advance(1)
            if not waiting and not self.open:
                break
        assert not self.open
        assert self.proxy.quiet
        assert self.proxy.invalidator.pending == 0
        for target in TAGS:
            for _ in range(2):
                self.open.append((self.start(target), target, self.version[target]))
                self.look()
                for fetch, _ in list(self.asked.values()):
                    if fetch.waiting:
                        self.reply(fetch)
                self.look()
                self.proxy.forget_memory()
        assert not self.open


def target_of(head: RequestHead) -> str:
    language = head.fields.joined(b"accept-language")
    return head.target.decode() + (f" {language.decode()}" if language else "")


def _revalidates(head: RequestHead, version: int) -> bool:
    return b'"%s %d"' % (target_of(head).encode(), version) in (head.fields.joined(b"if-none-match") or b"")


def run(seed: int) -> None:
    race = Race(seed)
    for _ in range(race.random.randint(5, 60)):
        race.step()
    race.end()


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_nobody_gets_what_was_invalidated_before_he_asked(block: int) -> None:
    for seed in range(block * 40, block * 40 + 40):
        run(seed)


def test_of_two_invalidations_the_store_carries_out_the_later_one_first() -> None:
    run(8664)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_ten_thousand_races(block: int) -> None:
    for seed in range(1000 + block * 1000, 2000 + block * 1000):
        run(seed)
