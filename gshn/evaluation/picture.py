"""Pictures of what is measured."""

from __future__ import annotations

from textwrap import fill

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage

from gshn.evaluation.explanation import Explanation
from neuromorphic.figures import to_png, verbatim

CHANNELS = 40
"""Of each segment, the first so many neurons are drawn."""


def raster(axes: Axes, spikes: NDArray[np.bool_], title: str, names: list[str] | None = None) -> None:
    """Spikes of shape (T, S, C): a row per neuron, a shade per segment; segments are numbered, or have names."""
    steps, nodes, channels = spikes.shape
    shown = min(channels, CHANNELS)
    step, neuron = np.nonzero(spikes[:, :, :shown].reshape(steps, -1))
    axes.scatter(step, neuron, s=7, marker="s", color="black", linewidths=0)
    for node in range(0, nodes, 2):
        axes.axhspan(node * shown, (node + 1) * shown, color="0.92", zorder=0)
    axes.set(title=title, xlabel="step", xlim=(-0.6, steps - 0.4), ylim=(nodes * shown, 0))
    axes.set_yticks(
        [(node + 0.5) * shown for node in range(nodes)],
        names or list(map(str, range(nodes))),
        fontsize=min(9.0, 240 / nodes),
    )
    axes.set_ylabel("segment (neurons)")


def _numbered(axes: Axes, node_map: NDArray[np.int32]) -> None:
    """Outlines and numbers of the nodes in a map; the whole image is in none."""
    height, width = node_map.shape
    for node in range(node_map.max() + 1):
        mask = node_map == node
        if not mask.any():
            continue
        axes.contour(np.arange(-1, width + 1), np.arange(-1, height + 1), np.pad(mask, 1), [0.5], colors="white")
        # The place deepest inside, for the mean of a sky's pixels may lie in a kite.
        inside = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
        y, x = np.unravel_index(inside.argmax(), mask.shape)
        box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.75}
        axes.text(x, y, str(node), ha="center", va="center", fontsize=8, bbox=box)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))


def _table(
    axes: Axes, values: NDArray[np.float32], tokens: list[str], names: list[str], title: str, mark: bool
) -> None:
    """Tokens down, segments across; where ``mark``, a dot at each token's best segment, if it is better than others."""
    drawn = axes.imshow(values, aspect="auto", cmap="magma")
    axes.figure.colorbar(drawn, ax=axes, fraction=0.05, pad=0.02)
    lines = [name.replace(" ", "\n") for name in names]
    axes.set_xticks(range(len(names)), lines, fontsize=min(9.0, 170 / len(names)))
    axes.set_yticks(range(len(tokens)), [verbatim(token) for token in tokens], fontsize=min(8.0, 300 / len(tokens)))
    axes.set(title=title, xlabel="segment")
    if mark:
        told = np.flatnonzero(np.ptp(values, axis=1))
        axes.plot(values[told].argmax(axis=1), told, "o", color="white", markeredgecolor="black", markersize=4)


def _absent(axes: Axes, why: str) -> None:
    axes.text(0.5, 0.5, why, ha="center", va="center", transform=axes.transAxes)
    axes.set_axis_off()


def draw_explanation(
    image: NDArray[np.uint8], node_map: NDArray[np.int32], explanation: Explanation, caption: str
) -> bytes:
    """Draw which segments drive a match, as PNG.

    Args:
        image: RGB, shape (H, W, 3), uint8.
        node_map: Node of every pixel, -1 for none, shape (H, W).
        explanation: See :func:`gshn.evaluation.explanation.explain`.
        caption: The caption.
    """
    e = explanation
    figure = Figure(figsize=(19, 9.5), dpi=80, layout="constrained")
    (plain, driven, first, last), (by_v, by_spikes, attended, paths) = figure.subplots(2, 4)
    match = "" if e.matching is None else f", match with probability {e.matching:.3f}"
    figure.suptitle(f"{verbatim(fill(caption, 170))}\nsimilarity {e.similarity:.3f}{match}", fontsize=11)
    plain.imshow(image)
    _numbered(plain, node_map)
    plain.set_title("image and its segments")

    share = e.share.numpy()
    of_pixel = np.where(node_map >= 0, share[node_map.clip(min=0)], np.nan)
    driven.imshow(image.mean(axis=2), cmap="gray", alpha=0.6)
    drawn = driven.imshow(of_pixel, cmap="viridis", alpha=0.7)
    figure.colorbar(drawn, ax=driven, fraction=0.05, pad=0.02)
    _numbered(driven, node_map)
    of_image = "".join(f", of it {name} {s:.3f}" for name, s in zip(e.names, share, strict=True) if not name.isdigit())
    parts = e.compared == e.tokens
    told = f"share of the match, sum {share.sum():.3f}" if parts else "similarity of each segment alone"
    driven.set_title(told + of_image)
    for panel in (plain, driven):
        panel.set_axis_off()

    for panel, name in ((first, "first"), (last, "last")):
        if e.spikes is None:
            _absent(panel, "no spiking path")
        else:
            # E_SNN is made of the last layer's rates, or of all layers'; a text is compared with all of them.
            layer = e.spikes[0 if name == "first" else -1]
            rate = f"{float(layer.mean()):.3f} spikes per neuron and step"
            raster(panel, layer.numpy() > 0, f"{name} layer: {rate}", e.names)
    of = "tokens meet" if parts else "the text meets"
    _table(
        by_v, e.segment_similarity.numpy(), e.compared, e.names, f"how well {of} segments by V', <p_a, p_s>", mark=True
    )
    if e.segment_similarity_by_spikes is None:
        _absent(by_spikes, "no spiked text learning")
    else:
        _table(
            by_spikes,
            e.segment_similarity_by_spikes.numpy(),
            e.compared,
            e.names,
            "the same by spikes, <c_a, c_s>",
            mark=True,
        )
    if e.attention is None:
        _absent(attended, "the fusion transformer was not trained")
    else:
        _table(attended, e.attention.numpy(), e.tokens, e.names, "fusion: attention of tokens to segments", mark=False)

    nodes = np.arange(len(share))
    paths.barh(nodes - 0.2, e.spiking.numpy(), height=0.38, color="tab:orange", label="|r E_SNN|, spiking")
    paths.barh(nodes + 0.2, e.continuous.numpy(), height=0.38, color="tab:blue", label="|F_GAT|, continuous")
    total = (e.spiking + e.continuous).clamp(min=1e-12)
    for node, part in enumerate((e.spiking / total).tolist()):
        at = float(max(e.spiking[node], e.continuous[node]))
        paths.text(at, node, f" {100 * part:.0f} % spiking", va="center", fontsize=8)
    paths.set(title="what V' = r E_SNN + F_GAT is made of", xlabel="norm", ylabel="segment")
    paths.set_yticks(nodes, e.names, fontsize=min(9.0, 240 / len(nodes)))
    paths.set_xlim(0, 1.4 * float(max(e.spiking.max(), e.continuous.max())))
    paths.set_ylim(1.08 * len(nodes), -0.6)
    paths.legend(loc="lower right", fontsize=8, ncols=2)
    return to_png(figure)
