"""What ended workers have counted."""

from __future__ import annotations

from caching_proxy.telemetry.metrics import Metrics
from caching_proxy.telemetry.metrics.snapshot import Snapshot
from caching_proxy.workers.archive import Archive


def counted(n: int) -> bytes:
    metrics = Metrics()
    metrics.counter("cache_invalidations_total").inc(n)
    metrics.gauge("hot_cache_entries").set(n)
    return metrics.snapshot("1", 1).encode()


def kept(archive: Archive) -> float:
    values = Snapshot.decode(archive.own()).values
    assert "hot_cache_entries" not in values
    value = values.get("cache_invalidations_total", {}).get((), 0.0)
    assert isinstance(value, float)
    return value


def make() -> Archive:
    return Archive(lambda: Snapshot("supervisor", 0, {}))


def test_what_the_ended_said_last_is_added_up() -> None:
    archive = make()
    for worker, said in ((1, [3, 5]), (2, [7])):
        for n in said:
            archive.part(worker, counted(n), more=False)
    assert kept(archive) == 0, "they are still there and speak for themselves"
    archive.gone(1)
    archive.gone(2)
    archive.gone(3)
    assert kept(archive) == 12


def test_a_half_said_answer_changes_nothing() -> None:
    archive, text = make(), counted(9)
    archive.part(1, counted(2), more=False)
    archive.part(1, text[:20], more=True)
    archive.gone(1)
    assert kept(archive) == 2


def test_parts_make_a_whole() -> None:
    archive, text = make(), counted(9)
    for at in range(0, len(text), 100):
        archive.part(1, text[at : at + 100], more=True)
    archive.part(1, b"", more=False)
    assert archive.known(1) == text
    archive.gone(1)
    assert (kept(archive), archive.known(1)) == (9, b"")
