"""``spikformer``: a spiking transformer over the words of the training texts."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from gshn.config import ModelConfig
from gshn.encoders.spikformer import spiking_transformer
from gshn.encoders.text import Architecture, TextEncoder, word_tokenizer

KINDS = {"spikformer": {"pretrained": False, "help": "a spiking transformer, from scratch"}}


class SpikingText(TextEncoder):
    """A spiking transformer over token and position embeddings."""

    def __init__(self, config: ModelConfig, vocabulary_size: int):
        super().__init__(config.text.pooling or "cls")
        self.tokens = nn.Embedding(vocabulary_size, config.width)
        self.positions = nn.Embedding(config.text.max_length, config.width)
        self.transformer = spiking_transformer(config, config.text.heads, config.text.layers)

    @property
    def dictionary(self) -> nn.Embedding:
        """See :class:`TextEncoder`."""
        return self.tokens

    def hidden(self, input_ids: Tensor, mask: Tensor, states: Tensor | None) -> Tensor:
        """See :class:`TextEncoder`; there are no ``states``, as it is always trained."""
        position = torch.arange(input_ids.shape[1], device=input_ids.device).expand_as(input_ids)
        out, _ = self.transformer(self.tokens(input_ids[mask]) + self.positions(position[mask]), mask)
        hidden: Tensor = out.new_zeros(*mask.shape, out.shape[1])
        hidden[mask] = out
        return hidden


def make_tokenizer(encoder: str, texts: Iterable[str], max_length: int) -> PreTrainedTokenizerFast:
    """See :func:`gshn.encoders.text_encoders.build_tokenizer`."""
    return word_tokenizer(texts, max_length)


def make_encoder(
    config: ModelConfig, tokenizer: PreTrainedTokenizerFast, architecture: Architecture | None
) -> TextEncoder:
    """See :func:`gshn.encoders.text_encoders.build_text_encoder`."""
    return SpikingText(config, len(tokenizer))
