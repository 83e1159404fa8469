"""Image-text matching with hard negatives."""

from __future__ import annotations

import torch
from torch import Tensor


def hard_negatives(logits: Tensor, right: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Sample one wrong column for each row, likelier the more similar it looks (ALBEF, arXiv:2107.07651).

    P(column j for row i) is proportional to exp(logits[i, j]) where not right[i, j]; sampled by the Gumbel trick, so
    that the result depends on ``noise`` only and not on how rows are spread over processes.

    Args:
        logits: Scaled similarity, shape (B, M).
        right: True where a column is a right answer of a row, shape (B, M):
            :class:`gshn.losses.contrastive.RightAnswers`.
        noise: Uniform in (0, 1), shape (B, M).

    Returns:
        Column indices, shape (B,), and whether that is a negative, shape (B,): False where all columns are right.
    """
    gumbel = -torch.log(-torch.log(noise.clamp(1e-9, 1 - 1e-7)))
    return (logits.detach() + gumbel).masked_fill(right, -torch.inf).argmax(dim=1), ~right.all(dim=1)
