"""``mlm``: masked language modelling, of captions with their images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gshn.distributed import global_mean
from gshn.losses.base import PairStates

KINDS = {
    "mlm": {"weight": 0.2, "order": 6, "reads": ("tokens", "masked"), "help": "masked language modelling"},
}

IGNORE = -100
"""Label of positions without a loss: PyTorch's ``ignore_index``."""


def mask_tokens(
    input_ids: Tensor, special_ids: list[int], mask_id: int, share: float, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """Replace a share of a text's tokens by [MASK].

    Unlike BERT (arXiv:1810.04805) no token is swapped for a random one or kept: with the image at hand the model has
    to look there for the word, and the few hundred words of small corpora need no such noise.

    Args:
        input_ids: Token ids of one text, shape (L,).
        special_ids: Ids that are never masked.
        mask_id: Id of [MASK].
        share: Probability of each token to be masked; at least one is.
        noise: Uniform in [0, 1), shape (L,).

    Returns:
        Masked ids, and labels: the id where masked, :data:`IGNORE` elsewhere; each of shape (L,).
    """
    maskable = ~torch.isin(input_ids, torch.tensor(special_ids))
    noise = noise.masked_fill(~maskable, 2.0)
    chosen = (noise < share) | (maskable & (noise == noise.min()))
    return input_ids.masked_fill(chosen, mask_id), input_ids.masked_fill(~chosen, IGNORE)


def loss(name: str, states: PairStates) -> Tensor:
    """Cross-entropy of the masked tokens of the captions that :attr:`~gshn.losses.base.PairStates.fused` has."""
    model, pairs, some = states.model, states.pairs, states.fused
    assert pairs.masked_ids is not None and pairs.labels is not None
    masked = model.encode_text(pairs.masked_ids[some.captions], pairs.attention_mask[some.captions])
    fused = model.fuse(masked, some.tokens[some.rows])
    labels = pairs.labels[some.captions]
    at = (labels != IGNORE) & (some.counts[:, None] > 0)
    words = model.language_head(fused[at]).float()
    return global_mean(F.cross_entropy(words, labels[at], reduction="none"))
