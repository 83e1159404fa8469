"""The shared embedding space of images and texts, and the similarity that retrieval ranks by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gshn.distributed import gather
from gshn.encoders.blocks import numbers_per_block, recomputed

TOKENS = 256
"""Of a block, at least: with fewer, products of matrices are slower."""


@dataclass(frozen=True)
class Embeddings:
    """Unit vectors of a batch of images or texts.

    Attributes:
        whole: One vector per image or text, shape (B, E).
        parts: One vector per segment or token, shape (B, S, F); zeros where padded.
        mask: True at segments or tokens, shape (B, S).
        spikes: What spiked text learning makes of the same images or texts; None without it.
    """

    whole: Tensor
    parts: Tensor
    mask: Tensor
    spikes: Embeddings | None = None

    @classmethod
    def of_wholes(cls, whole: Tensor) -> Embeddings:
        """Embeddings without parts, S = 0: what compares wholes only needs no more."""
        return cls(
            whole, whole.new_zeros(len(whole), 0, whole.shape[1]), whole.new_zeros(len(whole), 0, dtype=torch.bool)
        )

    def split(self, size: int) -> Iterator[Embeddings]:
        """As many of the images or texts at a time, in order."""
        return (self[start : start + size] for start in range(0, len(self.whole), size))

    def gathered(self) -> Embeddings:
        """Everybody's embeddings, see :func:`gshn.distributed.gather`."""
        return Embeddings(
            gather(self.whole),
            gather(self.parts),
            gather(self.mask[..., None].float())[..., 0] > 0,
            self.spikes and self.spikes.gathered(),
        )

    def to(self, device: torch.device) -> Embeddings:
        """The same on another device."""
        spikes = self.spikes and self.spikes.to(device)
        return Embeddings(self.whole.to(device), self.parts.to(device), self.mask.to(device), spikes)

    def __getitem__(self, rows: slice | Tensor) -> Embeddings:
        """Some of the images or texts."""
        return Embeddings(self.whole[rows], self.parts[rows], self.mask[rows], self.spikes and self.spikes[rows])


class AlignmentHead(nn.Module):
    """Projects a whole's and its parts' states to unit vectors.

    w = normalise(W h + b); with a hidden layer w = normalise(W h' + b + W_2 Dropout(ReLU(W_1 h' + b_1)) + b_2) with
    h' = LayerNorm(h).

    Args:
        channels: Of the states.
        embedding: Of the unit vectors.
        hidden: Neurons of the hidden layer; 0: none.
        dropout: Of the hidden layer.
        linear: Whether there is the linear map of wholes; if not, w = normalise(h), and there is no hidden layer.
    """

    def __init__(self, channels: int, embedding: int, hidden: int = 0, dropout: float = 0.0, linear: bool = True):
        super().__init__()
        self.whole = nn.Linear(channels, embedding) if linear else nn.Identity()
        self.parts = nn.Linear(channels, embedding)
        self.hidden: nn.Module | None = None
        if hidden:
            self.norm = nn.LayerNorm(channels)
            self.hidden = nn.Sequential(
                nn.Linear(channels, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, embedding)
            )

    def of_wholes(self, whole: Tensor) -> Tensor:
        """Unit vectors of wholes: states of shape (B, C) -> (B, E)."""
        if self.hidden is None:
            embedded = self.whole(whole)
        else:
            normed = self.norm(whole)
            embedded = self.whole(normed) + self.hidden(normed)
        return F.normalize(embedded.float(), dim=-1)

    def of_parts(self, parts: Tensor, mask: Tensor) -> Tensor:
        """Unit vectors of parts: states of shape (B, S, C) -> (B, S, E); zeros where padded."""
        return F.normalize(self.parts(parts).float(), dim=-1) * mask[..., None]

    def forward(self, whole: Tensor, parts: Tensor, mask: Tensor) -> Embeddings:
        """Embed states of shapes (B, C) and (B, S, C)."""
        return Embeddings(self.of_wholes(whole), self.of_parts(parts, mask), mask)


