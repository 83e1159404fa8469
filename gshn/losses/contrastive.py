"""``itc``: image-text contrast."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gshn.distributed import global_mean, row_offset
from gshn.losses.base import PairStates, RightAnswers

KINDS = {"itc": {"weight": 1.0, "order": 1, "help": "image-text contrast"}}


def symmetric_info_nce(text_to_image: Tensor, image_to_text: Tensor, right: RightAnswers) -> Tensor:
    """InfoNCE both ways over the pairs (t, i) of a text and its image, K pairs of each image: t = i K + 0, ..., K - 1.

    L = -(mean over pairs of log p(text_to_image)[t, i] + mean over pairs of log p(image_to_text)[i, t]) / 2
    p(S)[a, b] = exp S[a, b] / (exp S[a, b] + sum over c with not right[a, c] of exp S[a, c])

    A right answer other than the pair's own (an image that stands twice in a batch, a caption that two images share,
    another caption of the image) is left out of the denominator: it is no negative. It could be made a positive instead
    (UniCL, arXiv:2204.03610); it is one already in its own pair, and left out the loss keeps its least value of 0 and
    is plain InfoNCE where nothing stands twice and K is 1.

    Source: van den Oord et al., arXiv:1807.03748; as in CLIP, arXiv:2103.00020; the elimination of false negatives is
    that of Huynh et al., arXiv:2011.11765.

    Args:
        text_to_image: Scaled similarity of this process's texts with everybody's images, shape (B K, W B).
        image_to_text: The same for this process's images and everybody's texts, shape (B, W B K).
        right: What belongs together.
    """
    texts, images = text_to_image.shape[0], image_to_text.shape[0]
    text = torch.arange(texts, device=text_to_image.device)
    image = text // (texts // images)
    losses = []
    for logits, belongs, target in (
        (text_to_image, right.of_texts, row_offset(images) + image),
        (image_to_text[image], right.of_images[image], row_offset(texts) + text),
    ):
        others = belongs.scatter(1, target[:, None], False)
        losses.append(F.cross_entropy(logits.masked_fill(others, -torch.inf), target, reduction="none"))
    return global_mean(torch.cat(losses))


def loss(name: str, states: PairStates) -> Tensor:
    """The loss of V', see :func:`symmetric_info_nce`."""
    return symmetric_info_nce(*states.logits, states.right)
