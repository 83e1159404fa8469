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
"""Least number of tokens in a block. Matrix products of fewer rows are slower."""


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
        """Embeddings without parts, S = 0, for a similarity of wholes only."""
        return cls(
            whole, whole.new_zeros(len(whole), 0, whole.shape[1]), whole.new_zeros(len(whole), 0, dtype=torch.bool)
        )

    def split(self, size: int) -> Iterator[Embeddings]:
        """Iterate over the images or texts in order, ``size`` at a time."""
        return (self[start : start + size] for start in range(0, len(self.whole), size))

    def gathered(self) -> Embeddings:
        """The embeddings of all processes, see :func:`gshn.distributed.gather`."""
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
    """Projects the states of wholes and of their parts to unit vectors.

    A whole is a text or an image; its parts are tokens or segments. Parts, and wholes without a hidden layer:
    w = normalise(W h + b). Wholes with a hidden layer: w = normalise(W h' + b + W_2 Dropout(ReLU(W_1 h' + b_1)) + b_2)
    with h' = LayerNorm(h). W and b of wholes and of parts are separate.

    Args:
        channels: Channels C of the states.
        embedding: Channels E of the unit vectors.
        hidden: Neurons of the hidden layer; 0: none.
        dropout: Dropout probability of the hidden layer.
        linear: Whether wholes have the linear map. Without it w = normalise(h), and there is no hidden layer.
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
    """Apply ``compare`` to all pairs of texts and images, in blocks of pairs that bound the memory.

    The backward pass recomputes each block. If all pairs fit in one block, nothing is recomputed.

    Args:
        compare: Takes wholes, parts and mask of texts, the same of images, and ``shared``. Returns one number for each
            pair, shape (texts, images), which depends on no other pair.
        texts: T texts.
        images: I images.
        numbers: Number of elements per pair in the largest tensor that ``compare`` makes.
        shared: Further tensor arguments of ``compare``.

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
    """Similarity of texts and images, in [-1, 1]. The embeddings' ``spikes`` are not used.

    S[t, i] = (<w_t, w_i> + mean_a max_s <p_ta, p_is>) / 2, with w the whole's vector, a the tokens of text t and s the
    segments of image i. The second term is the late interaction of FILIP (arXiv:2111.07783): each token is compared
    with its most similar segment.

    The similarities of all tokens with all segments are T I L S numbers. Only those of one block of pairs are in memory
    at a time, forward and backward (:func:`gshn.encoders.blocks.numbers_per_block`). Memory is that of the result, T I,
    and of the inputs' gradients, T L F + I S F, plus a constant.

    Args:
        texts: T texts of up to L tokens.
        images: I images of up to S segments.
        with_parts: Whether tokens and segments are compared. Without them S[t, i] = <w_t, w_i>.

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
    """Similarity of texts with the segments that they attend to, in [-1, 1].

    A[t, i] = <w_t, normalise(sum_s a_s p_is)> with a = softmax_s(scale <w_t, p_is>), w_t the vector of text t and p_is
    those of the segments of image i, in the same space. The attention is that of SCAN (Lee et al., arXiv:1803.08024)
    from text to image, with one vector for the text in place of its words. Memory is bounded as in :func:`similarity`.

    Args:
        texts: T texts, of which the wholes are compared.
        images: I images, of which the segments are compared; each has at least one.
        scale: Inverse temperature of the softmax, shape ().

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
