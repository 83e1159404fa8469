"""Image-text matching with hard negatives."""

from __future__ import annotations

import torch
from torch import Tensor


def hard_negatives(logits: Tensor, alike: Tensor, noise: Tensor) -> Tensor:
    """Sample one wrong column for each row, likelier the more similar it looks (ALBEF, arXiv:2107.07651).

    P(column j for row i) is proportional to exp(logits[i, j]) where not alike[i, j]; sampled by the Gumbel trick, so
    that the result depends on ``noise`` only and not on how rows are spread over processes.

    Args:
        logits: Scaled similarity, shape (B, M).
        alike: True where a column is the right answer of a row or says the same, shape (B, M).
        noise: Uniform in (0, 1), shape (B, M).

    Returns:
        Column indices, shape (B,); a row whose columns are all alike gets one of them.
    """
    gumbel = -torch.log(-torch.log(noise.clamp(1e-9, 1 - 1e-7)))
    return (logits.detach() + gumbel).masked_fill(alike, -1e9).argmax(dim=1)
