"""``transformers:NAME_OR_FOLDER``: any text model of transformers with its tokenizer, the text tower of a CLIP too."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from tokenizers import processors
from torch import nn
from transformers import (
    MODEL_FOR_TEXT_ENCODING_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForTextEncoding,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils import cached_file

from gshn.config import ModelConfig
from gshn.encoders.text import Architecture, FrozenText, TextEncoder, TransformersText, wrap_tokenizer
from gshn.errors import ConfigError
from gshn.hub import quiet_transformers
from neuromorphic.errors import counted, first_line

KINDS = {"transformers:NAME_OR_FOLDER": {"pretrained": True, "help": "a text model of transformers"}}

POOLINGS = {"pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean", "pooling_mode_lasttoken": "last"}
"""What sentence-transformers calls them."""


def make_tokenizer(encoder: str, texts: Iterable[str], max_length: int) -> PreTrainedTokenizerFast:
    """See :func:`gshn.encoders.text_encoders.build_tokenizer`."""
    return pretrained_tokenizer(encoder.partition(":")[2], max_length)


def make_encoder(
    config: ModelConfig, tokenizer: PreTrainedTokenizerFast, architecture: Architecture | None
) -> TextEncoder:
    """See :func:`gshn.encoders.text_encoders.build_text_encoder`."""
    return pretrained_encoder(config.text.encoder.partition(":")[2], config, tokenizer, architecture)


@contextmanager
def _reading(source: str) -> Iterator[None]:
    """Turn what transformers and the hub raise, which is whatever suits them, into one line."""
    try:
        with quiet_transformers():
            yield
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"text encoder {source} cannot be used ({first_line(error)}); name a folder with config.json, "
            "tokenizer.json and model.safetensors, or a model on the hub (model.text.encoder)"
        ) from None


def _file(source: str, name: str) -> Path | None:
    try:
        path = cached_file(source, name)
    except OSError:
        return None
    return None if path is None else Path(path)


def read_config(source: str) -> PreTrainedConfig:
    """Configuration of a text model, or of the text tower of a larger one.

    Args:
        source: A folder, or a name on the hub.

    Raises:
        ConfigError: there is none, or it reads no text.
    """
    with _reading(source):
        whole = AutoConfig.from_pretrained(source)
        config = whole.get_text_config()
        config.use_cache = False  # of what decoders said before: nothing is said after
    if not hasattr(config, "vocab_size"):
        raise ConfigError(
            f"text encoder {source} is of the kind {whole.model_type}, which reads no text; name a text model "
            "(model.text.encoder)"
        )
    return config


def pretrained_tokenizer(source: str, max_length: int) -> PreTrainedTokenizerFast:
    """The tokenizer of a text model.

    Args:
        source: A folder, or a name on the hub.
        max_length: Longer texts are cut to this many tokens, or to as many as the model can read.

    Raises:
        ConfigError: it cannot be used.
    """
    config = read_config(source)
    with _reading(source):
        found = AutoTokenizer.from_pretrained(source)
    # Transformers makes one that knows no words where there is none.
    if not any(_file(source, name) for name in found.vocab_files_names.values()):
        raise ConfigError(f"text encoder {source} has no tokenizer; put its tokenizer.json there")
    if not isinstance(found, PreTrainedTokenizerFast):
        raise ConfigError(
            f"text encoder {source} has no fast tokenizer, and {type(found).__name__} cannot go into a checkpoint; "
            "convert it to a tokenizer.json"
        )
    special = {name: str(token) for name, token in found.special_tokens_map.items() if isinstance(token, str)}
    if "pad_token" not in special and "clip" in config.model_type and "eos_token" in special:
        special["pad_token"] = special["eos_token"]  # as CLIP was trained
    if "pad_token" not in special:
        raise ConfigError(
            f'the tokenizer of text encoder {source} has no padding token; add "pad_token" to its '
            "tokenizer_config.json: the token that ends a text will do"
        )
    backend = found.backend_tokenizer
    if found.num_special_tokens_to_add() == 0:  # An empty text would have no token at all.
        if "eos_token" not in special:
            raise ConfigError(
                f"the tokenizer of text encoder {source} adds no token to a text, so that an empty one has none, and "
                'has no token to end a text with; add "eos_token" to its tokenizer_config.json'
            )
        end = special["eos_token"]
        backend.post_processor = processors.TemplateProcessing(
            single=f"$A {end}", special_tokens=[(end, found.eos_token_id)]
        )
    positions = getattr(config, "max_position_embeddings", max_length)
    return wrap_tokenizer(backend, min(max_length, found.model_max_length, positions), special)


def trained_pooling(source: str, tokenizer: PreTrainedTokenizerFast) -> str:
    """How a text model was trained to be read.

    As sentence-transformers say, where they made it; else by the first token where the tokenizer has one for that,
    such as [CLS]; else by the last, as CLIP.

    Raises:
        ConfigError: in a way that we do not have.
    """
    path = _file(source, "1_Pooling/config.json")
    if path is None:
        return "last" if tokenizer.cls_token is None else "cls"
    with _reading(source):
        told = json.loads(path.read_text())
        modes = [name for name, value in told.items() if name.startswith("pooling_mode_") and value is True]
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise ConfigError(
            f"{path} says {' and '.join(modes) or 'nothing of pooling'}; set model.text.pooling to cls, mean or last"
        )
    return POOLINGS[modes[0]]


def read_weights(source: str) -> PreTrainedModel:
    """A text model with its weights, in float32; only safetensors are read.

    Raises:
        ConfigError: there is none, it cannot be read, or weights are missing.
    """
    config = read_config(source)
    with _reading(source):
        model, told = _auto(config).from_pretrained(
            source, config=config, dtype=torch.float32, use_safetensors=True, output_loading_info=True
        )
    if missing := sorted(name for name in told["missing_keys"] if not name.startswith("pooler.")):
        raise ConfigError(
            f"the weights of text encoder {source} lack {counted(len(missing), 'tensor')} of a {config.model_type}, "
            f"such as {missing[0]}; name a model whose weights and config.json go together"
        )
    return _without_pooler(model)


def _auto(config: PreTrainedConfig) -> type[AutoModel | AutoModelForTextEncoding]:
    # The second has the encoders alone of models that have a decoder, too, and text towers.
    return AutoModelForTextEncoding if type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING else AutoModel


def _without_pooler(model: PreTrainedModel) -> PreTrainedModel:
    """Without BERT's layer on top of [CLS], which was trained for pairs of sentences, and which nobody reads."""
    if getattr(model, "pooler", None) is not None:
        model.add_module("pooler", None)
    return model


