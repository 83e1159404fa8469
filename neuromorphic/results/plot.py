"""A run as a picture: what neurons and outputs sent in each step."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from neuromorphic.arguments import check_count, check_names
from neuromorphic.errors import ArgumentError, PackagesMissingError
from neuromorphic.results.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LINES = 8
"""Curves of a panel; the potentials of further neurons are not drawn."""
DOTS = 200_000
"""Neurons times steps up to which a raster is drawn as dots; a larger one is an image."""


def plot(run: Run, nodes: Collection[str] | None = None, sample: int = 0) -> Figure:
    """Draw rasters of spiking nodes, and potentials and outputs as curves, a panel for each.

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
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise PackagesMissingError("net.plot needs matplotlib: pip install matplotlib") from None
    from neuromorphic.figures import verbatim

    steps = run.shape[1]
    kinds: dict[str, Mapping[str, NDArray]]
    kinds = {"spikes": record.spikes, "potential": record.potentials, "output": record.outputs}
    panels = [(kind, name, own[name]) for name in chosen for kind, own in kinds.items() if name in own]
    figure = Figure(figsize=(8, 0.6 + 1.7 * max(len(panels), 1)), layout="constrained")
    axes = figure.subplots(max(len(panels), 1), 1, sharex=True, squeeze=False)[:, 0]
    for panel, (kind, name, values) in zip(axes, panels, strict=False):
        rows = values[sample].reshape(steps, -1)
        if kind != "spikes":
            panel.plot(np.arange(steps), rows[:, :LINES])
        elif rows.size <= DOTS:
            at, neuron = np.nonzero(rows)
            panel.plot(at, neuron, "|", color="C0", markersize=max(2.0, min(8.0, 90 / max(rows.shape[1], 1))))
            panel.set_ylim(-0.5, rows.shape[1] - 0.5)
        else:
            panel.imshow(rows.T, aspect="auto", interpolation="nearest", cmap="Greys", origin="lower")
        panel.set_ylabel("neuron" if kind == "spikes" else kind)
        panel.set_title(verbatim(f"{name}: {kind}"), fontsize=9, loc="left")
    axes[-1].set(xlabel=f"step of {graph.dt:g} s", xlim=(-0.5, steps - 0.5))
    return figure
