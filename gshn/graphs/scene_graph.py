"""Panoptic segments -> scene graph: segments become nodes; touching and near ones are joined by edges."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Data

from gshn.errors import DataError
from gshn.segments.panoptic import Category, PanopticSegments, Segment
from neuromorphic.errors import counted

logger = logging.getLogger(__name__)

GEOMETRY = (
    "x",  # left, top, width and height of the box, relative to the image's width and height
    "y",
    "width",
    "height",
    "centroid_x",  # mean pixel centre, relative to the image's width and height
    "centroid_y",
    "area",  # relative to the image's
    "fill",  # area / area of the box
    "moment_xx",  # covariance of the pixels' positions / area: 1 / (4 pi) for a disc, 1 / 12 for a square
    "moment_xy",
    "moment_yy",
    "eccentricity",  # of the ellipse with these moments: 0 for a disc, towards 1 for a line
    "isthing",  # 1 for things, 0 for stuff
)
"""Columns of :attr:`SceneGraph.geometry`."""

CENTROID = slice(GEOMETRY.index("centroid_x"), GEOMETRY.index("centroid_y") + 1)
"""Those of the centroid."""

EDGE_GEOMETRY = (
    "dx",  # centroid of the target less that of the source, relative to the image's width and height
    "dy",
    "distance",  # sqrt(dx^2 + dy^2)
    "log_area_ratio",  # log(area of the target / area of the source)
    "box_iou",  # intersection over union of the boxes
    "touching",  # 1 if a pixel of one is above, below, left or right of a pixel of the other, else 0
)
"""Columns of :attr:`SceneGraph.edge_attr`."""


IMAGE = Category(id=0, name="image", isthing=False)
"""Of the node that stands for the whole image; no segment's, so that its id is never looked up."""


@dataclass(frozen=True)
class GraphParameters:
    """Parameters of scene graphs.

    Attributes:
        neighbours: Each node is joined to this many nearest nodes, whether they touch it or not.
        max_segments: Larger images keep this many segments, the largest.
        regions: The pixels of a node: ``masks``, those of its segment, or ``boxes``, all pixels in the segment's box,
            as an object detector gives them.
        whole_image: Whether there is one more node, the first, that stands for the whole image: all its pixels, its
            box, the category :data:`IMAGE`, edges to and from all other nodes. It is no segment, and none of
            ``max_segments``; the others' ``neighbours`` are found without it.
        pooling: How maps are pooled under a node's pixels: ``cells`` or ``bilinear``, see
            :func:`gshn.graphs.region_features.mask_pool`.
    """

    neighbours: int = 4
    max_segments: int = 64
    regions: str = "masks"
    whole_image: bool = False
    pooling: str = "cells"

    @property
    def key(self) -> dict[str, Any]:
        """All parameters as JSON types. Newer ones are left out at their defaults, so that older caches stay valid."""
        first = ("neighbours", "max_segments", "regions")
        return {f.name: v for f in fields(self) if (v := getattr(self, f.name)) != f.default or f.name in first}

    def categories(self, of_segments: Sequence[Category]) -> tuple[Category, ...]:
        """The vocabulary of a graph's nodes, given that of its segments."""
        return (*of_segments, IMAGE) if self.whole_image else tuple(of_segments)


