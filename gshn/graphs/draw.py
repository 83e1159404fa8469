"""Pictures of segments and scene graphs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from skimage.color import label2rgb

from gshn.graphs.scene_graph import GEOMETRY, SceneGraph
from gshn.segments.panoptic import PanopticSegments
from gshn.segments.superpixels import REGION
from neuromorphic.errors import counted
from neuromorphic.figures import to_png, verbatim


def draw_graph(
    image: NDArray[np.uint8],
    segments: PanopticSegments,
    graph: SceneGraph,
    categories: Sequence[str],
    title: str = "",
    *,
    beside: bool = True,
    boxes: bool = False,
) -> bytes:
    """Segments and scene graph over the image, and the image beside them, as PNG.

    The node of the whole image is only mentioned in the title: its outline and edges would cover all others.

    Args:
        image: RGB, shape (H, W, 3), uint8.
        segments: The image's segments.
        graph: Their scene graph.
        categories: Names of the categories, by the numbers in the nodes' ``category``.
        title: Title above the picture.
        beside: Whether the image itself is drawn beside it.
        boxes: Whether nodes stand for boxes, which are then drawn.
    """
    height, width = image.shape[:2]
    figure = Figure(figsize=(10 if beside else 5, 5 * height / width + 0.6), dpi=120, layout="constrained")
    panels = figure.subplots(1, 1 + beside, squeeze=False)[0]
    drawn = panels[-1]
    tinted = label2rgb(segments.segment_map, image, alpha=0.35, bg_label=0, kind="overlay")
    drawn.imshow(tinted)
    for own in segments.segments:
        outline = np.pad(segments.segment_map == own.id, 1)
        x, y = np.arange(-1, width + 1), np.arange(-1, height + 1)
        drawn.contour(x, y, outline, levels=[0.5], colors="white", linewidths=1.0)
    drawn.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))
    geometry = graph.geometry.numpy()
    centre = geometry[:, [GEOMETRY.index("centroid_x"), GEOMETRY.index("centroid_y")]] * (width, height) - 0.5
    segment = ~graph.whole.numpy() if "whole" in graph else np.ones(graph.num_nodes, dtype=bool)
    edges = [(a, b) for a, b in graph.edge_index.T.tolist() if a < b and segment[a] and segment[b]]
    for ends in edges:
        drawn.plot(*centre[list(ends)].T, color="black", linewidth=0.9, alpha=0.55)
    centre = centre[segment]
    drawn.scatter(*centre.T, s=26, color="white", edgecolors="black", linewidths=0.9, zorder=3)
    if boxes:
        for x, y, w, h in geometry[segment, :4] * (width, height, width, height):
            drawn.add_patch(Rectangle((x - 0.5, y - 0.5), w, h, fill=False, edgecolor="black", linewidth=0.8))
    for (x, y), category in zip(centre, graph.category[segment].tolist(), strict=True):
        if categories[category] != REGION.name:
            box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.75}
            # Below the node, but within the picture.
            down = y < 0.85 * height
            drawn.annotate(
                verbatim(categories[category]),
                (x, y),
                xytext=(0, -7 if down else 7),
                textcoords="offset points",
                ha="left" if x < 0.12 * width else "right" if x > 0.88 * width else "center",
                va="top" if down else "bottom",
                fontsize=7,
                color="black",
                bbox=box,
                zorder=4,
            )
    for axes in panels:
        axes.set_axis_off()
    more = "" if segment.all() else "; and the whole image, joined to all"
    drawn.set_title(f"{counted(int(segment.sum()), 'node')}, {counted(len(edges), 'edge')}{more}", fontsize=9)
    if beside:
        panels[0].imshow(image)
        panels[0].set_title(verbatim(title), fontsize=9)
    return to_png(figure)
