"""Figures from rounds: medians and spread, the claims of SPEC 12, as text and as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from statistics import median

import attrs

from bench.contest import Result
from bench.scenarios import BODY, CLAIMS, PROXY, PROXY_LOG, WORST_P99, Claim

MOST_GROWTH = 32 * 1024 * 1024
"""Bytes by which resident memory may grow while large bodies pass (SPEC 12)."""


@attrs.frozen
class Row:
    """One contender on one path. ``rate`` and ``throughput`` are medians, the pairs the lowest and highest round.

    Rates in requests a second, throughput in MB/s, latencies and ``cpu`` (for one answer) in microseconds, growth in
    bytes.
    """

    path: str
    contender: str
    rate: float
    rates: tuple[float, float]
    throughput: float
    throughputs: tuple[float, float]
    p50: float
    p99: float
    cpu: float
    growth: int
    share: float | None
    failed: int

    @classmethod
    def of(cls, results: Sequence[Result]) -> Row:
        samples = [result.sample for result in results]
        rates = [sample.rate for sample in samples]
        throughputs = [sample.throughput for sample in samples]
        shares = [result.share for result in results if result.share is not None]
        return cls(
            results[0].path,
            results[0].contender,
            median(rates),
            (min(rates), max(rates)),
            median(throughputs),
            (min(throughputs), max(throughputs)),
            median(sample.p50 for sample in samples),
            median(sample.p99 for sample in samples),
            median(result.cpu for result in results),
            max(result.growth for result in results),
            min(shares) if shares else None,
            sum(sample.failed + sample.broken for sample in samples),
        )


@attrs.frozen
class Verdict:
    """A claim and what came out; ``text`` is readable, ``met`` whether it holds."""

    text: str
    ratio: float
    met: bool


def rows(results: Iterable[Result]) -> list[Row]:
    """One row for each path and contender, in order of appearance."""
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.path, result.contender), []).append(result)
    return [Row.of(group) for group in groups.values()]


def verdicts(table: Sequence[Row], in_bytes: frozenset[str], claims: Iterable[Claim] = CLAIMS) -> list[Verdict]:
    """What became of each claim whose figures are there."""
    found = {(row.path, row.contender): row for row in table}
    judged = []
    for claim in claims:
        mine = found.get((claim.path, claim.contender))
        others = [found[reference] for reference in claim.references if reference in found]
        if mine is None or not others:
            continue
        if claim.p99:
            best = min(others, key=lambda row: row.p99)
            ratio = mine.p99 / best.p99
            text = f"{claim.path}: p99 at most {claim.at_least:g} × {best.contender}"
            judged.append(Verdict(text, ratio, ratio <= claim.at_least))
            continue
        if claim.cores > 1:
            best = min(others, key=lambda row: row.cpu)
            ratio = claim.cores * best.cpu / mine.cpu
            text = f"{claim.path}: on {claim.cores} cores at least {claim.at_least:g} × {best.contender}"
            judged.append(Verdict(f"{text}, by processor time", ratio, ratio >= claim.at_least))
            continue
        best = max(others, key=lambda row: _figure(row, in_bytes))
        ratio = _figure(mine, in_bytes) / _figure(best, in_bytes)
        where = "" if best.path == claim.path else f" {best.path}"
        text = f"{claim.path}: at least {claim.at_least:g} × {best.contender}{where}"
        judged.append(Verdict(text, ratio, ratio >= claim.at_least))
    judged += _tails(row for row in table if row.contender in (PROXY, PROXY_LOG) and row.path not in in_bytes)
    body = found.get((BODY, PROXY))
    if body is not None:
        share = body.growth / MOST_GROWTH
        judged.append(Verdict(f"{BODY}: growth of resident memory, in 32 MiB", share, share < 1))
    return judged


def _tails(ours: Iterable[Row]) -> Iterator[Verdict]:
    for row in ours:
        ratio = row.p99 / max(1.0, row.p50)
        yield Verdict(f"{row.path}: p99 at most {WORST_P99:g} × median", ratio, ratio <= WORST_P99)


def _figure(row: Row, in_bytes: frozenset[str]) -> float:
    return row.throughput if row.path in in_bytes else row.rate


def text(table: Sequence[Row], judged: Sequence[Verdict], in_bytes: frozenset[str]) -> str:
    """The tables, for a terminal and for documents; ratios are to the first row of a path."""
    lines = [
        f"| {'path':28} | {'server':21} | {'median':>12} | {'lowest – highest':>19} | {'p50 ms':>7} | {'p99 ms':>7}"
        f" | {'CPU µs':>8} | {'ratio':>5} |",
        f"| {'-' * 28} | {'-' * 21} | {'-' * 11}: | {'-' * 18}: | {'-' * 6}: | {'-' * 6}: | {'-' * 7}: | {'-' * 4}: |",
    ]
    first: dict[str, float] = {}
    for row in table:
        figure, (low, high) = (row.throughput, row.throughputs) if row.path in in_bytes else (row.rate, row.rates)
        unit = "MB/s" if row.path in in_bytes else "/s"
        base = first.setdefault(row.path, figure)
        shown = f"{figure:,.0f} {unit}"
        spread = f"{low:,.0f} – {high:,.0f}"
        lines.append(
            f"| {row.path:28} | {row.contender:21} | {shown:>12} | {spread:>19} | {row.p50 / 1000:7.2f}"
            f" | {row.p99 / 1000:7.2f} | {row.cpu:8,.1f} | {figure / base:5.2f} |"
        )
    lines.append("")
    lines += ["| claim | measured | |", "| --- | ---: | --- |"]
    lines += [f"| {verdict.text} | {verdict.ratio:.2f} | {'met' if verdict.met else 'MISSED'} |" for verdict in judged]
    lines += ["", *(f"- {doubt}" for doubt in warnings(table))]
    return "\n".join(lines)


def warnings(table: Iterable[Row]) -> list[str]:
    """What makes a figure doubtful."""
    doubts = []
    for row in table:
        if row.failed:
            doubts.append(f"{row.path}, {row.contender}: {row.failed} answers failed")
        if row.share is not None and row.share < 0.99:
            doubts.append(f"{row.path}, {row.contender}: only {row.share:.1%} went the way it is about")
    return doubts


def as_json(machine: str, table: Iterable[Row], judged: Iterable[Verdict]) -> object:
    """Everything, for programs."""
    return {
        "machine": machine,
        "rows": [attrs.asdict(row) for row in table],
        "claims": [attrs.asdict(verdict) for verdict in judged],
    }
