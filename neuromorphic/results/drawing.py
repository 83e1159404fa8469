"""A network's graph as a picture: a box for each node, from the inputs down."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from neuromorphic.graph import Graph
from neuromorphic.results.plot import figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH, HEIGHT = 1.7, 0.85
"""Width and height of a node, in inches."""
TALLEST = 150.0
"""Largest height of a picture, in inches. The boxes of a taller graph are drawn closer to each other."""
FILLS = {"input": "#cfe8cf", "output": "#cfe8cf", "neuron": "#ffd9a8", "other": "#e4e8f2"}
NAMED = 20
"""Largest number of characters of a node's name that are drawn."""


def depths(graph: Graph) -> dict[str, int]:
    """Each node's row: one below the lowest node that it reads, but for what closes a loop.

    An edge closes a loop if its source is being visited when a walk upwards from the outputs meets it; the walk is
    iterative, for networks may be deeper than Python's stack.
    """
    depth: dict[str, int] = {}
    entered: set[str] = set()
    for start in (*graph.outputs, *graph.nodes):
        waiting = [start]
        while waiting:
            name = waiting[-1]
            entered.add(name)
            above = [source for source in graph.sources[name] if source not in entered]
            if above:
                waiting.append(above[0])
                continue
            waiting.pop()
            if name not in depth:
                depth[name] = 1 + max((depth[s] for s in graph.sources[name] if s in depth), default=-1)
    # What reads only what closes a loop stands just above its readers, not at the top.
    for name in graph.nodes:
        readers = [depth[other] for other, sources in graph.sources.items() if name in sources]
        if depth[name] == 0 and name not in graph.inputs and readers:
            depth[name] = max(min(readers) - 1, 0)
    return depth


def draw(graph: Graph) -> Figure:
    """Draw a graph: boxes with name, kind and shape of each node; arrows; those that close loops are dashed.

    Raises:
        PackagesMissingError: matplotlib is not installed.
    """
    new_figure = figures()
    from neuromorphic.figures import verbatim

    depth = depths(graph)
    rows: dict[int, list[str]] = defaultdict(list)
    for name in graph.nodes:
        rows[depth[name]].append(name)
    widest, deepest = max(map(len, rows.values())), max(rows) + 1
    place = {
        name: (WIDTH * (number + 0.5 + (widest - len(row)) / 2), -HEIGHT * level)
        for level, row in rows.items()
        for number, name in enumerate(row)
    }
    size = (max(WIDTH * (widest + 1), 4.0), min(HEIGHT * (deepest + 0.4), TALLEST))
    figure = new_figure(figsize=size, dpi=110)
    axes = figure.add_axes((0, 0, 1, 1))
    half = size[0] / 2
    middle = WIDTH * widest / 2
    axes.set(xlim=(middle - half, middle + half), ylim=(-HEIGHT * (deepest - 0.3), HEIGHT * 0.7))
    axes.set_axis_off()
    for name, sources in graph.sources.items():
        for source in sources:
            down = depth[name] - depth[source]
            closes = down <= 0
            bend = 0.0 if down == 1 else 0.6 if closes else 0.25
            axes.annotate(
                "",
                place[name],
                place[source],
                arrowprops={
                    "arrowstyle": "-|>",
                    "shrinkA": 15,
                    "shrinkB": 17,
                    "color": "#b3261e" if closes else "#444444",
                    "linestyle": "--" if closes else "-",
                    "connectionstyle": f"arc3,rad={bend}",
                },
            )
    for name, node in graph.nodes.items():
        kind = "neuron" if node.is_neuron else node.kind.lower()
        shape = " x ".join(map(str, node.shape)) or "1"
        short = name if len(name) <= NAMED else f"{name[: NAMED - 3]}..."
        axes.text(
            *place[name],
            verbatim(f"{short}\n{node.kind} {shape}"),
            ha="center",
            va="center",
            fontsize=8,
            bbox={"boxstyle": "round,pad=0.35", "facecolor": FILLS.get(kind, FILLS["other"]), "edgecolor": "#444444"},
        )
    return figure
