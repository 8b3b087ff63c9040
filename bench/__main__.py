"""``python -m bench``: the comparison, and on request growth curves, plots and flame graphs."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import attrs

from bench import document, flames, fleet, interpreter, machine, memory, report
from bench.contest import Contest
from bench.growth import Growth
from bench.scenarios import paths
from bench.servers import BenchError, Lab


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds of every path (5)")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of one measurement (5)")
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="TEXT",
        help="paths whose name contains TEXT, or memory, or fleet",
    )
    parser.add_argument("--growth", type=Path, metavar="DIR", help="growth curves, drawn into DIR, not the comparison")
    parser.add_argument("--profile", type=Path, metavar="DIR", help="flame graphs into DIR, not the comparison")
    parser.add_argument("--stacks", action="store_true", help="with --profile: collapsed stacks, not pictures")
    parser.add_argument(
        "--document", type=Path, metavar="FILE", help="put the tables into FILE, in their marked places"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE")
    return parser.parse_args()


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    options = arguments()
    for name in machine.missing():
        say(f"{name} is not installed; on Debian: apt-get install {machine.PACKAGES[name]}")
    if machine.program("wrk") is None or machine.program("nginx") is None:
        say("without wrk, and nginx as the backend, nothing can be measured")
        return 0
    with tempfile.TemporaryDirectory(prefix="bench-") as place:
        Path(place).chmod(0o755)
        with Lab(Path(place), machine.Cores.dealt(machine.available_cores()), interpreter.fastest()) as lab:
            say(lab.described)
            figures = grow(lab, options) if options.growth else compare(lab, options)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


def compare(lab: Lab, options: argparse.Namespace) -> object:
    """The comparison of SPEC 12, or flame graphs of its paths."""
    contest = Contest(lab, say)
    chosen = [path for path in paths() if not options.only or any(text in path.name for text in options.only)]
    if options.profile:
        for path in chosen:
            flames.record(contest, path, options.seconds, options.profile, say, "raw" if options.stacks else "svg")
        return {}
    results = contest.rounds(chosen, options.rounds, options.seconds)
    in_bytes = frozenset(path.name for path in chosen if path.in_bytes)
    table = report.rows(results)
    judged = report.verdicts(table, in_bytes)
    if not options.only or "memory" in options.only:
        judged += memory.measure(lab, contest.backend)
    text = f"{lab.described}; {options.rounds} rounds of {options.seconds:g} s"
    text = f"{text}\n\n{report.text(table, judged, in_bytes)}"
    if not options.only or "fleet" in options.only:
        text = f"{text}\n\n{fleet.text(fleet.measure(lab, contest.backend))}"
    print(text)
    if options.document:
        document.place(options.document, "comparison", text)
    return report.as_json(lab.described, table, judged)


def grow(lab: Lab, options: argparse.Namespace) -> object:
    """The growth curves, as tables and pictures."""
    from bench import plots  # matplotlib is slow to import and not needed otherwise

    curves, texts = [], [lab.described]
    print(lab.described)
    for curve in Growth(lab, options.seconds, say).curves(options.only):
        curves.append(curve)
        plots.draw([curve], options.growth)
        texts.append(f"![{curve.title}](performance/{curve.name}.svg)\n\n{curve.text()}")
        print(f"\n{curve.text()}", flush=True)
    if options.document:
        document.place(options.document, "growth", "\n\n".join(texts))
    return {"machine": lab.described, "curves": [attrs.asdict(curve) for curve in curves]}


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as problem:
        say(f"bench: {problem}")
        sys.exit(1)
