"""Training that starts from a finished checkpoint, on other data: what the two have in common is taken over.

Words, categories and answers are matched by name. Those of the checkpoint keep their weights; new ones start untrained.
All other tensors must have the same shape.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from gshn.config import Config, flat
from gshn.encoders.text import wrap_tokenizer
from gshn.encoders.text_encoders import build_tokenizer
from gshn.errors import CheckpointError, ConfigError, tell
from gshn.hub import checkpoint_folder
from gshn.model import GSHN
from gshn.registry import TEXT_ENCODERS
from neuromorphic.files import file_digest, write_atomically

FILE = "init.json"
"""In a run's folder: the digest of the weights that it started from."""


def read_start(config: Config, out: Path, resume: bool) -> GSHN | None:
    """The checkpoint that a run starts from; None where ``init`` is null.

    Args:
        config: The run's configuration.
        out: The run's folder.
        resume: Whether the run is resumed. Then the checkpoint must be the one that the run started from.

    Raises:
        CheckpointError: it cannot be loaded, or has changed since.
    """
    if config.init is None:
        return None
    folder = checkpoint_folder(config.init)
    digest, path = file_digest(folder / "model.safetensors"), out / FILE
    if resume and path.is_file() and json.loads(path.read_text()) != digest:
        raise CheckpointError(
            f"{folder / 'model.safetensors'} is not what {out} started from; restore it, or choose another --out"
        )
    write_atomically(path, json.dumps(digest))
    return GSHN.from_pretrained(folder)


def tokenizer_of(config: Config, texts: Iterable[str], start: GSHN | None) -> PreTrainedTokenizerFast:
    """The tokenizer of a new model: see :func:`gshn.encoders.text_encoders.build_tokenizer`.

    A tokenizer with a token for each word of the training texts keeps the tokens of the checkpoint; new words are added
    after them.

    Raises:
        ConfigError: the checkpoint has another text encoder.
    """
    encoder, length = config.model.text.encoder, config.model.text.max_length
    if start is None:
        return build_tokenizer(encoder, texts, length)
    own = start.config.model.text.encoder
    if own != encoder:
        raise ConfigError(
            f"config key 'model.text.encoder' is {encoder!r}: the checkpoint of init={config.init} has {own!r}; leave "
            "it to the checkpoint"
        )
    if TEXT_ENCODERS[encoder].traits.pretrained:
        return start.tokenizer
    told = json.loads(start.tokenizer.backend_tokenizer.to_str())
    vocabulary: dict[str, int] = told["model"]["vocab"]
    found = build_tokenizer(encoder, texts, length).get_vocab()
    new = sorted(found.keys() - vocabulary.keys(), key=lambda word: found[word])
    vocabulary.update({word: len(vocabulary) + place for place, word in enumerate(new)})
    return wrap_tokenizer(Tokenizer.from_str(json.dumps(told)), length)


@torch.no_grad()
def take_over(model: GSHN, start: GSHN) -> None:
    """Copy the weights of a checkpoint into a new model: see :mod:`gshn.training.start`.

    Raises:
        ConfigError: a tensor is missing or has another shape.
    """
    own, learned = model.state_dict(), start.state_dict()
    rows, known = model.vocabulary_rows(), start.vocabulary_rows()
    for name, tensor in own.items():
        of_task = name.split(".")[1] if name.startswith("answer_heads.") else None
        if of_task is not None and of_task not in start.vocabulary.answers:
            continue
        if name in rows and name in known:
            place = {entry: row for row, entry in enumerate(known[name])}
            pairs = [(row, place[entry]) for row, entry in enumerate(rows[name]) if entry in place]
            source = learned[name]
            if tensor.shape[1:] == source.shape[1:]:
                if pairs:
                    here, there = (torch.tensor(column) for column in zip(*pairs, strict=True))
                    tensor[here] = source[there]
                continue
        if name not in learned or tensor.shape != learned[name].shape:
            raise _misfit(model, start, name)
        tensor.copy_(learned[name])
    left = own.keys() ^ learned.keys()
    if wrong := sorted(name for name in left if not name.startswith("answer_heads.")):
        raise _misfit(model, start, wrong[0])
    _tell(model, start)


def _misfit(model: GSHN, start: GSHN, name: str) -> ConfigError:
    """The error of a tensor whose shapes differ, or that only one of the two models has."""
    theirs, own = flat(start.config), flat(model.config)
    shaping = ("model.", "graph.", "objectives.")
    changed = [
        f"{key} ({theirs[key]!r}, here {own[key]!r})"
        for key in own
        if key.startswith(shaping) and own[key] != theirs[key]
    ]
    return ConfigError(
        f"tensor '{name}' of the checkpoint that init={model.config.init} names does not fit: these keys are others: "
        f"{', '.join(changed) or 'none'}; leave them to the checkpoint"
    )


def _tell(model: GSHN, start: GSHN) -> None:
    """Give notices that count what starts untrained and what is not taken over."""
    here, there = model.vocabulary, start.vocabulary
    words = range(len(start.tokenizer), len(model.tokenizer))
    new = {
        "words": [str(word) for word in model.tokenizer.convert_ids_to_tokens(list(words))],
        "categories": [name for name in here.categories if name not in there.categories],
    } | {
        f"answers of {task}": [answer for answer in answers if answer not in set(there.answers.get(task, []))]
        for task, answers in here.answers.items()
    }
    told = [f"{len(names)} {what} (e.g. {names[0]!r})" for what, names in new.items() if names]
    if told:
        tell(f"init={model.config.init}: unknown to the checkpoint, and learned anew: {', '.join(told)}")
    if gone := there.answers.keys() - here.answers.keys():
        tell(f"init={model.config.init}: {', '.join(sorted(gone))} is not trained on (finetune.tasks), and forgotten")
