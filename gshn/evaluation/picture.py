"""Pictures of spikes, and of what drives a match."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from textwrap import fill

import numpy as np
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage

from gshn.evaluation.explanation import Explanation
from neuromorphic.figures import to_png, verbatim

CHANNELS = 40
"""Number of neurons of each segment that are drawn, the first ones."""


def raster(axes: Axes, spikes: NDArray[np.bool_], title: str, names: list[str] | None = None) -> None:
    """Draw spikes of shape (T, S, C): a row for each neuron, and a band for each segment, with its name or number.

    Colours are those of matplotlib's text and grids, so that a style for dark pages changes them, too.
    """
    steps, nodes, channels = spikes.shape
    shown = min(channels, CHANNELS)
    step, neuron = np.nonzero(spikes[:, :, :shown].reshape(steps, -1))
    axes.scatter(step, neuron, s=7, marker="s", color=rcParams["text.color"], linewidths=0)
    for node in range(0, nodes, 2):
        axes.axhspan(node * shown, (node + 1) * shown, color=rcParams["grid.color"], alpha=0.25, linewidth=0, zorder=0)
    axes.set(title=title, xlabel="step", xlim=(-0.6, steps - 0.4), ylim=(nodes * shown, 0))
    axes.set_yticks(
        [(node + 0.5) * shown for node in range(nodes)],
        names or list(map(str, range(nodes))),
        fontsize=min(9.0, 240 / nodes),
    )
    axes.set_ylabel("segment (neurons)")


def _numbered(axes: Axes, node_map: NDArray[np.int32]) -> None:
    """Draw outlines and numbers of the nodes in a map, which the node of the whole image is not in."""
    height, width = node_map.shape
    for node in range(node_map.max() + 1):
        mask = node_map == node
        if not mask.any():
            continue
        axes.contour(np.arange(-1, width + 1), np.arange(-1, height + 1), np.pad(mask, 1), [0.5], colors="white")
        # The point farthest from the outline: the mean of a sky's pixels may lie in a kite.
        inside = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
        y, x = np.unravel_index(inside.argmax(), mask.shape)
        box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.75}
        axes.text(x, y, str(node), color="black", ha="center", va="center", fontsize=8, bbox=box)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))


def _table(
    axes: Axes, values: NDArray[np.float32], tokens: list[str], names: list[str], title: str, mark: bool
) -> None:
    """Draw a heat map of tokens (rows) and segments (columns). If ``mark``, a ring is at each token's best segment."""
    height = axes.bbox.height / axes.figure.dpi  # inches, before the layout
    size = min(10.0, 65 * height / len(tokens))  # so that labels of neighbouring rows do not touch
    drawn = axes.imshow(values, aspect="auto", cmap="magma")
    axes.figure.colorbar(drawn, ax=axes, fraction=0.05, pad=0.02)
    lines = [name.replace(" ", "\n") for name in names]
    axes.set_xticks(range(len(names)), lines, fontsize=min(9.0, 170 / len(names)))
    axes.set_yticks(range(len(tokens)), [verbatim(token) for token in tokens], fontsize=size)
    axes.set(title=title, xlabel="segment")
    if mark:
        told = np.flatnonzero(np.ptp(values, axis=1))
        axes.plot(values[told].argmax(axis=1), told, "o", color="white", markeredgecolor="black", markersize=4)


def _absent(axes: Axes, why: str) -> None:
    axes.text(0.5, 0.5, why, ha="center", va="center", transform=axes.transAxes)
    axes.set_axis_off()


@dataclass(frozen=True)
class Shown:
    """Data of the panels.

    Attributes:
        image: RGB, shape (H, W, 3), uint8.
        node_map: Node of every pixel, -1 for none, shape (H, W).
        explanation: See :func:`gshn.evaluation.explanation.explain`.
    """

    image: NDArray[np.uint8]
    node_map: NDArray[np.int32]
    explanation: Explanation


def _segments(axes: Axes, shown: Shown) -> None:
    axes.imshow(shown.image)
    _numbered(axes, shown.node_map)
    axes.set_title("image and its segments")
    axes.set_axis_off()


def _shares(axes: Axes, shown: Shown) -> None:
    e, node_map = shown.explanation, shown.node_map
    share = e.share.numpy()
    of_pixel = np.where(node_map >= 0, share[node_map.clip(min=0)], np.nan)
    axes.imshow(shown.image.mean(axis=2), cmap="gray", alpha=0.6)
    drawn = axes.imshow(of_pixel, cmap="viridis", alpha=0.7)
    axes.figure.colorbar(drawn, ax=axes, fraction=0.05, pad=0.02)
    _numbered(axes, node_map)
    of_image = "".join(f"; {name} {s:.3f}" for name, s in zip(e.names, share, strict=True) if not name.isdigit())
    parts = e.compared == e.tokens
    told = f"share of the match: sum {share.sum():.3f}" if parts else "similarity of each segment alone"
    axes.set_title(told + of_image)
    axes.set_axis_off()


