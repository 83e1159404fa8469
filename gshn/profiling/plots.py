"""Pictures of a profile's report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from neuromorphic.figures import to_png, verbatim

LABELS = {
    "segmentation": "segmentation",
    "features": "features (frozen CNN)",
    "nodes": "node embedding",
    "gat": "GAT path",
    "spiking": "spiking path",
    "readout": "readout",
    "text": "text (one caption)",
    "matching": "matching",
    "fusion": "fusion (one text)",
    "relu_twin": "ReLU twin of the spiking path",
    "spiking_simulated": "spiking path as simulated",
}
"""Parts, in the order of the data flow; the last two are in no total."""

FIGURES = {
    "retrieval.t2i_r1": "text to image R@1",
    "retrieval.i2t_r1": "image to text R@1",
    "vqa.accuracy": "VQA accuracy",
}
"""Names of figures in words."""


def energy_by_part(report: Mapping[str, Any]) -> Figure:
    """Energy of each part of one image, a range for each energy model."""
    models = list(report["energy_models"])
    present = {row["part"] for row in report["energy"]}
    parts = [part for part in LABELS if part in present]
    figure, axes = plt.subplots(figsize=(8, 1.2 + 0.55 * len(parts)), layout="constrained")
    for k, model in enumerate(models):
        rows = {row["part"]: row for row in report["energy"] if row["model"] == model}
        at = np.arange(len(parts)) + 0.15 * (k - (len(models) - 1) / 2)
        ends = np.array([[rows[part][f"joules_{end}"] for part in parts] for end in ("low", "high")]) * 1e6
        ends = np.where(ends > 0, ends, np.nan)
        axes.hlines(at, ends[0], ends[1], color=f"C{k}", linewidth=4, label=verbatim(model))
        axes.plot(ends.T.ravel(), np.repeat(at, 2), "o", color=f"C{k}", markersize=4)
    axes.set(xscale="log", xlabel="microjoules per image", title="Energy by part, by energy model")
    axes.set_yticks(range(len(parts)), [LABELS[part] for part in parts])
    axes.invert_yaxis()
    axes.grid(axis="x", color="0.9")
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.4, -0.12), ncols=3, frameon=False)
    return figure


def firing_over_time(report: Mapping[str, Any]) -> Figure:
    """Firing rate of each layer in each step, and synaptic operations of each image against its nodes."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    for layer in report["layers"]:
        left.plot(np.array(layer["spikes_per_step"]) / layer["neurons"], "o-", label=layer["name"])
    left.set(xlabel="step", ylabel="spikes per neuron", title="Firing rate over time", ylim=(0, None))
    left.grid(color="0.9")
    figure.legend(fontsize=8, loc="outside lower left", ncols=4, frameon=False)
    images = report["per_image"]
    right.scatter([i["nodes"] for i in images], [i["synaptic_operations"] for i in images], s=14, alpha=0.6)
    right.set(xlabel="segments", ylabel="synaptic operations", title="Cost of each image", ylim=(0, None))
    right.grid(color="0.9")
    return figure


def accuracy_and_energy(
    compared: Sequence[Mapping[str, Any]], accuracy: str, models: Sequence[str] = ("cmos45-fp32", "loihi1")
) -> Figure:
    """Accuracy against energy of the spiking path, or of its ReLU twin.

    Args:
        compared: Rows of ``report["compared"]``, one for each checkpoint. Each is a point with the range of its energy.
        accuracy: Key of a figure in their ``accuracy``; rows without it are left out.
        models: Names of energy models, a panel for each.
    """
    figure, axes = plt.subplots(1, len(models), figsize=(8, 3.6), sharey=True, layout="constrained", squeeze=False)
    rows = [row for row in compared if accuracy in row["accuracy"]]
    for panel, model in zip(axes[0], models, strict=True):
        for k, row in enumerate(rows):
            energy = row["joules_per_image"][model]
            low, high = energy["low"] * 1e6, energy["high"] * 1e6
            rate = "" if row["firing_rate"] is None else f", rate {row['firing_rate']:.3f}"
            label = f"{row['neuron']}, T = {row['steps']}{rate}"
            value = 100 * row["accuracy"][accuracy]
            marker = "o" if row["neuron"] == "lif" else "s"
            middle = (low * high) ** 0.5
            panel.errorbar(middle, value, xerr=[[middle - low], [high - middle]], fmt=marker, color=f"C{k}",
                           capsize=3, label=label)  # fmt: skip
        panel.set(xscale="log", xlabel="microjoules per image, spiking path or twin", title=verbatim(model))
        # A panel may span less than a decade, whose default labels are powers of ten.
        panel.xaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter("{x:g}")
        panel.grid(color="0.9")
    axes[0][0].set_ylabel(f"{FIGURES.get(accuracy, accuracy)}, %")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize=8, loc="outside lower center", ncols=3, frameon=False)
    return figure


def png(figure: Figure) -> bytes:
    """A figure as PNG; it is closed."""
    data = to_png(figure, 110)
    plt.close(figure)
    return data
