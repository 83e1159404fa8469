"""``bert``: a small one, from scratch, over the words of the training texts."""

from __future__ import annotations

from collections.abc import Iterable

from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from gshn.config import ModelConfig
from gshn.encoders.text import Architecture, TextEncoder, TransformersText, word_tokenizer

KINDS = {"bert": {"pretrained": False, "help": "a small one, from scratch"}}


def make_tokenizer(encoder: str, texts: Iterable[str], max_length: int) -> PreTrainedTokenizerFast:
    """See :func:`gshn.encoders.text_encoders.build_tokenizer`."""
    return word_tokenizer(texts, max_length)


def make_encoder(
    config: ModelConfig, tokenizer: PreTrainedTokenizerFast, architecture: Architecture | None
) -> TextEncoder:
    """See :func:`gshn.encoders.text_encoders.build_text_encoder`."""
    bert = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=config.width,
        num_hidden_layers=config.text.layers,
        num_attention_heads=config.text.heads,
        intermediate_size=4 * config.width,
        max_position_embeddings=config.text.max_length,
        hidden_dropout_prob=config.dropout,
        attention_probs_dropout_prob=0.0,
    )
    return TransformersText(BertModel(bert, add_pooling_layer=False), config)