def in_blocks(
    compare: Callable[..., Tensor], texts: Embeddings, images: Embeddings, numbers: int, *shared: Tensor
) -> Tensor:
    """``compare`` of all texts and images, some of both at a time.

    The backward pass computes blocks anew. A batch that is one block is not: it is as fast as ``compare``.

    Args:
        compare: Takes texts' wholes, parts and mask, images', and what is shared; returns one number for each pair,
            which depends on no other pair: shape (texts, images).
        texts: T texts.
        images: I images.
        numbers: Of the largest tensor that ``compare`` makes of a pair.
        shared: Other tensors that ``compare`` looks at.

    Returns:
        Shape (T, I).
    """
    number, numbers = len(texts.whole) * len(images.whole), max(1, numbers)
    pairs = max(1, numbers_per_block(texts.whole.device, numbers * number) // numbers)
    few = min(-(-TOKENS // max(1, texts.parts.shape[1])), max(1, len(texts.whole)))
    across = max(1, min(len(images.whole), pairs // few))
    rows, columns = (
        list(zip(*(x.split(size) for x in (own.whole, own.parts, own.mask)), strict=True))
        for own, size in ((texts, max(1, pairs // across)), (images, across))
    )
    if len(rows) == len(columns) == 1:
        return compare(*rows[0], *columns[0], *shared)
    return torch.cat(
        [torch.cat([recomputed(compare, *row, *column, *shared) for column in columns], dim=1) for row in rows]
    )


def similarity(texts: Embeddings, images: Embeddings, with_parts: bool = True) -> Tensor:
    """How well texts describe images, in [-1, 1]; of ``spikes`` nothing is looked at.

    S[t, i] = (<w_t, w_i> + mean_a max_s <p_ta, p_is>) / 2, with w the whole's vector, a the tokens of text t and s the
    segments of image i. The second term is the late interaction of FILIP (arXiv:2111.07783): each token looks for the
    segment that it speaks of. Without parts: S[t, i] = <w_t, w_i>.

    A token and a segment make a number, and only those of a block of pairs are in memory together
    (:func:`gshn.encoders.blocks.numbers_per_block`), forward and backward. So memory is that of the T x I result and of
    the inputs' gradients, T L F + I S F numbers, and a constant: it grows with the batch as what comes in and goes out
    does, no longer as T I L S.

    Returns:
        Shape (number of texts, number of images).
    """
    if not with_parts:
        return texts.whole @ images.whole.T
    return in_blocks(_similarity, texts, images, texts.parts.shape[1] * images.parts.shape[1])


def _similarity(
    texts: Tensor, tokens: Tensor, is_token: Tensor, images: Tensor, segments: Tensor, is_segment: Tensor
) -> Tensor:
    whole = texts @ images.T
    owner = is_token.nonzero()[:, 0]
    best = torch.einsum("ae,ise->ais", tokens[is_token], segments)
    best = best.masked_fill(~is_segment, -2.0).amax(dim=-1)
    mean = torch.zeros_like(whole).index_add(0, owner, best) / is_token.sum(dim=1, keepdim=True)
    return (whole + mean) / 2


def attended(texts: Embeddings, images: Embeddings, scale: Tensor) -> Tensor:
    """How well texts describe what they attend to in images, in [-1, 1].

    A[t, i] = <w_t, normalise(sum_s a_s p_is)> with a = softmax_s(scale <w_t, p_is>), w_t the vector of text t and p_is
    those of the segments of image i, in the same space. Each text weighs the segments by how near they are to it, as in
    SCAN (Lee et al., arXiv:1803.08024), of which this is the image's side with a whole text in place of its words.
    Memory is bounded as that of :func:`similarity`.

    Args:
        texts: Their wholes are compared.
        images: Their parts are compared; each has at least one.
        scale: Of the softmax, shape ().

    Returns:
        Shape (number of texts, number of images).
    """
    return in_blocks(_attended, texts, images, images.parts.shape[1], scale)


def _attended(
    texts: Tensor, _: Tensor, __: Tensor, images: Tensor, segments: Tensor, is_segment: Tensor, scale: Tensor
) -> Tensor:
    near = torch.einsum("te,ise->tis", texts, segments)
    weight = (scale * near).masked_fill(~is_segment, -torch.inf).softmax(dim=2)
    # The norm of the weighted sum, without the sum: it would have shape (texts, images, E).
    gram = torch.einsum("ise,iue->isu", segments, segments)
    square = (torch.einsum("tis,isu->tiu", weight, gram) * weight).sum(dim=2)
    return (weight * near).sum(dim=2) / square.clamp(min=1e-12).sqrt()