def _spikes(axes: Axes, shown: Shown, place: int) -> None:
    e = shown.explanation
    if e.spikes is None:
        return _absent(axes, "no spiking path")
    # E_SNN is made of the last layer's rates, or of all layers'; a text is compared with all of them.
    layer = e.spikes[place]
    rate = f"{float(layer.mean()):.3f} spikes per neuron and step"
    return raster(axes, layer.numpy() > 0, f"{'last' if place else 'first'} layer\n{rate}", e.names)


def _words(axes: Axes, shown: Shown) -> None:
    e = shown.explanation
    of = "tokens" if e.compared == e.tokens else "the text"
    title = f"similarity of {of} and segments, by V'"
    _table(axes, e.segment_similarity.numpy(), e.compared, e.names, title, mark=True)


def _words_by_spikes(axes: Axes, shown: Shown) -> None:
    e = shown.explanation
    if e.segment_similarity_by_spikes is None:
        return _absent(axes, "no spiked text learning")
    return _table(axes, e.segment_similarity_by_spikes.numpy(), e.compared, e.names, "the same, by spikes", mark=True)


def _attention(axes: Axes, shown: Shown) -> None:
    e = shown.explanation
    if e.attention is None:
        return _absent(axes, "the fusion transformer was not trained")
    return _table(axes, e.attention.numpy(), e.tokens, e.names, "fusion: attention of tokens to segments", mark=False)


def _paths(axes: Axes, shown: Shown) -> None:
    e = shown.explanation
    nodes = np.arange(len(e.names))
    axes.barh(nodes - 0.2, e.spiking.numpy(), height=0.38, color="tab:orange", label="|r E_SNN|, spiking")
    axes.barh(nodes + 0.2, e.continuous.numpy(), height=0.38, color="tab:blue", label="|F_GAT|, continuous")
    total = (e.spiking + e.continuous).clamp(min=1e-12)
    for node, part in enumerate((e.spiking / total).tolist()):
        at = float(max(e.spiking[node], e.continuous[node]))
        axes.text(at, node, f" {100 * part:.0f} % spiking", va="center", fontsize=8)
    axes.set(title="norms of r E_SNN and of F_GAT", xlabel="norm", ylabel="segment")
    axes.set_yticks(nodes, e.names, fontsize=min(9.0, 240 / len(nodes)))
    axes.set_xlim(0, 1.4 * float(max(e.spiking.max(), e.continuous.max())))
    axes.set_ylim(1.08 * len(nodes), -0.6)
    axes.legend(loc="lower right", fontsize=8, ncols=2)


PANELS: dict[str, Callable[[Axes, Shown], None]] = {
    "segments": _segments,
    "shares": _shares,
    "first spikes": partial(_spikes, place=0),
    "last spikes": partial(_spikes, place=-1),
    "words": _words,
    "words by spikes": _words_by_spikes,
    "attention": _attention,
    "paths": _paths,
}
"""What :func:`draw_explanation` shows, in its order."""


def draw_panel(shown: Shown, panel: str) -> bytes:
    """Draw one of :data:`PANELS` by itself, as PNG; small enough for a phone's width, and higher for more tokens."""
    e = shown.explanation
    tokens = {"words": len(e.compared), "words by spikes": len(e.compared), "attention": len(e.tokens)}.get(panel, 0)
    figure = Figure(figsize=(6, max(4.8, 0.19 * tokens)), dpi=110, layout="constrained")
    PANELS[panel](figure.subplots(), shown)
    return to_png(figure)


def draw_explanation(shown: Shown, caption: str) -> bytes:
    """Draw which segments drive a match with a caption, as PNG."""
    e = shown.explanation
    figure = Figure(figsize=(19, 9.5), dpi=80, layout="constrained")
    match = "" if e.matching is None else f", match with probability {e.matching:.3f}"
    figure.suptitle(f"{verbatim(fill(caption, 170))}\nsimilarity {e.similarity:.3f}{match}", fontsize=11)
    for axes, draw in zip(figure.subplots(2, 4).flat, PANELS.values(), strict=True):
        draw(axes, shown)
    return to_png(figure)
