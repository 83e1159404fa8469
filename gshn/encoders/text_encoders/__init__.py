"""Text encoders, one a file: its name is the word of ``model.text.encoder``, up to the colon where there is one."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Protocol, cast

from transformers import PreTrainedTokenizerFast

from gshn.config import ModelConfig
from gshn.encoders.text import Architecture, TextEncoder


class Kind(Protocol):
    """What a file of this folder has."""

    def make_tokenizer(self, encoder: str, texts: Iterable[str], max_length: int) -> PreTrainedTokenizerFast:
        """See :func:`build_tokenizer`."""

    def make_encoder(
        self, config: ModelConfig, tokenizer: PreTrainedTokenizerFast, architecture: Architecture | None
    ) -> TextEncoder:
        """See :func:`build_text_encoder`."""


def _kind(encoder: str) -> Kind:
    return cast(Kind, import_module(f"{__name__}.{encoder.partition(':')[0]}"))


def build_tokenizer(encoder: str, texts: Iterable[str], max_length: int) -> PreTrainedTokenizerFast:
    """The tokenizer of a text encoder: a pretrained one's own, or one token per word of ``texts``.

    Args:
        encoder: ``model.text.encoder``.
        texts: Training texts.
        max_length: Longer texts are cut to this many tokens, or to as many as the encoder can read.

    Raises:
        ConfigError: there is no such encoder, or it cannot be used.
    """
    return _kind(encoder).make_tokenizer(encoder, texts, max_length)


def build_text_encoder(
    config: ModelConfig, tokenizer: PreTrainedTokenizerFast, architecture: Architecture | None
) -> TextEncoder:
    """The text encoder of a model.

    Args:
        config: The model's configuration.
        tokenizer: What :func:`build_tokenizer` made.
        architecture: Of a pretrained encoder whose weights a checkpoint brings; None: its own weights are read.

    Raises:
        ConfigError: there is no such encoder, or it cannot be used.
    """
    return _kind(config.text.encoder).make_encoder(config, tokenizer, architecture)
