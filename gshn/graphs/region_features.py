"""Feature maps and a segment map -> one visual feature vector per segment."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gshn.graphs.scene_graph import Pixels

COLOUR_DIM = 6
"""Features of :func:`colour_statistics`."""


def region_features(
    feature_maps: Sequence[Tensor],
    images: Tensor,
    pixels: Pixels,
    num_nodes: int,
    whole: Tensor | None = None,
    bilinear: bool = False,
) -> Tensor:
    """Visual features of the nodes: colour statistics, then feature maps pooled under the nodes' pixels.

    Args:
        feature_maps: Feature maps of the images, shapes (B, C_l, H_l, W_l).
        images: RGB, shape (B, 3, H, W), uint8.
        pixels: The nodes' pixels.
        num_nodes: N.
        whole: Whether a node stands for its whole image, shape (N,), bool; one such node per image, in their order.
            Its features are the plain mean over the map's cells, as in an image classifier. None: no such nodes.
        bilinear: See :func:`mask_pool`.

    Returns:
        Shape (N, COLOUR_DIM + sum_l C_l), float32.
    """
    pooled = mask_pool(feature_maps, pixels, images.shape[-2:], num_nodes, bilinear)
    if whole is not None:
        means = torch.cat([feature_map.mean(dim=(2, 3)) for feature_map in feature_maps], dim=1)
        pooled = pooled.index_copy(0, whole.nonzero().squeeze(1), means)
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


def mask_pool(
    feature_maps: Sequence[Tensor], pixels: Pixels, size: Sequence[int], num_nodes: int, bilinear: bool = False
) -> Tensor:
    r"""Mean of feature maps under each node's pixels.

    out[n, l] = sum_p feature_maps[l][cell_l(p)] / |pixels of n|

    over the pixels p of n, where cell_l(p) is the map's cell that holds p. A coarse cell therefore counts by its share
    of the node's pixels, and no node falls between cells. If ``bilinear``, feature_maps[l][cell_l(p)] is instead the
    map interpolated at the pixel's centre, between the centres of the four nearest cells (``align_corners=False``). The
    features of a segment smaller than a cell then depend on its place within the cell.

    Args:
        feature_maps: Shapes (B, C_l, H_l, W_l), floating point; cell (i, j) holds the pixels (y, x) with
            i = y H_l // H, j = x W_l // W.
        pixels: The nodes' pixels; a node lies in one image.
        size: H and W of the images.
        num_nodes: N.
        bilinear: Whether maps are interpolated.

    Returns:
        Shape (N, sum_l C_l), zero for a node without a pixel; differentiable with respect to ``feature_maps``.
    """
    node, image = pixels.node, pixels.image
    area = torch.bincount(node, minlength=num_nodes)
    image_of = torch.zeros_like(area).index_put((node,), image)
    pooled = []
    for feature_map in feature_maps:
        batch, channels, rows, columns = feature_map.shape
        cells = rows * columns
        counts = _pixels_of_cells(pixels, size, rows, columns, num_nodes, bilinear)
        pairs = counts.nonzero().squeeze(1)
        target, cell = pairs // cells, pairs % cells
        weight = (counts[pairs] / area[target]).to(feature_map.dtype)
        flat = feature_map.movedim(1, -1).reshape(batch * cells, channels)
        values = flat.index_select(0, image_of[target] * cells + cell) * weight[:, None]
        pooled.append(flat.new_zeros(num_nodes, channels).index_add(0, target, values))
    return torch.cat(pooled, dim=1)


def cell_weights(
    pixels: Pixels,
    size: Sequence[int],
    cells: tuple[int, int],
    num_nodes: int,
    whole: Tensor | None = None,
    bilinear: bool = False,
) -> Tensor:
    """How much each cell of a map counts for in each node's features, where :func:`region_features` pools them.

    pooled[n] = sum_c weight[n, c] map[c]

    Args:
        pixels: The nodes' pixels.
        size: H and W of the images.
        cells: Rows and columns of the map.
        num_nodes: N.
        whole: Whether a node stands for its whole image, shape (N,): all cells have equal weight.
        bilinear: See :func:`mask_pool`.

    Returns:
        Shape (N, rows, columns), float32; zero for a node without a pixel.
    """
    counts = _pixels_of_cells(pixels, size, *cells, num_nodes, bilinear).view(num_nodes, *cells)
    area = torch.bincount(pixels.node, minlength=num_nodes).clamp(min=1)
    weights = (counts / area[:, None, None]).float()
    return weights if whole is None else torch.where(whole[:, None, None], 1 / (cells[0] * cells[1]), weights)


def _pixels_of_cells(
    pixels: Pixels, size: Sequence[int], rows: int, columns: int, num_nodes: int, bilinear: bool
) -> Tensor:
    """Number of pixels of each node in each cell, shape (N rows columns,): int64, or float64 if ``bilinear``."""
    node, _, y, x = pixels
    height, width = size
    # Counting (node, cell) pairs in a dense table needs no sort, and N cells numbers are few.
    total = num_nodes * rows * columns
    if not bilinear:
        cell = y * rows // height * columns + x * columns // width
        return torch.bincount(node * rows * columns + cell, minlength=total)
    counts = torch.zeros(total, dtype=torch.float64, device=node.device)
    for row, of_row in _nearest(y, height, rows):
        for column, of_column in _nearest(x, width, columns):
            cell = (node * rows + row) * columns + column
            counts += torch.bincount(cell, of_row * of_column, minlength=total)
    return counts


def _nearest(position: Tensor, size: int, cells: int) -> list[tuple[Tensor, Tensor]]:
    """For each pixel along an axis, the two cells with the nearest centres, and their weights."""
    at = ((position.double() + 0.5) * cells / size - 0.5).clamp(0, cells - 1)
    first = at.floor()
    second = at - first
    return [(first.long(), 1 - second), ((first.long() + 1).clamp(max=cells - 1), second)]
