"""``itm``: image-text matching with hard negatives."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gshn.distributed import global_sum
from gshn.encoders.text import EncodedTexts
from gshn.losses.base import PairStates
from gshn.model import NodeTokens

KINDS = {
    "itm": {"weight": 1.0, "order": 7, "reads": ("tokens",), "help": "image-text matching with hard negatives"},
}


def hard_negatives(logits: Tensor, right: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Sample one wrong column for each row, likelier the more similar it looks (ALBEF, arXiv:2107.07651).

    P(column j for row i) is proportional to exp(logits[i, j]) where not right[i, j]; sampled by the Gumbel trick, so
    that the result depends on ``noise`` only and not on how rows are spread over processes.

    Args:
        logits: Scaled similarity, shape (B, M).
        right: True where a column is a right answer of a row, shape (B, M):
            :class:`gshn.losses.base.RightAnswers`.
        noise: Uniform in (0, 1), shape (B, M).

    Returns:
        Column indices, shape (B,), and whether that is a negative, shape (B,): False where all columns are right.
    """
    gumbel = -torch.log(-torch.log(noise.clamp(1e-9, 1 - 1e-7)))
    return (logits.detach() + gumbel).masked_fill(right, -torch.inf).argmax(dim=1), ~right.all(dim=1)


def loss(name: str, states: PairStates) -> Tensor:
    """Cross-entropy of whether text and image belong together, of what :attr:`~gshn.losses.base.PairStates.fused` has.

    A caption with its image, with a hard negative image, and the image with a hard negative caption; where the batch
    has no negative for it, nothing stands for that one.
    """
    some, texts, (text_to_image, image_to_text) = states.fused, states.texts, states.logits
    rows, first, total = some.rows, some.captions, text_to_image.shape[1]
    generator = torch.Generator().manual_seed(int(states.pairs.noise_seed))
    noise = torch.rand(total, image_to_text.shape[1], generator=generator).to(rows.device)[some.start + rows]
    image, is_image = hard_negatives(text_to_image[first], states.right.of_texts[first], noise[:, :total])
    text, is_text = hard_negatives(image_to_text[rows], states.right.of_images[rows], 1 - noise)
    answers = states.model.matching(
        EncodedTexts.cat([texts[first], texts[first], texts.gathered()[text]]),
        NodeTokens.cat([some.tokens[rows], some.tokens.gathered()[image], some.tokens[rows]]),
    ).float()
    matches = torch.cat([torch.ones_like(rows), torch.zeros_like(rows), torch.zeros_like(rows)])
    # Two of three pairs do not match; weighting keeps "no" from being a good guess.
    weight = torch.where(matches == 1, 4 / 3, 2 / 3)
    weight = weight * torch.cat([some.counts, some.counts * is_image, some.counts * is_text])
    wrong = weight * F.cross_entropy(answers, matches, reduction="none")
    return global_sum(wrong) / (3 * len(range(0, total, states.weights.fusion_stride)))
