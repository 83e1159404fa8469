"""Draws docs/figures/path-*.png, a scene from pixels to spikes, and explain-*.png, how it matches its caption.

``python docs/picture.py CHECKPOINT [FOLDER]``
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from figures import DOCS, THEMES, colours
from matplotlib.figure import Figure
from numpy.typing import NDArray

import gshn
from gshn.data.images import ImageSample
from gshn.evaluation.picture import raster
from gshn.export.images import held_out_images
from gshn.export.side_by_side import pytorch_spikes, run_images
from gshn.graphs.scene_graph import SceneGraph
from gshn.training.corpora import Corpora

SCENE, EXPLAINED = 3, 7


def by_segment(spikes: NDArray[np.bool_], nodes: int) -> NDArray[np.bool_]:
    """Shape (T, S C) -> (T, S, C)."""
    return spikes.reshape(len(spikes), nodes, -1)


def main() -> None:
    """Draw."""
    loaded = gshn.load(sys.argv[1])
    model = loaded.module
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else DOCS / "figures"
    corpora = Corpora(model.config)
    sample = corpora.images("test", SCENE + 1)[SCENE]
    graph = corpora.test_pairs.graphs[SCENE]
    image = list(held_out_images(model, SCENE + 1).values())[SCENE]
    encoder = model.encoder.spiking
    assert encoder is not None
    rasters = {f"PyTorch, lif_{k}": layer for k, layer in enumerate(pytorch_spikes(encoder, image))}
    rasters["Lava from NIR, lif_1"] = run_images(encoder, [image], "float").spikes[0]["lif_1"]
    images = corpora.images("test", EXPLAINED + 1)
    explained = images[EXPLAINED], images.captions[EXPLAINED][0]
    for key, theme in THEMES.items():
        with plt.rc_context(colours(theme)):
            figure = draw(sample, graph, rasters)
            figure.savefig(folder / f"path-{key}.png", dpi=90, metadata={"Software": None})
            plt.close(figure)
            match = loaded.explain(*explained, categories=images.categories)
            (folder / f"explain-{key}.png").write_bytes(match.png)


def draw(sample: ImageSample, graph: SceneGraph, rasters: dict[str, NDArray[np.bool_]]) -> Figure:
    """Image, segments with their graph, and rasters of shape (T, S C), side by side."""
    assert sample.panoptic is not None
    figure, axes = plt.subplots(1, 5, figsize=(16, 3.6))
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
        axes[1].text(x, y, str(number), ha="center", va="center", fontsize=8, zorder=4, color="black")
    for panel in axes[:2]:
        panel.set_axis_off()
    for panel, (title, spikes) in zip(axes[2:], rasters.items(), strict=True):
        raster(panel, by_segment(spikes, len(ids)), title)
    return figure


if __name__ == "__main__":
    main()
