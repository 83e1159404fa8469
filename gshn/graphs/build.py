"""Images -> scene graphs with their visual features."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from torch_geometric.data import Batch

from gshn.backbones.base import Backbone, BackboneOutput, FrozenBackbone, Tail
from gshn.data.images import ImageSample
from gshn.errors import DataError
from gshn.graphs.region_features import cell_weights, region_features
from gshn.graphs.scene_graph import GraphParameters, SceneGraph, segments_to_graph
from gshn.segments.panoptic import PanopticSegments, Segmenter

PIXELS_PER_BATCH = 16 * 96 * 96
"""Limit on pixels that are processed together. It bounds the memory of feature maps and mask pooling, so that they fit
in a CPU's caches."""


def build_graphs(
    samples: Sequence[ImageSample], segmenter: Segmenter, backbone: Backbone, parameters: GraphParameters
) -> list[SceneGraph]:
    """Build the scene graphs of images.

    Args:
        samples: The images.
        segmenter: Its segments become the nodes.
        backbone: If frozen, it computes ``x`` of the nodes. If trainable, graphs keep ``image`` and ``segment_map``.
        parameters: See :class:`GraphParameters`.

    Raises:
        DataError: an image cannot be segmented or has no graph; the message names it.
    """
    graphs: dict[int, SceneGraph] = {}
    for some in _groups(samples):
        graphs |= zip(some, _build([samples[i] for i in some], segmenter, backbone, parameters), strict=True)
    return [graphs[i] for i in range(len(samples))]


def segmented(samples: Sequence[ImageSample], segmenter: Segmenter) -> list[ImageSample]:
    """Replace the annotated segments of images by those that a segmenter finds.

    Raises:
        DataError: an image cannot be segmented; the message names it.
    """
    found: dict[int, PanopticSegments] = {}
    for some in _groups(samples):
        found |= zip(some, _segments([samples[i] for i in some], segmenter), strict=True)
    return [replace(sample, panoptic=found[i]) for i, sample in enumerate(samples)]


def _groups(samples: Sequence[ImageSample]) -> Iterator[list[int]]:
    """Groups of positions of images that have one size and are processed together."""
    by_size = defaultdict(list)
    for position, sample in enumerate(samples):
        by_size[sample.image.shape].append(position)
    for (height, width, _), positions in by_size.items():
        step = max(1, PIXELS_PER_BATCH // (height * width))
        for start in range(0, len(positions), step):
            yield positions[start : start + step]


def _segments(samples: Sequence[ImageSample], segmenter: Segmenter) -> list[PanopticSegments]:
    """Segments of images of one size."""
    try:
        return segmenter.batch([sample.image for sample in samples], [sample.panoptic for sample in samples])
    except DataError as error:
        if len(samples) > 1:  # one by one, so that the error belongs to its image
            return [segments for sample in samples for segments in _segments([sample], segmenter)]
        raise DataError(f"{samples[0].name}: {error}") from error


def try_to_build_graphs(
    samples: Sequence[ImageSample], segmenter: Segmenter, backbone: Backbone, parameters: GraphParameters
) -> list[SceneGraph | DataError]:
    """Like :func:`build_graphs`, but with an error in place of the graph of each image that cannot be used."""
    try:
        return [*build_graphs(samples, segmenter, backbone, parameters)]
    except DataError as error:
        if len(samples) == 1:
            return [error]
    return [result for s in samples for result in try_to_build_graphs([s], segmenter, backbone, parameters)]


def _build(
    samples: Sequence[ImageSample], segmenter: Segmenter, backbone: Backbone, parameters: GraphParameters
) -> list[SceneGraph]:
    """Graphs of images of one size."""
    found = _segments(samples, segmenter)
    graphs = [_graph(sample, segments, segmenter, parameters) for sample, segments in zip(samples, found, strict=True)]
    for sample, graph in zip(samples, graphs, strict=True):
        graph.image = torch.from_numpy(np.ascontiguousarray(np.moveaxis(sample.image, 2, 0)))[None]
    if not backbone.trainable:
        try:
            _add_features(graphs, backbone, parameters)
        except DataError as error:
            raise DataError(f"{samples[0].name}: {error}") from error
    return graphs


def _graph(
    sample: ImageSample, segments: PanopticSegments, segmenter: Segmenter, parameters: GraphParameters
) -> SceneGraph:
    height, width = sample.image.shape[:2]
    try:
        if segments.segment_map.shape != (height, width):
            raise DataError(f"the image is {width}x{height}, but has {segments}")
        return segments_to_graph(segments, segmenter.categories, parameters, sample.name)
    except DataError as error:
        raise DataError(f"{sample.name}: {error}") from error


@torch.no_grad()
def _add_features(graphs: Sequence[SceneGraph], backbone: Backbone, parameters: GraphParameters) -> None:
    """Replace ``image`` and ``segment_map`` by ``x``, and by what tails read, in graphs of images of one size."""
    batch = Batch.from_data_list(list(graphs)).to(backbone.device)
    pixels, whole, bilinear = batch.pixels(), batch.get("whole"), parameters.pooling == "bilinear"
    tails: list[Tail] = []
    if isinstance(backbone, FrozenBackbone):
        found, tails = backbone.outputs(batch.image), backbone.tails()
    else:  # somebody's own may have no more than its maps
        found = BackboneOutput(backbone(batch.image), [])
    x = region_features(found.maps, batch.image, pixels, batch.num_nodes, whole, bilinear).cpu()
    for graph, rows in zip(graphs, x.split([graph.num_nodes for graph in graphs]), strict=True):
        graph.x = rows
    if tails:
        size = batch.image.shape[-2:]
        extents = [(read.shape[-2], read.shape[-1]) for read in found.trunk]
        weights = [cell_weights(pixels, size, extent, batch.num_nodes, whole, bilinear) for extent in extents]
        _add_maps(graphs, found.trunk, weights, [tail.side for tail in tails])
    for graph in graphs:
        for name in ("image", "segment_map"):
            graph.pop(name, None)


def _add_maps(
    graphs: Sequence[SceneGraph], trunk: Sequence[Tensor], weights: Sequence[Tensor], sides: Sequence[int]
) -> None:
    """Give graphs ``maps``, ``extent`` and ``cells``.

    Args:
        graphs: B graphs of images of one size.
        trunk: What each of K tails reads, shapes (V, B, C_k, H_k, W_k).
        weights: Weight of each tail's cells in each node of all graphs, shapes (N, H_k, W_k).
        sides: S_k of each tail.
    """
    maps = torch.cat([_padded(read, side).flatten(2) for read, side in zip(trunk, sides, strict=True)], dim=2)
    cells = torch.cat([_padded(weight, side).flatten(1) for weight, side in zip(weights, sides, strict=True)], dim=1)
    extent = torch.tensor([[weight.shape[1:] for weight in weights]])
    own = cells.cpu().split([graph.num_nodes for graph in graphs])
    for graph, seen, rows in zip(graphs, maps.half().cpu().transpose(0, 1).split(1), own, strict=True):
        graph.maps, graph.cells, graph.extent = seen, rows, extent


def _padded(x: Tensor, side: int) -> Tensor:
    """Zeros to the right and below: shape (..., H, W) -> (..., side, side)."""
    return pad(x, (0, side - x.shape[-1], 0, side - x.shape[-2]))