def pretrained_encoder(
    source: str, config: ModelConfig, tokenizer: PreTrainedTokenizerFast, architecture: Architecture | None
) -> TransformersText:
    """A pretrained text encoder, frozen, or all but its last layers, where ``model.text.tune`` says so.

    Args:
        source: A folder, or a name on the hub; not looked at where the architecture is given.
        config: The whole model's configuration.
        tokenizer: The encoder's.
        architecture: See :func:`gshn.encoders.text_encoders.build_text_encoder`.

    Raises:
        ConfigError: it cannot be used.
    """
    if architecture is None:
        bert = read_weights(source)
        own = json.loads(bert.config.to_json_string(use_diff=False))
        own = {key: value for key, value in own.items() if key not in ("_name_or_path", "transformers_version")}
        special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
        pooling = config.text.pooling or trained_pooling(source, tokenizer)
        architecture = Architecture(own, pooling, tokenizer.model_max_length, special)
        _try_out(source, bert, tokenizer)
    else:
        shape = AutoConfig.for_model(**architecture.config)
        bert = _without_pooler(_auto(shape).from_config(shape, dtype=torch.float32))
    if config.text.dropout is not None:
        for module in bert.modules():
            if isinstance(module, nn.Dropout):
                module.p = config.text.dropout
    if config.text.tune == "all":
        return TransformersText(bert, config, architecture)
    return FrozenText(bert, config, architecture, config.text.tuned_layers)


@torch.no_grad()
def _try_out(source: str, bert: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> None:
    """Read a text of the largest length, so that errors show before anything is trained."""
    size = len(bert.get_input_embeddings().weight)  # type: ignore[arg-type]
    if len(tokenizer) > size:
        raise ConfigError(
            f"the tokenizer of text encoder {source} has {len(tokenizer)} tokens, the model {size}; name a model whose "
            "tokenizer and weights go together"
        )
    with _reading(source):
        length = tokenizer.model_max_length
        ids = torch.full((1, length), len(tokenizer) - 1)
        states = bert.eval()(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
        if states.shape != (1, length, bert.config.hidden_size):
            raise ValueError(f"its states have shape {tuple(states.shape)}")
