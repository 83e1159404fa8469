"""What pretraining losses are computed from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from gshn.config import ObjectiveConfig
from gshn.distributed import gather, row_offset, world_size
from gshn.encoders.alignment import Embeddings
from gshn.encoders.spiking import SpikeTrains
from gshn.graphs.scene_graph import SceneGraph
from gshn.model import GSHN, NodeTokens


@dataclass(frozen=True)
class OnDevice:
    """A dataclass of tensors and graphs that can be moved to a device."""

    def to(self, device: torch.device, non_blocking: bool = False) -> Self:
        """Copy with every tensor on ``device``."""
        parts = {f.name: getattr(self, f.name) for f in fields(self)}
        return type(self)(**{name: None if part is None else part.to(device) for name, part in parts.items()})


@dataclass(frozen=True)
class PairBatch(OnDevice):
    """B images with K captions each: text t is of image t // K.

    Attributes:
        graphs: Batch of B scene graphs.
        input_ids: Captions, shape (B K, L).
        attention_mask: Shape (B K, L).
        masked_ids: Captions with masked tokens, shape (B K, L); None where nobody asks for them.
        labels: Token ids where masked, IGNORE elsewhere, shape (B K, L); None as of ``masked_ids``.
        words: Share of the image's captions here that have the word, shape (B, number of words asked for).
        text: Identity of each caption: equal where the tokens are, shape (B K,), int64.
        image: Identity of each image: equal where the graphs are, shape (B,), int64.
        noise_seed: Seed of the randomness that all processes share, shape ().
        states: What a frozen text encoder says of the captions, shape (B K, L, W), float16; None: it is to be asked.
    """

    graphs: SceneGraph
    input_ids: Tensor
    attention_mask: Tensor
    masked_ids: Tensor | None
    labels: Tensor | None
    words: Tensor
    text: Tensor
    image: Tensor
    noise_seed: Tensor
    states: Tensor | None = None

    def segments(self) -> Tensor:
        """Identity of each segment: equal where it is the same one of the same image, shape (N,), int64."""
        batch, ptr = self.graphs.batch, self.graphs.ptr
        return self.image[batch] + torch.arange(len(batch), device=batch.device) - ptr[batch]


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
            images: Identity of each image, in the same way, shape (B,).
        """
        all_texts, all_images = gather(texts), gather(images)
        beside = all_images.repeat_interleave(len(texts) // len(images))  # image of each text, which make the pairs
        # Counts of pairs, which float32 holds exactly up to 2^24, by this process's rows and everybody's identities.
        own_text, own_image = texts[:, None] == all_texts[None], images[:, None] == beside[None]
        _, image = torch.cat([all_images, beside]).unique(return_inverse=True)
        _, text = all_texts.unique(return_inverse=True)
        return cls(
            *(
                torch.zeros_like(own, dtype=torch.float32).index_add(1, of_pair, own.float())[:, of_column] > 0
                for own, of_pair, of_column in (
                    (own_text, image[len(all_images) :], image[: len(all_images)]),
                    (own_image, text, text),
                )
            )
        )


@dataclass(frozen=True)
class FusedRows:
    """What the losses that need the fusion transformer look at: every k-th image, with the first of its captions.

    k is ``objectives.fusion_stride``; images count over the joined batch, and a process has its own.

    Attributes:
        rows: Its images, shape (R,), int64, R at least 1.
        captions: The caption of each, shape (R,).
        counts: 1; or one 0 where this process has no such image: all processes have to call the same.
        tokens: All B images as fusion sees them.
        start: Position of this process's first image in the joined batch.
    """

    rows: Tensor
    captions: Tensor
    counts: Tensor
    tokens: NodeTokens
    start: int


class PairStates:
    """A batch of pairs as the model sees it.

    Attributes:
        model: The model.
        pairs: B images with K captions each.
        weights: Weights of the losses, with their options.
        chunk: Images, with their captions, that are encoded together; all where None.
        encoded: The images.
        texts: The captions.
        text_embeddings, image_embeddings: Embeddings of both.
        logits: Logits of captions with all processes' images, shape (B K, W B) for W processes, and of images with
            all processes' captions, shape (B, W B K), by V'.
        right: What belongs together.
    """

    def __init__(self, model: GSHN, pairs: PairBatch, weights: ObjectiveConfig, chunk: int | None = None) -> None:
        self.model, self.pairs, self.weights = model, pairs, weights
        self.encoded = model.encode_graphs(pairs.graphs, chunk=chunk)
        tokens, texts = model.with_parts or weights.reads("tokens"), len(pairs.text) // len(pairs.image)
        self.texts = model.encode_text(
            pairs.input_ids, pairs.attention_mask, pairs.states, tokens, chunk and chunk * texts
        )
        self.text_embeddings = model.embed_texts(self.texts)
        self.image_embeddings = model.embed_images(self.encoded)
        self.logits = self.both_ways(model.scale(), model.alignment)
        self.right = RightAnswers.of(pairs.text, pairs.image)

    @property
    def spikes(self) -> SpikeTrains:
        """Spikes of the images; only losses that need spikes ask for them."""
        assert self.encoded.spikes is not None
        return self.encoded.spikes

    def both_ways(self, scale: Tensor, alignment: Callable[[Embeddings, Embeddings], Tensor]) -> tuple[Tensor, Tensor]:
        """Logits of this process's texts with all images, shape (B K, W B), and of its images with all texts."""
        texts, images = self.text_embeddings, self.image_embeddings
        text_to_image = scale * alignment(texts, images.gathered())
        if world_size() == 1:
            return text_to_image, text_to_image.T
        return text_to_image, scale * alignment(texts.gathered(), images).T

    @cached_property
    def fused(self) -> FusedRows:
        """See :class:`FusedRows`."""
        pairs, stride = self.pairs, self.weights.fusion_stride
        count, device = len(pairs.image), pairs.image.device
        start = row_offset(count)
        rows = torch.tensor(range(-start % stride, count, stride), dtype=torch.long, device=device)
        # A process with none of them takes part with a row that counts for nothing.
        counts = torch.ones_like(rows) if len(rows) else torch.zeros(1, dtype=torch.long, device=device)
        rows = rows if len(rows) else torch.zeros_like(counts)
        captions = rows * (len(pairs.text) // count)
        return FusedRows(rows, captions, counts, self.model.node_tokens(self.encoded), start)
