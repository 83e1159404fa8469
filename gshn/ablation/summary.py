"""Rows of the grid -> means, intervals, paired differences; as a Markdown page and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure as Canvas
from matplotlib.transforms import ScaledTranslation
from scipy import stats

from gshn.ablation.grid import BASE, Figure, Grid
from gshn.ablation.run import Row
from neuromorphic.figures import to_png

Values = dict[tuple[str, Figure], dict[int, float]]


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % confidence interval over seeds (Student's t), in percent.

    Attributes:
        mean: The mean.
        half: Half the interval's width; NaN of a single seed.
    """

    mean: float
    half: float

    @property
    def is_clear_of_zero(self) -> bool:
        """Whether zero lies outside."""
        return bool(abs(self.mean) > self.half)

    def __str__(self) -> str:
        return f"{self.mean:.1f} ± {self.half:.1f}" if np.isfinite(self.half) else f"{self.mean:.1f}"


def interval(values: Sequence[float]) -> Interval:
    """Mean and 95 % interval of fractions, in percent: t(0.975, n - 1) s / sqrt(n)."""
    x = 100 * np.asarray(values)
    half = float(stats.t.ppf(0.975, len(x) - 1) * stats.sem(x)) if len(x) > 1 else float("nan")
    return Interval(float(x.mean()), half)


def tabulate(grid: Grid, rows: Sequence[Row]) -> Values:
    """(variant, figure) -> seed -> value, of the figures that are tabulated; rows are of one part."""
    wanted = {*grid.figures, *grid.summary.values()}
    out: Values = {}
    for row in rows:
        figure = (row["task"], grid.kinds[row["split"]], row["metric"])
        if figure in wanted:
            out.setdefault((row["variant"], figure), {})[row["seed"]] = row["value"]
    return out


def difference(values: Values, variant: str, figure: Figure) -> Interval | None:
    """The base's lead over a variant, paired by seed; None where they have no seed in common."""
    base, other = values.get((BASE, figure), {}), values.get((variant, figure), {})
    common = sorted(base.keys() & other.keys())
    return interval([base[seed] - other[seed] for seed in common]) if common else None


def tables(grid: Grid, rows: Sequence[Row]) -> dict[str, list[list[str]]]:
    """A table for each task, the first row its head: means, and how far the base is ahead.

    A lead is bold (in Markdown) where its interval is clear of zero.
    """
    values = tabulate(grid, rows)
    out: dict[str, list[list[str]]] = {}
    for task, grouped in groupby(grid.figures, key=lambda figure: figure[0]):
        figures = [figure for figure in grouped if (BASE, figure) in values]
        table = [["variant", "seeds", *(text for f in figures for text in (grid.figures[f], "hybrid's lead"))]]
        for variant in grid.variants:
            own = [values.get((variant.name, f), {}) for f in figures]
            if not any(own):
                continue
            cells = [variant.label, str(max(map(len, own)))]
            cells += [text for figure in figures for text in _cell(values, variant.name, figure)]
            table.append(cells)
        if figures:
            out[task] = table
    return out


def _cell(values: Values, variant: str, figure: Figure) -> list[str]:
    """Mean with interval, and the hybrid's lead, bold where it is clear of zero; empty where there are none."""
    by_seed = values.get((variant, figure), {})
    lead = None if variant == BASE else difference(values, variant, figure)
    shown = "" if lead is None else f"**{lead}**" if lead.is_clear_of_zero else str(lead)
    return [str(interval(list(by_seed.values()))) if by_seed else "", shown]


def _lines(table: Sequence[Sequence[str]]) -> str:
    head, *body = table
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *body]) + "\n"


def summary(grid: Grid, rows: Sequence[Row]) -> str:
    """:attr:`Grid.summary` of every variant, as a Markdown table."""
    values = tabulate(grid, rows)
    table = [[grid.title, "seeds", *(text for name in grid.summary for text in (name, "hybrid's lead"))]]
    for variant in grid.variants:
        cells = [text for figure in grid.summary.values() for text in _cell(values, variant.name, figure)]
        seeds = max((len(values.get((variant.name, figure), {})) for figure in grid.summary.values()), default=0)
        if any(cells):
            table.append([variant.label, str(seeds), *cells])
    return _lines(table)


def markdown(grid: Grid, rows: Sequence[Row]) -> str:
    """:func:`tables` as Markdown."""
    parts = [
        "Percent, mean ± half of the 95 % interval over seeds. The hybrid's lead is paired by seed, in points; bold "
        "where its interval is clear of zero.\n",
        summary(grid, rows),
        *(f"### {task}\n\n{_lines(table)}" for task, table in tables(grid, rows).items()),
    ]
    return "\n".join(parts)


def leads(grid: Grid, rows: Sequence[Row]) -> Canvas:
    """Leads of the hybrid with their intervals, a panel for each task, in matplotlib's current colours."""
    values = tabulate(grid, rows)
    others = [v for v in grid.variants if v.name != BASE and any(name == v.name for name, _ in values)]
    tasks = [list(own) for _, own in groupby(grid.figures, key=lambda figure: figure[0])]
    size = (3 + 3 * len(tasks), 2.2 + 0.5 * len(others))
    figure, axes = plt.subplots(1, len(tasks), figsize=size, sharey=True, squeeze=False, layout="constrained")
    for panel, figures in zip(axes[0], tasks, strict=True):
        means: list[float] = []
        for k, own in enumerate(figures):
            ahead = [difference(values, v.name, own) for v in others]
            at = np.arange(len(others)) + 0.2 * (k - (len(figures) - 1) / 2)
            x = [np.nan if d is None else d.mean for d in ahead]
            error = [0.0 if d is None or not np.isfinite(d.half) else d.half for d in ahead]
            panel.errorbar(x, at, xerr=error, fmt="o", markersize=4, capsize=2, label=grid.figures[own])
            means += [mean for mean in x if np.isfinite(mean)]
        # Of two seeds an interval can be hundreds of points wide: it leaves the picture, and the others stay readable.
        if means:
            panel.set_xlim(min(0, *means) - 15, max(0, *means) + 15)
        panel.axvline(0, color=plt.rcParams["axes.edgecolor"], linewidth=0.8)
        panel.set(xlabel="lead of the hybrid, points", title=figures[0][0])
        panel.grid(axis="x", alpha=0.4)
        panel.set_axisbelow(True)
        under = panel.transAxes + ScaledTranslation(0, -0.5, figure.dpi_scale_trans)  # half an inch: ticks and label
        panel.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, 0), bbox_transform=under)
    axes[0, 0].set_yticks(range(len(others)), [fill(v.label, 32) for v in others], fontsize=8)
    axes[0, 0].invert_yaxis()
    return figure


def picture(grid: Grid, rows: Sequence[Row]) -> bytes:
    """:func:`leads` as PNG."""
    figure = leads(grid, rows)
    plt.close(figure)
    return to_png(figure, 90)
