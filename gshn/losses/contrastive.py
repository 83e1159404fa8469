"""Contrastive losses."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True)
class RightAnswers:
    """Which texts and images of a joined batch belong together; what does is never a negative.

    Attributes:
        of_texts: True where an image belongs to this process's text, shape (B K, W B).
        of_images: True where a text belongs to this process's image, shape (B, W B K).
    """

    of_texts: Tensor
    of_images: Tensor

    @classmethod
    def of(cls, texts: Tensor, images: Tensor) -> RightAnswers:
        """A text belongs to an image that it, or one of the same words, stands beside anywhere in the joined batch.

        right[t, i] = 1 if there is a pair whose text is the same as t's and whose image is the same as i's.

        Args:
            texts: Identity of each text: equal where texts are the same, shape (B K,), int64, K texts of each image.
            images: Identity of each image, likewise, shape (B,).
        """
        all_texts, all_images = gather(texts), gather(images)
        beside = all_images.repeat_interleave(len(texts) // len(images))  # image of each text, which make the pairs
        # A product of counts, which float32 holds exactly up to 2^24 pairs.
        same_text, same_image = all_texts[:, None] == all_texts[None], beside[:, None] == all_images[None]
        own_text, own_image = texts[:, None] == all_texts[None], images[:, None] == beside[None]
        return cls(own_text.float() @ same_image.float() > 0, own_image.float() @ same_text.float() > 0)


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


def spike_contrast(spikes: Tensor, nodes: Tensor, temperature: float = 0.2) -> Tensor:
    """Segment-level contrast of the spike code between the two halves of the time window.

    A segment's spike counts in the first half of the steps and those in the second are a positive pair; the second
    halves of all other segments of the joined batch are its negatives, so that a segment's code is steady over time
    and tells it from others. The same segment in another copy of its image is left out. The similarity is the cosine of
    the counts; see :func:`unit` about silent segments.

    Args:
        spikes: Shape (T, N, C).
        nodes: Identity of each segment: equal where it is the same segment of the same image, shape (N,), int64.
        temperature: Divides the cosine.
    """
    half = spikes.shape[0] // 2
    early, late = (unit(part.sum(dim=0)) for part in (spikes[:half], spikes[half:]))
    rows, everybody = early.shape[0], gather(nodes)
    target = sum(row_counts(rows, spikes.device)[: rank()]) + torch.arange(rows, device=spikes.device)
    same = (nodes[:, None] == everybody[None]).scatter(1, target[:, None], False)
    logits = (early @ gather(late).T / temperature).masked_fill(same, -torch.inf)
    return global_mean(F.cross_entropy(logits, target, reduction="none"))
