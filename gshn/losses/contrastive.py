"""Contrastive losses."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gshn.distributed import gather, global_mean, rank, row_counts, row_offset


def unit(counts: Tensor) -> Tensor:
    """Spike counts, shape (..., C), divided by their Euclidean norm, but by no less than that of a single spike.

    So silence is the zero vector, and its gradient (through the surrogate) is no larger than that of one spike: plain
    normalisation would divide it by nothing, and one silent segment would drown all others.
    """
    return F.normalize(counts, dim=-1, eps=1.0)


def symmetric_info_nce(text_to_image: Tensor, image_to_text: Tensor) -> Tensor:
    """InfoNCE both ways; the pair of row i of this process is column ``row_offset + i`` of the joined batch.

    L = -(mean_i log softmax_j(text_to_image)[i, i] + mean_i log softmax_j(image_to_text)[i, i]) / 2

    Source: van den Oord et al., arXiv:1807.03748; as in CLIP, arXiv:2103.00020.

    Args:
        text_to_image: Scaled similarity of this process's texts with everybody's images, shape (B, W B).
        image_to_text: The same for this process's images and everybody's texts, shape (B, W B).
    """
    rows = text_to_image.shape[0]
    target = row_offset(rows) + torch.arange(rows, device=text_to_image.device)
    losses = [F.cross_entropy(logits, target, reduction="none") for logits in (text_to_image, image_to_text)]
    return global_mean(torch.cat(losses))


def spike_contrast(spikes: Tensor, temperature: float = 0.2) -> Tensor:
    """Segment-level contrast of the spike code between the two halves of the time window.

    A segment's spike counts in the first half of the steps and those in the second are a positive pair; the second
    halves of all other segments of the joined batch are its negatives, so that a segment's code is steady over time
    and tells it from others. The similarity is the cosine of the counts; see :func:`unit` about silent segments.

    Args:
        spikes: Shape (T, N, C).
        temperature: Divides the cosine.
    """
    half = spikes.shape[0] // 2
    early, late = (unit(part.sum(dim=0)) for part in (spikes[:half], spikes[half:]))
    nodes = early.shape[0]
    start = sum(row_counts(nodes, spikes.device)[: rank()])
    target = start + torch.arange(nodes, device=spikes.device)
    return global_mean(F.cross_entropy(early @ gather(late).T / temperature, target, reduction="none"))
