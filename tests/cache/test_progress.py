"""What long invalidations tell of themselves, and which need no walk at all."""

from __future__ import annotations

import pytest
from support.memory_proxy import MemoryProxy, down

from caching_proxy.cache import pending, walk

Lines = list[tuple[str, str]]


def filled(proxy: MemoryProxy, count: int) -> None:
    proxy.says("Cache-Control: max-age=600", "Surrogate-Key: tag")
    for nth in range(count):
        proxy.get(f"/p/{nth}")


def test_a_long_walk_says_how_far_it_is(logged_lines: Lines) -> None:
    proxy = MemoryProxy()
    filled(proxy, 30)
    proxy.store.hold("delete")
    result = proxy.invalidate("cache:GET:*:/p/*")
    progress = proxy.invalidator.progress
    assert (len(progress.running), progress.looked_at_now, progress.changed_now) == (1, 30, 0)
    proxy.advance(1.5)
    assert progress.seconds == pytest.approx(1.5)
    proxy.store.release()
    assert result == [30]
    assert (progress.running, progress.seconds, progress.walks, progress.looked_at, progress.changed) == (
        [],
        0,
        1,
        30,
        30,
    )
    told = [text for _, text in logged_lines if "invalidating" in text]
    assert told == [
        "invalidating cache:GET:*:/p/* goes on: 30 keys looked at, 30 of them changed, in 1.5 s",
        "invalidating cache:GET:*:/p/* is done: 30 keys looked at, 30 of them changed, in 1.5 s",
    ]


def test_a_short_walk_says_nothing(logged_lines: Lines) -> None:
    proxy = MemoryProxy()
    filled(proxy, 3)
    assert proxy.invalidate("cache:GET:*:/p/*") == [3]
    assert [text for _, text in logged_lines if "invalidating" in text] == []
    assert proxy.invalidator.progress.walks == 1


def test_a_walk_that_breaks_off_is_begun_again(logged_lines: Lines) -> None:
    proxy = MemoryProxy()
    filled(proxy, 3)
    proxy.store.hold("delete")
    proxy.invalidate("cache:GET:*:/p/*")
    proxy.advance(2)
    proxy.store.failing = down()
    proxy.store.release()
    assert [text for _, text in logged_lines if "breaks off" in text] != []
    assert proxy.invalidator.progress.running == []
    proxy.store.failing = None
    proxy.advance(1)
    assert proxy.invalidator.pending == 0
    assert proxy.invalidator.progress.walks == 2


def test_a_tag_is_walked_over_too(logged_lines: Lines) -> None:
    proxy = MemoryProxy()
    filled(proxy, 3)
    proxy.store.delay("tagged")
    proxy.invalidate_tags(b"tag")
    proxy.advance(3)
    proxy.store.release()
    assert [text for _, text in logged_lines if "invalidating" in text][-1].startswith(
        "invalidating tag tag is done: 3 keys"
    )


@pytest.mark.parametrize(
    ("patterns", "walks"),
    [
        ([b"cache:GET:*:/p/1"], 0),
        ([b"cache:GET:*:/p/1", b"cache:GET:/p/1"], 0),
        ([b"cache:GET:*:/p/\\*"], 0),
        ([b"cache:GET:anonymous:/p/1"], 0),
        ([b"cache:GET:*:/p/1", b"cache:GET:/p/2"], 1),
        ([b"cache:GET:*:/p/?"], 1),
        ([b"cache:*:/p/1"], 1),
    ],
)
def test_what_names_a_target_or_a_key_is_looked_up(patterns: list[bytes], walks: int) -> None:
    proxy = MemoryProxy()
    filled(proxy, 3)
    proxy.store.calls.clear()
    proxy.invalidator.invalidate(*patterns)
    assert proxy.store.calls.count("scan") == walks
    assert proxy.invalidator.pending == 0
    if b"/p/1" in patterns[0]:
        assert proxy.get("/p/1").cache == "MISS"
    assert proxy.get("/p/0").cache == ("MISS" if b"?" in patterns[0] else "HOT_HIT")


@pytest.mark.parametrize("in_memory", [True, False])
def test_many_removed_keys_are_counted_without_their_names(monkeypatch: pytest.MonkeyPatch, in_memory: bool) -> None:
    monkeypatch.setattr(pending, "MOST_NAMED", 10)
    monkeypatch.setattr(walk, "DELETE_BATCH", 4)
    proxy = MemoryProxy()
    filled(proxy, 50)
    if not in_memory:
        proxy.forget_memory()
    gone: list[set[bytes]] = []
    proxy.invalidator.invalidate(b"cache:GET:*:/p/*", b"cache:GET:/p/*").addCallback(gone.append)
    assert len(gone[0]) == 50
    assert set.__len__(gone[0]) == (50 if in_memory else 12)
    assert proxy.invalidator.pending == 0
