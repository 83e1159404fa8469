"""Text encoders, a file for each kind (:mod:`gshn.registry`): ``model.text.encoder`` names one.

A file has ``make_tokenizer`` and ``make_encoder``, with the arguments of :func:`build_tokenizer` and
:func:`build_text_encoder`.
"""

from __future__ import annotations

from collections.abc import Iterable

from transformers import PreTrainedTokenizerFast

from gshn.config import ModelConfig
from gshn.encoders.text import Architecture, TextEncoder
from gshn.registry import TEXT_ENCODERS


def build_tokenizer(encoder: str, texts: Iterable[str], max_length: int) -> PreTrainedTokenizerFast:
    """The tokenizer of a text encoder: a pretrained one's own, or one token per word of ``texts``.

    Args:
        encoder: ``model.text.encoder``.
        texts: Training texts.
        max_length: Longer texts are cut to this many tokens, or to as many as the encoder can read.

    Raises:
        ConfigError: there is no such encoder, or it cannot be used.
    """
    tokenizer: PreTrainedTokenizerFast = TEXT_ENCODERS.function(encoder, "make_tokenizer")(encoder, texts, max_length)
    return tokenizer


def build_text_encoder(
    config: ModelConfig, tokenizer: PreTrainedTokenizerFast, architecture: Architecture | None
) -> TextEncoder:
    """The text encoder of a model.

    Args:
        config: The model's configuration.
        tokenizer: What :func:`build_tokenizer` made.
        architecture: Architecture of a pretrained encoder whose weights come from a checkpoint. None: its own weights
            are read.

    Raises:
        ConfigError: there is no such encoder, or it cannot be used.
    """
    make = TEXT_ENCODERS.function(config.text.encoder, "make_encoder")
    encoder: TextEncoder = make(config, tokenizer, architecture)
    encoder.with_words = config.spiking.enabled and config.spiking.text == "words"
    return encoder
