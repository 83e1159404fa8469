"""Non-maximum suppression."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Boxes (N, 4) that are kept, best first, where each box removes the worse ones that overlap it."""
    order = scores.argsort(descending=True)
    boxes = boxes[order]
    area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    first = torch.maximum(boxes[:, None, :2], boxes[:, :2])
    last = torch.minimum(boxes[:, None, 2:], boxes[:, 2:])
    intersection = (last - first).clamp(min=0).prod(dim=2)
    over = (intersection > iou_threshold * (area[:, None] + area - intersection)).numpy()
    kept = np.ones(len(boxes), dtype=bool)
    for i in range(len(boxes)):
        if kept[i]:
            kept[i + 1 :] &= ~over[i, i + 1 :]
    return order[torch.from_numpy(kept)]


def batched_nms(boxes: Tensor, scores: Tensor, idxs: Tensor, iou_threshold: float) -> Tensor:
    """The same within each class: boxes of different classes are moved apart."""
    if not len(boxes):
        return idxs
    return nms(boxes + idxs[:, None].to(boxes) * (boxes.max() + 1), scores, iou_threshold)
