"""Operators by the names of torchvision.ops; detectron2 imports the last two, and none of our models uses them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from torchvision.ops.boxes import batched_nms, nms

__all__ = ["RoIPool", "batched_nms", "deform_conv2d", "nms", "roi_align"]


def roi_align(
    features: Tensor,
    rois: Tensor,
    output_size: tuple[int, int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> Tensor:
    """Means of samples of a map (B, C, H, W) in the cells of boxes (R, 5): image, x, y, x, y."""
    samples = sampling_ratio if sampling_ratio > 0 else 2
    size = features.new_tensor([features.shape[3], features.shape[2]])
    first, last = (rois[:, i : i + 2] * spatial_scale - 0.5 * aligned for i in (1, 3))
    grid = []
    for axis, cells in ((0, output_size[1]), (1, output_size[0])):
        at = (torch.arange(cells * samples, device=rois.device) + 0.5) / (cells * samples)
        position = first[:, axis, None] + at * (last - first)[:, axis, None]
        grid.append(2 * position / (size[axis] - 1).clamp(min=1) - 1)
    x = grid[0][:, None, :].expand(-1, grid[1].shape[1], -1)
    y = grid[1][:, :, None].expand(-1, -1, grid[0].shape[1])
    own = features[rois[:, 0].long()]
    sampled = F.grid_sample(own, torch.stack([x, y], dim=3), padding_mode="border", align_corners=True)
    return F.avg_pool2d(sampled, samples) if len(rois) else features.new_zeros(0, features.shape[1], *output_size)


class RoIPool(torch.nn.Module):
    """Not there."""


deform_conv2d = None
