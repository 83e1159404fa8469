"""Images -> scene graphs with their visual features."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch

from gshn.data.images import ImageSample
from gshn.errors import DataError
from gshn.graphs.backbones import Backbone
from gshn.graphs.region_features import region_features
from gshn.graphs.scene_graph import GraphParameters, SceneGraph, segments_to_graph
from gshn.segments.panoptic import Segmenter

PIXELS_PER_BATCH = 16 * 96 * 96
"""Bounds the memory that feature maps and mask pooling take, whatever the images' size: little enough for the caches
of a CPU."""


def build_graphs(
    samples: Sequence[ImageSample], segmenter: Segmenter, backbone: Backbone, parameters: GraphParameters
) -> list[SceneGraph]:
    """Build the scene graphs of images.

    Args:
        samples: The images.
        segmenter: Gives the nodes.
        backbone: Frozen: it gives the nodes' ``x``. Trainable: the graphs keep ``image`` and ``segment_map`` for it.
        parameters: See :class:`GraphParameters`.

    Raises:
        DataError: an image cannot be segmented or made a graph; names it.
    """
    graphs = [_build_graph(sample, segmenter, parameters) for sample in samples]
    if backbone.trainable:
        return graphs
    by_size = defaultdict(list)
    for position, sample in enumerate(samples):
        by_size[sample.image.shape].append(position)
    for (height, width, _), positions in by_size.items():
        step = max(1, PIXELS_PER_BATCH // (height * width))
        for start in range(0, len(positions), step):
            try:
                _add_features([graphs[i] for i in positions[start : start + step]], backbone)
            except DataError as error:
                raise DataError(f"{samples[positions[start]].name}: {error}") from error
    return graphs


def _build_graph(sample: ImageSample, segmenter: Segmenter, parameters: GraphParameters) -> SceneGraph:
    """Graph with ``image`` and ``segment_map``."""
    height, width = sample.image.shape[:2]
    try:
        segments = segmenter(sample.image, sample.panoptic)
        if segments.segment_map.shape != (height, width):
            raise DataError(f"the image is {width}x{height}, but has {segments}")
        graph = segments_to_graph(segments, segmenter.categories, parameters)
    except DataError as error:
        raise DataError(f"{sample.name}: {error}") from error
    graph.image = torch.from_numpy(np.ascontiguousarray(np.moveaxis(sample.image, 2, 0)))[None]
    return graph


@torch.no_grad()
def _add_features(graphs: Sequence[SceneGraph], backbone: Backbone) -> None:
    """Give graphs of images of one size ``x`` in place of ``image`` and ``segment_map``."""
    nodes = torch.tensor([graph.num_nodes for graph in graphs])
    local = torch.cat([graph.segment_map for graph in graphs]).long()
    first = (nodes.cumsum(0) - nodes)[:, None, None]
    node_map = torch.where(local < 0, -1, local + first)
    images = torch.cat([graph.image for graph in graphs])
    x = region_features(backbone, images, node_map, int(nodes.sum()))
    for graph, rows in zip(graphs, x.split(nodes.tolist()), strict=True):
        graph.x = rows
        del graph.image, graph.segment_map
