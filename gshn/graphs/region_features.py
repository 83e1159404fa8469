"""Feature maps and a segment map -> one visual feature vector per segment."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gshn.graphs.backbones import Backbone
from gshn.graphs.scene_graph import Pixels

COLOUR_DIM = 6
"""Features of :func:`colour_statistics`."""


def region_features(backbone: Backbone, images: Tensor, pixels: Pixels, num_nodes: int) -> Tensor:
    """Visual features of the nodes: colour statistics, then the backbone's maps pooled under the nodes' pixels.

    Args:
        backbone: Gives the maps.
        images: RGB, shape (B, 3, H, W), uint8.
        pixels: The nodes' pixels.
        num_nodes: N.

    Returns:
        Shape (N, COLOUR_DIM + backbone.dim), float32.
    """
    pooled = mask_pool(backbone(images), pixels, images.shape[-2:], num_nodes)
    return torch.cat([colour_statistics(images, pixels, num_nodes), pooled], dim=1)


def colour_statistics(images: Tensor, pixels: Pixels, num_nodes: int) -> Tensor:
    """Mean and standard deviation of R, G and B over each node's pixels, in [0, 1].

    Args:
        images: RGB, shape (B, 3, H, W), uint8.
        pixels: The nodes' pixels.
        num_nodes: N.

    Returns:
        Means, then deviations, shape (N, 6), float32.
    """
    node = pixels.node
    area = torch.bincount(node, minlength=num_nodes).clamp(min=1)
    values = (images.movedim(1, -1)[pixels.image, pixels.y, pixels.x].double() / 255.0).T
    sums = [torch.bincount(node, channel, num_nodes) for channel in (*values, *values.square())]
    mean, square = (torch.stack(sums, dim=1) / area[:, None]).split(3, dim=1)
    return torch.cat([mean, (square - mean.square()).clamp(min=0).sqrt()], dim=1).float()


def mask_pool(feature_maps: Sequence[Tensor], pixels: Pixels, size: Sequence[int], num_nodes: int) -> Tensor:
    r"""Mean of feature maps under each node's pixels.

    out[n, l] = sum_p feature_maps[l][cell_l(p)] / |pixels of n|

    over the pixels p of n, where cell_l(p) is the map's cell that holds p. A coarse cell therefore counts by its share
    of the node's pixels, and no node falls between cells.

    Args:
        feature_maps: Shapes (B, C_l, H_l, W_l), floating point; cell (i, j) holds the pixels (y, x) with
            i = y H_l // H, j = x W_l // W.
        pixels: The nodes' pixels; a node lies in one image.
        size: H and W of the images.
        num_nodes: N.

    Returns:
        Shape (N, sum_l C_l), zero for a node without a pixel; differentiable with respect to ``feature_maps``.
    """
    node, image, y, x = pixels
    height, width = size
    area = torch.bincount(node, minlength=num_nodes)
    image_of = torch.zeros_like(area).index_put((node,), image)
    pooled = []
    for feature_map in feature_maps:
        batch, channels, rows, columns = feature_map.shape
        cells = rows * columns
        cell = y * rows // height * columns + x * columns // width
        # Counting (node, cell) pairs in a dense table needs no sort, and N cells numbers are few.
        counts = torch.bincount(node * cells + cell, minlength=num_nodes * cells)
        pairs = counts.nonzero().squeeze(1)
        target, cell = pairs // cells, pairs % cells
        weight = (counts[pairs] / area[target]).to(feature_map.dtype)
        flat = feature_map.movedim(1, -1).reshape(batch * cells, channels)
        values = flat.index_select(0, image_of[target] * cells + cell) * weight[:, None]
        pooled.append(flat.new_zeros(num_nodes, channels).index_add(0, target, values))
    return torch.cat(pooled, dim=1)
