"""Pictures of runs: spikes, potentials and outputs in each step."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from neuromorphic.arguments import check_count, check_names
from neuromorphic.errors import ArgumentError, PackagesMissingError
from neuromorphic.graph.units import SPIKES, signatures
from neuromorphic.results.run import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from neuromorphic.results.verification import Verification

LINES = 8
"""Largest number of curves in a panel. Potentials of further neurons are not drawn."""
DOTS = 200_000
"""Largest number of neurons times steps that a raster draws as dots. A larger raster is an image."""


def figures() -> type[Figure]:
    """The class of figures.

    Raises:
        PackagesMissingError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise PackagesMissingError("pictures need matplotlib: pip install matplotlib") from None
    return Figure


def raster(panel: Axes, rows: NDArray[np.bool_]) -> None:
    """Spikes of shape (T, neurons): dots, or an image where there are many."""
    if rows.size <= DOTS:
        at, neuron = np.nonzero(rows)
        panel.plot(at, neuron, "|", color="C0", markersize=max(2.0, min(8.0, 90 / max(rows.shape[1], 1))))
        panel.set_ylim(-0.5, rows.shape[1] - 0.5)
    else:
        panel.imshow(rows.T, aspect="auto", interpolation="nearest", cmap="Greys", origin="lower")


def plot(run: Run, nodes: Collection[str] | None = None, sample: int = 0) -> Figure:
    """Draw a panel for each signal: spikes, also those of outputs, as rasters, potentials and other outputs as curves.

    Args:
        run: The run.
        nodes: Neuron and Output nodes that are drawn; by default all. Potentials are drawn where they were recorded, of
            the first :data:`LINES` neurons.
        sample: Which one of the batch.

    Raises:
        ArgumentError: no run, or an unknown node or sample.
        PackagesMissingError: matplotlib is not installed.
    """
    if not isinstance(run, Run):
        raise ArgumentError("plot draws a run; give what net.run(x) returned")
    record, graph = run.simulation.record, run.graph
    known = (*graph.neurons, *graph.outputs)
    chosen = known if nodes is None else check_names("nodes", nodes, known)
    if check_count("sample", sample, 0) >= run.shape[0]:
        raise ArgumentError(f"sample {sample} is not there; the run has {run.shape[0]}")
    new_figure = figures()
    from neuromorphic.figures import verbatim

    steps = run.shape[1]
    kinds: dict[str, Mapping[str, NDArray]]
    kinds = {"spikes": record.spikes, "potential": record.potentials, "output": record.outputs}
    panels = [(kind, name, own[name]) for name in chosen for kind, own in kinds.items() if name in own]
    passed_on = {own.node for own in signatures(graph) if own.node in graph.outputs and own.sends == SPIKES}
    figure = new_figure(figsize=(8, 0.6 + 1.7 * max(len(panels), 1)), layout="constrained")
    axes = figure.subplots(max(len(panels), 1), 1, sharex=True, squeeze=False)[:, 0]
    for panel, (kind, name, values) in zip(axes, panels, strict=False):
        rows = values[sample].reshape(steps, -1)
        if name in passed_on and rows.max(initial=0) <= 1:  # Spikes of several neurons may add up to more.
            kind = "spikes"
        if kind == "spikes":
            raster(panel, rows.astype(bool))
        else:
            panel.plot(np.arange(steps), rows[:, :LINES])
        panel.set_ylabel("neuron" if kind == "spikes" else kind)
        panel.set_title(verbatim(f"{name}: {kind}"), fontsize=9, loc="left")
    axes[-1].set(xlabel=f"step of {graph.dt:g} s", xlim=(-0.5, steps - 0.5))
    return figure


def plot_difference(verification: Verification) -> Figure:
    """Draw the results of two back ends side by side, a row for each node, with the first difference circled.

    Rows are the spiking nodes; of a network without any, its Output nodes. The sample is that of the first difference,
    or the first one.

    Raises:
        PackagesMissingError: matplotlib is not installed.
    """
    new_figure = figures()
    from neuromorphic.figures import verbatim

    graph, first = verification.graph, verification.first_difference
    sample = 0 if first is None else first.sample
    records = [run.simulation.record for run in (verification.expected, verification.verified)]
    names = graph.spiking or graph.outputs
    steps = verification.verified.shape[1]
    figure = new_figure(figsize=(8, 0.8 + 1.9 * len(names)), layout="constrained")
    axes = figure.subplots(len(names), 2, sharex=True, sharey="row", squeeze=False)
    for line, name in zip(axes, names, strict=True):
        for panel, record, label in zip(line, records, reversed(verification.labels), strict=True):
            if name in graph.spiking:
                raster(panel, record.spikes[name][sample].reshape(steps, -1))
            else:
                panel.plot(np.arange(steps), record.outputs[name][sample].reshape(steps, -1)[:, :LINES])
            if first is not None and first.node == name:
                panel.plot(
                    first.step, first.neuron, "o", color="C3", markersize=13, fillstyle="none", markeredgewidth=2
                )
            panel.set_title(verbatim(f"{name}: {label}"), fontsize=9, loc="left")
        line[0].set_ylabel("neuron" if name in graph.spiking else "output")
    for panel in axes[-1]:
        panel.set(xlabel=f"step of {graph.dt:g} s", xlim=(-0.5, steps - 0.5))
    where = "no spike differs"
    if first is not None:
        where = f"first difference (circled): '{first.node}', step {first.step}, neuron {first.neuron}"
    figure.suptitle(verbatim(where), fontsize=10)
    return figure
