"""Draws docs/path.png: one held-out scene from pixels to spikes. ``python docs/picture.py CHECKPOINT``."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

from gshn.evaluation.picture import raster
from gshn.export.images import held_out_images
from gshn.export.side_by_side import pytorch_spikes, run_images
from gshn.model import GSHN
from gshn.training.corpora import Corpora

SCENE = 3


def by_segment(spikes: NDArray[np.bool_], nodes: int) -> NDArray[np.bool_]:
    """Shape (T, S C) -> (T, S, C)."""
    return spikes.reshape(len(spikes), nodes, -1)


def main() -> None:
    """Draw."""
    model = GSHN.from_pretrained(sys.argv[1])
    corpora = Corpora(model.config)
    sample = corpora.images("test", SCENE + 1)[SCENE]
    graph = corpora.test_pairs.graphs[SCENE]
    image = list(held_out_images(model, SCENE + 1).values())[SCENE]
    encoder = model.encoder.spiking
    assert encoder is not None and sample.panoptic is not None
    ours = pytorch_spikes(encoder, image)
    lava = run_images(encoder, [image], "float").spikes[0]

    figure, axes = plt.subplots(1, 5, figsize=(16, 3.6), layout="constrained")
    axes[0].imshow(sample.image)
    axes[0].set_title("image")
    axes[1].imshow(sample.panoptic.segment_map, cmap="tab20", interpolation="nearest")
    axes[1].set_title("panoptic segments, scene graph")
    ids = [segment.id for segment in sample.panoptic.segments]
    centres = np.array([np.argwhere(sample.panoptic.segment_map == i).mean(axis=0)[::-1] for i in ids])
    for source, target in graph.edge_index.T.tolist():
        axes[1].plot(*centres[[source, target]].T, color="white", linewidth=1)
    axes[1].scatter(*centres.T, s=120, color="white", edgecolor="black", zorder=3)
    for number, (x, y) in enumerate(centres):
        axes[1].text(x, y, str(number), ha="center", va="center", fontsize=8, zorder=4)
    for panel in axes[:2]:
        panel.set_axis_off()
    raster(axes[2], by_segment(ours[0], image.num_nodes), "PyTorch, lif_0")
    raster(axes[3], by_segment(ours[1], image.num_nodes), "PyTorch, lif_1")
    raster(axes[4], by_segment(lava["lif_1"], image.num_nodes), "Lava from NIR, lif_1")
    figure.savefig(Path(__file__).parent / "path.png", dpi=90)


if __name__ == "__main__":
    main()