class Pixels(NamedTuple):
    """P pairs of a node and a pixel that belongs to it. A pixel in two boxes belongs to two nodes.

    Attributes:
        node: Counted over the batch, shape (P,), int64.
        image: Position in the batch, shape (P,), int64.
        y: Shape (P,), int64.
        x: Shape (P,), int64.
    """

    node: Tensor
    image: Tensor
    y: Tensor
    x: Tensor

    @classmethod
    def of_map(cls, node_map: Tensor) -> Pixels:
        """Pixels of a map of nodes, -1 for none, shape (B, H, W), int64."""
        image, y, x = (node_map >= 0).nonzero(as_tuple=True)
        return cls(node_map[image, y, x], image, y, x)

    @classmethod
    def of_boxes(cls, boxes: Tensor, image: Tensor) -> Pixels:
        """Pixels of boxes (x, y, width, height), shape (N, 4), int64, in the images of positions ``image`` (N,)."""
        left, top, width, height = boxes.T
        area = width * height
        node = torch.arange(len(boxes), device=boxes.device).repeat_interleave(area)
        within = torch.arange(len(node), device=boxes.device) - (area.cumsum(0) - area)[node]
        return cls(node, image[node], top[node] + within // width[node], left[node] + within % width[node])


class SceneGraph(Data):
    """Scene graph of one image, or of a batch of images (B) as one disconnected graph.

    Edges lead both ways, without self loops or repeats, in lexicographic order of (source, target).

    Attributes:
        x: Visual features of the nodes, shape (N, F), float32; only with a frozen backbone.
        image: RGB, shape (B, 3, H, W), uint8; only with a trainable backbone.
        segment_map: Node of every pixel, counted within its image, -1 for none, shape (B, H, W), int32; only with a
            trainable backbone, and where nodes stand for masks. See :meth:`pixels`.
        maps: What tails read (:meth:`gshn.backbones.base.FrozenBackbone.tails`), shape (B, V, sum_k C_k S_k^2),
            float16: of each of V views the map of each tail, C_k channels of S_k x S_k cells, zero outside the image;
            only where the last layers of a backbone are trained.
        extent: Rows and columns of cells inside the image for each of K tails, shape (B, K, 2), int64; as ``maps``.
        cells: How much each of those cells counts for in each node (:func:`~gshn.graphs.region_features.cell_weights`),
            shape (N, sum_k S_k^2), float32; as ``maps``.
        category: Position of each node's category in the vocabulary, shape (N,), int64.
        geometry: Columns :data:`GEOMETRY`, shape (N, 13), float32.
        whole: Whether a node stands for the whole image, shape (N,), bool. It is the first of each graph. The attribute
            is missing if there are no such nodes.
        edge_index: Row 0 the sources, row 1 the targets, shape (2, E), int64.
        edge_attr: Columns :data:`EDGE_GEOMETRY`, shape (E, 6), float32.
    """

    def pixels(self) -> Pixels:
        """Pixels of every node of a graph with ``image``."""
        ptr = self.ptr if "ptr" in self else torch.tensor([0, self.num_nodes])
        if "segment_map" in self:
            local = self.segment_map.long()
            of_segments = Pixels.of_map(torch.where(local < 0, -1, local + ptr[:-1, None, None].to(local.device)))
            if "whole" not in self:
                return of_segments
            return Pixels(*map(torch.cat, zip(of_segments, self._pixels_of_images(), strict=True)))
        height, width = self.image.shape[-2:]
        size = self.geometry.new_tensor([width, height, width, height])
        image = torch.arange(len(ptr) - 1, device=self.geometry.device).repeat_interleave(
            ptr.diff().to(self.geometry.device)
        )
        return Pixels.of_boxes((self.geometry[:, :4] * size).round().long(), image)

    def _pixels_of_images(self) -> Pixels:
        """Pixels of the nodes that stand for whole images."""
        images, _, height, width = self.image.shape
        image, y, x = torch.ones(images, height, width, device=self.image.device).nonzero(as_tuple=True)
        return Pixels(self.whole.nonzero().squeeze(1)[image], image, y, x)


def segments_to_graph(
    segments: PanopticSegments, categories: Sequence[Category], parameters: GraphParameters, name: str = "an image"
) -> SceneGraph:
    """Build the scene graph of one image, without its visual features.

    Args:
        segments: The image's segments. Node i is the i-th segment that is kept, or the one before it with
            ``parameters.whole_image``.
        categories: Vocabulary of the segments. That of the nodes is ``parameters.categories(categories)``.
        parameters: See :class:`GraphParameters`.
        name: Name of the image, for messages.

    Returns:
        The graph without ``x`` and ``image``, and with ``segment_map`` if nodes stand for masks.

    Raises:
        DataError: there is no segment (and no node for the whole image), a segment has no pixel, or its category is not
            in the vocabulary.
    """
    vocabulary = {category.id: position for position, category in enumerate(categories)}
    kept = _largest(segments, parameters.max_segments)
    if dropped := len(segments.segments) - len(kept):
        kept_now = counted(len(kept), "largest is", "largest are")
        told = f"{counted(len(segments.segments), 'segment')}, {dropped} dropped: only the {kept_now} kept"
        logger.warning("%s: %s", name, told)
    if not kept and not parameters.whole_image:
        raise DataError("the image has no segment; graph.whole_image=true makes a graph of it all the same")
    for segment in kept:
        if segment.category_id not in vocabulary:
            raise DataError(f"segment {segment.id} has category {segment.category_id}, not one of the vocabulary's")
    category = np.array([vocabulary[segment.category_id] for segment in kept], dtype=np.int64)
    isthing = np.array([categories[position].isthing for position in category], dtype=bool)
    height, width = segments.segment_map.shape
    segment_map = None
    if parameters.regions == "boxes":
        boxes = np.array([segment.bbox for segment in kept], dtype=np.int64).reshape(-1, 4)
        geometry = _box_geometry(boxes, height, width, isthing)
        touching = _boxes_touch(boxes)
    else:
        positions = _node_map(segments.segment_map, kept)
        geometry = _geometry(positions, isthing)
        touching = _touching(positions, len(kept))
        segment_map = torch.from_numpy(_numbered(positions, parameters)[None])
    joined = touching | _near(geometry[:, 4:6], parameters.neighbours)
    if parameters.whole_image:
        category = np.insert(category, 0, len(categories))
        whole = _box_geometry(np.array([[0, 0, width, height]]), height, width, np.array([IMAGE.isthing]))
        geometry = np.concatenate([whole, geometry])
        touching, joined = _joined_to_all(touching), _joined_to_all(joined)
    source, target = np.nonzero(joined)
    graph = SceneGraph(
        category=torch.from_numpy(category),
        geometry=torch.from_numpy(geometry.astype(np.float32)),
        edge_index=torch.from_numpy(np.stack([source, target])),
        edge_attr=torch.from_numpy(_edge_geometry(geometry, source, target, touching).astype(np.float32)),
        num_nodes=len(category),
    )
    if parameters.whole_image:
        graph.whole = torch.arange(len(category)) == 0
    if segment_map is not None:
        graph.segment_map = segment_map
    return graph


def _joined_to_all(pairs: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Add a first node to a relation of nodes, shape (N, N), that is related to all others; shape (N + 1, N + 1)."""
    out = np.pad(pairs, ((1, 0), (1, 0)), constant_values=True)
    out[0, 0] = False
    return out


def node_map(segments: PanopticSegments, parameters: GraphParameters) -> NDArray[np.int32]:
    """Node of every pixel in the graph of an image's segments, -1 for none, shape (H, W).

    If nodes stand for boxes, it is the node of the pixel's segment.
    """
    return _numbered(_node_map(segments.segment_map, _largest(segments, parameters.max_segments)), parameters)


def _numbered(positions: NDArray[np.int64], parameters: GraphParameters) -> NDArray[np.int32]:
    """Convert positions among the kept segments, -1 for none, to nodes, the first of which may be the whole image."""
    return np.where(positions < 0, -1, positions + parameters.whole_image).astype(np.int32)


def _largest(segments: PanopticSegments, count: int) -> Sequence[Segment]:
    """The ``count`` largest segments, in their order."""
    found = segments.segments
    if len(found) <= count:
        return found
    by_area = sorted(range(len(found)), key=lambda i: -found[i].area)
    return [found[i] for i in sorted(by_area[:count])]


def _node_map(segment_map: NDArray[np.int32], kept: Sequence[Segment]) -> NDArray[np.int64]:
    """Position among ``kept`` of every pixel's segment, -1 for none."""
    ids = np.array([segment.id for segment in kept], dtype=np.int64)
    if not len(ids):
        return np.full(segment_map.shape, -1)
    order = np.argsort(ids)
    position = np.searchsorted(ids[order], segment_map).clip(max=len(ids) - 1)
    return np.where(ids[order][position] == segment_map, order[position], -1)


def _geometry(node_map: NDArray[np.int64], isthing: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Columns :data:`GEOMETRY` of the nodes, shape (N, 13)."""
    height, width = node_map.shape
    n = len(isthing)
    rows, columns = np.nonzero(node_map >= 0)
    nodes = node_map[rows, columns]
    area = np.bincount(nodes, minlength=n)
    if not area.all():
        raise DataError(f"segment {int(area.argmin()) + 1} of {n} has no pixel")

    def mean(values: NDArray) -> NDArray[np.float64]:
        return np.bincount(nodes, weights=values, minlength=n) / area

    def extent(positions: NDArray[np.int64], size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        seen = np.zeros((n, size), dtype=bool)
        seen[nodes, positions] = True
        first = seen.argmax(axis=1)
        return first, size - seen[:, ::-1].argmax(axis=1) - first

    left, box_width = extent(columns, width)
    top, box_height = extent(rows, height)
    x, y = mean(columns), mean(rows)
    dx, dy = columns - x[nodes], rows - y[nodes]
    # 1 / 12 is a pixel's own variance: a single pixel is a square, not a point.
    xx, xy, yy = (mean(dx * dx) + 1 / 12) / area, mean(dx * dy) / area, (mean(dy * dy) + 1 / 12) / area
    return np.stack(
        [
            left / width,
            top / height,
            box_width / width,
            box_height / height,
            (x + 0.5) / width,
            (y + 0.5) / height,
            area / (width * height),
            area / (box_width * box_height),
            xx,
            xy,
            yy,
            _eccentricity(xx, xy, yy),
            isthing,
        ],
        axis=1,
    )


def _eccentricity(xx: NDArray[np.float64], xy: NDArray[np.float64], yy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Eccentricity of the ellipses with these second moments."""
    half_sum, half_difference = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    return np.sqrt(2 * half_difference / (half_sum + half_difference))


def _box_geometry(boxes: NDArray[np.int64], height: int, width: int, isthing: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Columns :data:`GEOMETRY` of nodes that own all pixels of their boxes (x, y, width, height), shape (N, 4)."""
    x, y, w, h = boxes.T.astype(np.float64)
    xx, xy, yy = w / h / 12, np.zeros(len(boxes)), h / w / 12
    columns = [x / width, y / height, w / width, h / height, (x + w / 2) / width, (y + h / 2) / height]
    columns += [w * h / (width * height), np.ones(len(boxes)), xx, xy, yy, _eccentricity(xx, xy, yy), isthing]
    return np.stack(columns, axis=1)


def _touching(node_map: NDArray[np.int64], n: int) -> NDArray[np.bool_]:
    """Whether nodes have pixels side by side, shape (N, N); symmetric, false on the diagonal."""
    touching = np.zeros((n + 1, n + 1), dtype=bool)  # row and column -1 take the void
    touching[node_map[:, :-1], node_map[:, 1:]] = True
    touching[node_map[:-1], node_map[1:]] = True
    touching = (touching | touching.T)[:n, :n]
    np.fill_diagonal(touching, False)
    return touching


def _boxes_touch(boxes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether boxes (x, y, width, height) overlap or lie side by side, shape (N, N), false on the diagonal."""
    first, last = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    shared = np.minimum(last[:, None], last) - np.maximum(first[:, None], first)  # < 0: a gap; 0: side by side
    touching = (shared >= 0).all(axis=2) & (shared > 0).any(axis=2)
    np.fill_diagonal(touching, False)
    return touching


def _near(centroids: NDArray[np.float64], k: int) -> NDArray[np.bool_]:
    """Whether one of two nodes is among the other's k nearest, shape (N, N).

    Nodes as far as the k-th nearest count, too, so that the result does not depend on the order of nodes.
    """
    n = len(centroids)
    k = min(k, n - 1)
    if k <= 0:
        return np.zeros((n, n), dtype=bool)
    distance = ((centroids[:, None] - centroids) ** 2).sum(axis=-1)
    np.fill_diagonal(distance, np.inf)
    near = distance <= np.partition(distance, k - 1, axis=1)[:, k - 1 : k]
    np.fill_diagonal(near, False)
    return near | near.T


def _edge_geometry(
    geometry: NDArray[np.float64], source: NDArray[np.int64], target: NDArray[np.int64], touching: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Columns :data:`EDGE_GEOMETRY` of the edges, shape (E, 6)."""
    a, b = geometry[source], geometry[target]
    dx, dy = (b[:, 4:6] - a[:, 4:6]).T
    overlap = np.minimum(a[:, :2] + a[:, 2:4], b[:, :2] + b[:, 2:4]) - np.maximum(a[:, :2], b[:, :2])
    intersection = overlap.clip(min=0).prod(axis=1)
    union = a[:, 2:4].prod(axis=1) + b[:, 2:4].prod(axis=1) - intersection
    columns = [dx, dy, np.hypot(dx, dy), np.log(b[:, 6] / a[:, 6]), intersection / union, touching[source, target]]
    return np.stack(columns, axis=1)
