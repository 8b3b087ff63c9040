"""What growth looks like: numbers along one axis for one or more servers, and how to show them as text."""

from __future__ import annotations

from collections.abc import Sequence

import attrs


@attrs.frozen(kw_only=True)
class Curve:
    """``name`` is a file's name; each series has one value for every x."""

    name: str
    title: str
    x_label: str
    y_label: str
    xs: Sequence[float]
    series: dict[str, list[float]]
    log_y: bool = False

    def text(self) -> str:
        """A table, one row for each x."""
        head = f"| {self.x_label} | " + " | ".join(self.series) + " |"
        rule = "| ---: " * (len(self.series) + 1) + "|"
        lines = [f"{self.title} ({self.y_label}):", "", head, rule]
        for index, x in enumerate(self.xs):
            values = " | ".join(f"{values[index]:,.2f}" for values in self.series.values())
            lines.append(f"| {x:,.0f} | {values} |")
        return "\n".join(lines)


def relative(values: Sequence[float], base: float | None = None) -> list[float]:
    """``values`` as multiples of ``base``, by default of the first."""
    unit = values[0] if base is None else base
    return [value / unit for value in values]
