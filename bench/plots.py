"""Curves as small SVG pictures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import matplotlib

from bench.curves import Curve

matplotlib.use("Agg")

from matplotlib import pyplot

_MARKS = "osd^"


def draw(curves: Iterable[Curve], directory: Path) -> list[Path]:
    """One picture for each curve, ``directory/name.svg``."""
    directory.mkdir(parents=True, exist_ok=True)
    matplotlib.rcParams["svg.hashsalt"] = "bench"  # else identifiers inside differ from run to run
    return [_draw(curve, directory / f"{curve.name}.svg") for curve in curves]


def _draw(curve: Curve, file: Path) -> Path:
    figure, axes = pyplot.subplots(figsize=(6.4, 3.6))
    for mark, (name, values) in zip(_MARKS, curve.series.items(), strict=False):
        axes.plot(curve.xs, values, marker=mark, label=name)
    if max(curve.xs) > 50:
        axes.set_xscale("symlog" if min(curve.xs) == 0 else "log")
    if curve.log_y:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlabel(curve.x_label)
    axes.set_ylabel(curve.y_label, fontsize=8)
    axes.set_title(curve.title, fontsize=10)
    axes.grid(alpha=0.3)
    if len(curve.series) > 1:
        axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)
    return file
