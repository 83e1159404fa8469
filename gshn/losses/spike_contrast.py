"""``spike_contrast``: segments against each other, by their spikes in the two halves of the time window."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gshn.distributed import gather, global_mean, rank, row_counts
from gshn.encoders.blocks import numbers_per_block, recomputed
from gshn.encoders.spiked_text import unit
from gshn.losses.base import PairStates

KINDS = {
    "spike_contrast": {
        "weight": 0.1,
        "order": 2,
        "needs": "spikes",
        "help": "segment-level contrast of the spike code between the two halves of the time window",
    }
}


def spike_contrast(spikes: Tensor, nodes: Tensor, temperature: float = 0.2) -> Tensor:
    """Segment-level contrast of the spike code between the two halves of the time window.

    A segment's spike counts in the first half of the steps and those in the second are a positive pair; the second
    halves of all other segments of the joined batch are its negatives, so that a segment's code is steady over time
    and tells it from others. The same segment in another copy of its image is left out. The similarity is the cosine of
    the counts; see :func:`unit` about silent segments. Time grows with this process's segments times everybody's;
    memory is that of a block of rows, which the backward pass computes anew.

    Args:
        spikes: Shape (T, N, C).
        nodes: Identity of each segment: equal where it is the same segment of the same image, shape (N,), int64.
        temperature: Divides the cosine.
    """
    half = spikes.shape[0] // 2
    early, late = (unit(part.sum(dim=0)) for part in (spikes[:half], spikes[half:]))
    rows, everybody = early.shape[0], gather(nodes)
    target = sum(row_counts(rows, spikes.device)[: rank()]) + torch.arange(rows, device=spikes.device)
    columns = gather(late)

    def errors(own: Tensor, theirs: Tensor, identity: Tensor, right: Tensor) -> Tensor:
        same = (identity[:, None] == everybody[None]).scatter(1, right[:, None], False)
        logits = (own @ theirs.T / temperature).masked_fill(same, -torch.inf)
        return F.cross_entropy(logits, right, reduction="none")

    size = max(1, numbers_per_block(spikes.device, rows * len(everybody)) // max(1, len(everybody)))
    blocks = list(zip(early.split(size), nodes.split(size), target.split(size), strict=True))
    if len(blocks) == 1:
        return global_mean(errors(early, columns, nodes, target))
    return global_mean(torch.cat([recomputed(errors, own, columns, *labels) for own, *labels in blocks]))


def loss(name: str, states: PairStates) -> Tensor:
    """The loss of the last spiking layer, see :func:`spike_contrast`."""
    return spike_contrast(states.spikes.output, states.pairs.segments())
