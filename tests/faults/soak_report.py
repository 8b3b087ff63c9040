"""What a long run has shown: printed, and drawn if matplotlib is there."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from pathlib import Path
from statistics import median

import attrs

SHARES = (95, 99, 99.9)


@attrs.frozen
class Sample:
    """Half a second: ``at`` seconds from the start, ``hits`` the share from the cache, ``p99`` of hot hits in
    milliseconds, ``memory`` resident bytes, ``fault`` its name or empty."""

    at: float
    asked: int
    hits: float
    p99: float
    memory: int
    files: int
    breaker: int
    fault: str


@attrs.frozen
class Whole:
    """What is said of the run as a whole; ``lag`` counts by bound how late the event loop was, as a histogram does."""

    samples: Sequence[Sample]
    statuses: dict[str, int]
    invalidations: dict[int, int]
    lag: dict[float, int]
    problems: Sequence[str]


def written(whole: Whole) -> str:
    """The report, as Markdown."""
    samples = whole.samples
    early, late = _thirds([each.memory for each in samples])
    lines = [
        f"requests: {sum(each.asked for each in samples):,} in {samples[-1].at / 60:.1f} minutes;"
        f" by status {dict(sorted(whole.statuses.items()))}",
        f"invalidations of everything, by status: {dict(sorted(whole.invalidations.items()))}",
        f"resident memory: {samples[0].memory >> 20} MiB at first, {max(each.memory for each in samples) >> 20} MiB at"
        f" most; median of the second third {early >> 20} MiB, of the last {late >> 20} MiB",
        f"open files: {samples[0].files} at first, {samples[-1].files} at last",
        "event loop late: "
        + ", ".join(f"{share:g} % within {_within(whole.lag, share):g} s" for share in (95, 99, 99.9)),
        "",
        "| fault | seconds | from the cache | p99 of hot hits, median and worst (ms) |",
        "| --- | --- | --- | --- |",
        *(_row(name, samples) for name in sorted({each.fault for each in samples})),
        "",
        *(f"PROBLEM: {problem}" for problem in whole.problems[:30]),
    ]
    return "\n".join(lines)


def _thirds(values: Sequence[int]) -> tuple[int, int]:
    """The medians of the second and the last third."""
    third = max(1, len(values) // 3)
    return int(median(values[third : 2 * third] or values)), int(median(values[-third:]))


def growth(samples: Sequence[Sample]) -> int:
    """Bytes by which memory was larger in the last third than in the second."""
    early, late = _thirds([each.memory for each in samples])
    return late - early


def _within(lag: dict[float, int], share: float) -> float:
    total = lag.get(float("inf"), 0)
    return next((bound for bound in sorted(lag) if lag[bound] >= share / 100 * total), 0.0)


def _row(name: str, samples: Sequence[Sample]) -> str:
    mine = [each for each in samples if each.fault == name and each.asked]
    if not mine:
        return f"| {name} | 0 | | |"
    late = [each.p99 for each in mine if each.p99]
    times = f"{median(late):.1f}, {max(late):.1f}" if late else "no hot hit"
    asked = sum(each.asked for each in mine)
    share = sum(each.hits * each.asked for each in mine) / asked
    return f"| {name or 'none'} | {len(mine) / 2:.0f} | {share:.0%} | {times} |"


def draw(samples: Sequence[Sample], path: Path) -> bool:
    """Latency, memory, hit ratio and breaker over time, faults marked; whether that could be drawn."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        return False
    at = [each.at for each in samples]
    rows = (
        ("p99 of hot hits, ms", [each.p99 or nan for each in samples]),
        ("resident, MiB", [each.memory / (1 << 20) for each in samples]),
        ("from the cache", [each.hits for each in samples]),
        ("breaker (2: open)", [each.breaker for each in samples]),
    )
    figure, axes = pyplot.subplots(len(rows), 1, sharex=True, figsize=(12, 8))
    for axis, (label, values) in zip(axes, rows, strict=True):
        axis.plot(at, values, linewidth=0.7)
        axis.set_ylabel(label)
        for begin, end in _spans(samples):
            axis.axvspan(begin, end, color="tab:red", alpha=0.12, linewidth=0)
    axes[0].set_yscale("log")
    axes[1].set_ylim(bottom=0)
    axes[-1].set_xlabel("seconds; faults are shaded")
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    return True


def _spans(samples: Sequence[Sample]) -> list[tuple[float, float]]:
    """From when to when there was a fault."""
    spans: list[tuple[float, float]] = []
    begin: float | None = None
    for each in samples:
        if each.fault and begin is None:
            begin = each.at
        elif not each.fault and begin is not None:
            spans.append((begin, each.at))
            begin = None
    return spans
