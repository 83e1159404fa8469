"""Draws docs/figures/*.svg: ``python docs/figures.py [FOLDER]``; each once for light pages and once for dark ones.

``method`` is the whole path, from pixels to a chip's simulator. The others are plots of the rows in docs/results; a
test compares their text with what is committed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.ticker import LogLocator, NullLocator
from tables import benchmark, name, rows

from gshn.ablation.grid import BASE
from gshn.ablation.photographs import PHOTOGRAPHS
from gshn.ablation.scenes import SCENES, SUMMARY
from gshn.ablation.summary import interval, leads, tabulate

DOCS = Path(__file__).parent


@dataclass(frozen=True)
class Theme:
    """Colours of one background, which stays transparent.

    Attributes:
        ink: Lines and text.
        faint: Grids and frames.
        fill: Boxes.
        accents: Continuous path, spiking path, text, what was built on top.
    """

    ink: str
    faint: str
    fill: str
    accents: tuple[str, str, str, str]


THEMES = {
    "light": Theme("#24292f", "#d0d7de", "#f6f8fa", ("#1f6feb", "#bf5700", "#1a7f37", "#6e40c9")),
    "dark": Theme("#e6edf3", "#3d444d", "#1c2128", ("#6cb6ff", "#f69d50", "#57ab5a", "#b083f0")),
}

# Text stays text: it can be read aloud and searched, and files are small.
STYLE = {"font.size": 10, "svg.hashsalt": "gshn", "svg.fonttype": "none", "savefig.transparent": True,
         "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
         "figure.constrained_layout.use": True}  # fmt: skip


def colours(theme: Theme) -> dict[str, Any]:
    """What matplotlib is told of a theme."""
    of_ink = ("text.color", "axes.labelcolor", "axes.titlecolor", "xtick.color", "ytick.color", "axes.edgecolor")
    cycle = cycler(color=(*theme.accents, theme.ink))
    return {**STYLE, **dict.fromkeys(of_ink, theme.ink), "grid.color": theme.faint, "axes.prop_cycle": cycle}


def box(axes: Axes, x: float, y: float, width: float, title: str, text: str, edge: str, theme: Theme) -> None:
    """A box around (x, y), of a title and of a line or two."""
    height = 1.22
    shape = "round,pad=0.02,rounding_size=0.09"
    axes.add_patch(
        FancyBboxPatch((x - width / 2, y - height / 2), width, height, shape, fc=theme.fill, ec=edge, lw=1.6)
    )
    axes.text(x, y + 0.3, title, ha="center", va="center", weight="bold", size=10.5)
    axes.text(x, y - 0.22, text, ha="center", va="center", size=8.8, linespacing=1.25)


def arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], colour: str, bend: float = 0.0) -> None:
    """An arrow from one point to another."""
    style = f"arc3,rad={bend}"
    axes.add_patch(
        FancyArrowPatch(start, end, connectionstyle=style, arrowstyle="-|>", mutation_scale=11, lw=1.4, color=colour)
    )


def method(theme: Theme) -> Figure:
    """The architecture: image and text to their comparison, and the spiking path to simulators and energy."""
    figure, axes = plt.subplots(figsize=(12.4, 5.6))
    axes.set(xlim=(0, 12.4), ylim=(0, 5.6), aspect="equal")
    axes.set_axis_off()
    gat, spiking, text, above = theme.accents
    box(axes, 1.05, 3.9, 1.8, "Image", "H x W pixels", theme.ink, theme)
    box(axes, 3.3, 3.9, 1.9, "Panoptic segments", "ground truth, Mask2Former,\nsuperpixels, ...", theme.ink, theme)
    box(axes, 5.65, 3.9, 1.9, "Scene graph", "N nodes: pooled features\nE edges: geometry", theme.ink, theme)
    box(axes, 8.05, 4.85, 2.0, "Graph attention", "continuous: F_GAT (N, C)", gat, theme)
    box(axes, 8.05, 2.95, 2.0, "Spiking layers", "LIF, T steps; spikes pass\nalong edges: E_SNN (N, C)", spiking, theme)
    box(axes, 10.9, 3.9, 2.3, "V' = r E_SNN + F_GAT", "a vector for each segment,\none for the image", theme.ink, theme)
    box(axes, 1.05, 0.9, 1.8, "Text", "caption, question,\nhypothesis, statement", text, theme)
    box(axes, 3.3, 0.9, 1.9, "Text encoder", "BERT, MiniLM, ...", text, theme)
    box(axes, 5.65, 0.9, 1.9, "Spiked Text Learning", "words drive LIF neurons;\ncompared by spikes", spiking, theme)
    box(axes, 8.05, 0.9, 2.0, "NIR", "the trained spiking path:\nNumPy, PyTorch, Lava; energy", above, theme)
    box(axes, 10.9, 0.9, 2.3, "Retrieval and answers", "similarity; matching; VQA,\nentailment, NLVR2", above, theme)
    for start, end in ((1.95, 2.35), (4.25, 4.7)):
        arrow(axes, (start, 3.9), (end, 3.9), theme.ink)
    arrow(axes, (6.62, 4.15), (7.03, 4.7), gat)
    arrow(axes, (6.62, 3.65), (7.03, 3.1), spiking)
    arrow(axes, (9.07, 4.7), (9.73, 4.15), gat)
    arrow(axes, (9.07, 3.1), (9.73, 3.65), spiking)
    arrow(axes, (1.97, 0.9), (2.33, 0.9), text)
    arrow(axes, (4.27, 0.9), (4.68, 0.9), text)
    arrow(axes, (7.35, 2.31), (6.2, 1.53), spiking)
    arrow(axes, (8.05, 2.31), (8.05, 1.53), above)
    arrow(axes, (10.9, 3.28), (10.9, 1.53), theme.ink)
    # The text reaches retrieval and answers below the boxes between them.
    axes.plot([3.3, 3.3, 10.9], [0.27, 0.06, 0.06], color=text, lw=1.4)
    arrow(axes, (10.9, 0.06), (10.9, 0.29), text)
    axes.text(9.4, 2.05, "exported unchanged", ha="center", size=8.8, style="italic")
    axes.text(5.75, 2.05, "compared in training", ha="center", size=8.8, style="italic")
    return figure


def ablation(theme: Theme) -> Figure:
    """Held-out accuracy of the method and of its parts, with intervals: docs/results/ablation-test.json."""
    values = tabulate(SCENES, rows("ablation-test"))
    variants = {BASE: "GSHN (hybrid)", "gat": "GAT only", "snn": "spiking only", "no-stl": "without STL"}
    marks = dict(zip(variants, (theme.ink, *theme.accents[:3]), strict=True))
    figure, panels = plt.subplots(1, len(SUMMARY), figsize=(11, 2.3), sharey=True)
    for panel, (task, key) in zip(panels, SUMMARY.items(), strict=True):
        for row, variant in enumerate(variants):
            own = interval(list(values[variant, key].values()))
            panel.errorbar(own.mean, row, xerr=own.half, fmt="o", color=marks[variant], capsize=3, markersize=5)
            panel.annotate(f"{own.mean:.1f}", (own.mean, row), xytext=(0, 6), textcoords="offset points",
                           ha="center", size=8.5, color=marks[variant])  # fmt: skip
        panel.set(title=f"{task}, %", xlim=(50, 102), ylim=(len(variants) - 0.5, -0.6))
        panel.grid(axis="x")
        panel.set_axisbelow(True)
    panels[0].set_yticks(range(len(variants)), list(variants.values()))
    return figure


def energy(theme: Theme) -> Figure:
    """What accuracy costs: R@1 against modelled energy of the spiking path, docs/results/energy.json."""
    figure, panels = plt.subplots(1, 3, figsize=(11, 3.2), sharey=True)
    models = {
        "cmos45-fp32": "45 nm CMOS, arithmetic alone",
        "cmos45-fp32-sram": "45 nm CMOS, operands from SRAM",
        "loihi1": "Loihi 1 (the twin on CMOS)",
    }
    for panel, (model, title) in zip(panels, models.items(), strict=True):
        for row in rows("energy"):
            low, high = (1e6 * row["joules_per_image"][model][end] for end in ("low", "high"))
            recall = 100 * (row["accuracy"]["retrieval.i2t_r1"] + row["accuracy"]["retrieval.t2i_r1"]) / 2
            relu, rate = row["neuron"] == "relu", "rate" in row["checkpoint"]
            colour = theme.accents[0] if relu else theme.accents[3] if rate else theme.accents[1]
            label = name(row)
            panel.plot([low, high], [recall, recall], color=colour, lw=3, solid_capstyle="round")
            below = label in ("T = 16", "T = 8, target 0.03")  # their bars lie right under another's
            panel.annotate(label, (np.sqrt(low * high), recall), xytext=(0, -12 if below else 5),
                           textcoords="offset points", ha="center", size=8, color=colour)  # fmt: skip
        panel.set(xscale="log", xlabel="µJ an image", title=title, ylim=(68, 99))
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_locator(NullLocator())
        panel.margins(x=0.25)
        panel.grid(axis="both")
        panel.set_axisbelow(True)
    panels[0].set_ylabel("R@1, mean of both ways, %")
    return figure


def leads_on_scenes(theme: Theme) -> Figure:
    """Leads of the method over all variants on the test scenes: docs/results/ablation-test.json."""
    return leads(SCENES, rows("ablation-test"))


def leads_on_photographs(theme: Theme) -> Figure:
    """Leads of the method over all variants on the dev photographs: docs/results/photographs-validation.json."""
    return leads(PHOTOGRAPHS, rows("photographs-validation"))


def leads_on_test_photographs(theme: Theme) -> Figure:
    """Leads of the method on the test photographs: docs/results/photographs-test.json."""
    return leads(PHOTOGRAPHS, rows("photographs-test"))


def speed(theme: Theme) -> Figure:
    """Times of other programs, and of a bound, over ours: docs/results/speed.json."""
    lif = {f"lif, T = {steps}, cpu": f"T = {steps}" for steps in (8, 16)}
    nir = {f"NIR graph, {dtype}": dtype for dtype in ("float32", "float64")}
    lava = {"Lava, whole, an image": "with start-up", "Lava, steps, an image": "steps alone"}
    panels_of = (
        ("Multi-step LIF, forward and backward", lif, "upper right"),
        ("A NIR graph in PyTorch", nir, "upper right"),
        ("An image on Lava", lava, "center right"),
    )
    figure, panels = plt.subplots(1, len(panels_of), figsize=(11, 3.2))
    for panel, (title, labels, place_of_legend) in zip(panels, panels_of, strict=True):
        columns = [benchmark(what) for what in labels]
        subjects = [subject for subject in columns[0] if subject != "ours"]
        for k, (label, column) in enumerate(zip(labels.values(), columns, strict=True)):
            own = [place for place, subject in enumerate(subjects) if subject in column]
            times = [column[subjects[place]]["ratio"] for place in own]
            y = np.array(own) + 0.38 * (k - 0.5)
            panel.barh(y, times, height=0.34, color=theme.accents[3 * k], label=label)
            for at, value in zip(y, times, strict=True):
                panel.annotate(f"{value:.3g}", (max(value, 1), at), xytext=(3, 0), textcoords="offset points",
                               va="center", size=7.5)  # fmt: skip
        panel.axvline(1, color=theme.ink, linewidth=1)
        panel.set(xscale="log", title=title, xlabel="time relative to ours", yticks=range(len(subjects)))
        panel.set_yticklabels(subjects)
        panel.set_ylim(len(subjects) - 0.4, -0.6)
        panel.set_xlim(0.25, 3 * max(row["ratio"] for column in columns for row in column.values()))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_locator(NullLocator())
        panel.legend(fontsize=8, loc=place_of_legend, handlelength=1)
    return figure


def encoder(theme: Theme) -> Figure:
    """Time of the encoder's paths over each of its sizes: docs/results/speed.json."""
    sizes = ("steps", "nodes", "neighbours", "channels", "batch")
    paths = {"hybrid": theme.ink, "gat": theme.accents[0], "spiking": theme.accents[1]}
    figure, panels = plt.subplots(1, len(sizes), figsize=(11, 2.6), sharey=True)
    for panel, size in zip(panels, sizes, strict=True):
        prefix = f"encoder, {size} = "
        values = [what.removeprefix(prefix) for what in dict.fromkeys(row["benchmark"] for row in rows("speed"))
                  if what.startswith(prefix)]  # fmt: skip
        for path, colour in paths.items():
            times = [1e3 * benchmark(prefix + value)[path]["seconds"] for value in values]
            panel.plot([float(value) for value in values], times, "o-", color=colour, markersize=4, label=path)
        panel.set(xlabel=size, xlim=(0, None), ylim=(0, 85))
        panel.grid(axis="both")
        panel.set_axisbelow(True)
    panels[0].set_ylabel("ms a batch")
    panels[0].legend(fontsize=8.5, labels=["hybrid", "GAT only", "spiking only"])
    return figure


FIGURES: dict[str, Callable[[Theme], Figure]] = {
    "method": method, "ablation": ablation, "energy": energy, "leads": leads_on_scenes,
    "photographs": leads_on_photographs, "photographs-test": leads_on_test_photographs,
    "speed": speed, "encoder": encoder,
}  # fmt: skip


def main(folder: Path) -> None:
    """Draw all."""
    folder.mkdir(parents=True, exist_ok=True)
    for figure_name, draw in FIGURES.items():
        for key, theme in THEMES.items():
            with plt.rc_context(colours(theme)):
                figure = draw(theme)
                figure.savefig(folder / f"{figure_name}-{key}.svg", metadata={"Date": None, "Creator": None})
                plt.close(figure)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS / "figures")
