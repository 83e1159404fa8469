"""Nasty values for every key of the configuration, walked from the dataclasses: a new key is fuzzed without more ado.

Each value is refused by an error that names its key, or builds a model that makes one finite step.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any, get_args, get_origin, get_type_hints

import pytest
import torch
from helpers import TINY, pair_batch, tiny_model

from gshn.config import Config, Section, SegmenterFit, load_config, numeric
from gshn.errors import ConfigError
from gshn.training.guard import Guard
from gshn.training.loop import learning_rate, make_optimizer
from gshn.training.objective import Objective
from neuromorphic.lava.lava_dl import has_lava_dl

NAN, INF = float("nan"), float("inf")
NUMBERS = [NAN, INF, -INF, -(10**40), -1, -1e-300, 0, 1e-300, 1e-30, 0.5, 1, 2, 3, 1e30, 10**40]
TEXTS = [
    "",
    "null",
    "nan",
    "-1",
    "1.5",
    "[]",
    "[nan]",
    "{a: 1}",
    "nothing",
    "1e400",
    "é",
    "\0",
    "9" * 40,
    "${seed}",
    "???",
]
SIZES = re.compile(r"(width|layers|heads|steps|max_length)$")
"""Of these the least alone is built: the largest is a model for another machine."""


def sections(section: Section) -> Iterator[Section]:
    """A section of the configuration, and all below it."""
    yield section
    for field in fields(section):  # type: ignore[arg-type]
        if is_dataclass(below := getattr(section, field.name)):
            assert isinstance(below, Section)
            assert below.prefix == f"{section.prefix}{field.name}."
            yield from sections(below)


SECTIONS = [*sections(load_config("default", TINY)), SegmenterFit()]
KEYS = {
    section.prefix + field.name: get_type_hints(type(section))[field.name]
    for section in SECTIONS[:-1]
    for field in fields(section)  # type: ignore[arg-type]
    if not is_dataclass(getattr(section, field.name))
}


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: type(section).__name__)
def test_a_number_lies_in_its_range_or_is_refused_by_its_key(section: Section) -> None:
    for name, within in numeric(type(section)).items():
        assert within is not None, f"{name} has no range"
        own = getattr(section, name)
        ends = [end + step for end in (within.low, within.high) for step in (-1, 0, 1)]
        for number in [*NUMBERS, *ends]:
            value = (
                [number, *own[1:]]
                if isinstance(own, list)
                else (number, *own[1:])
                if isinstance(own, tuple)
                else number
            )
            try:
                replace(section, **{name: value})  # type: ignore[type-var]
            except ConfigError as error:
                assert section.prefix + name in str(error)
            else:
                assert number in within
                assert within.low <= number <= within.high


def test_texts_are_read_or_refused_by_their_key() -> None:
    """One of the texts for each key, another for its neighbour."""
    for place, key in enumerate(KEYS):
        text = TEXTS[place % len(TEXTS)]
        try:
            load_config("default", [f"{key}={text}"])
        except ConfigError as error:
            assert key in str(error), f"{key}={text!r}"
            assert "\n" not in str(error)


def choices(key: str) -> list[str]:
    """What a word can be, as the error says that refuses another; none of a path and the like."""
    try:
        load_config("default", [f"{key}=nothing"])
    except ConfigError as error:
        return str(error).partition("choose one of ")[2].split(", ")
    return []


def candidates() -> dict[str, list[Any]]:
    """What a step is made with: for every key that it depends on the limits of its range, or every choice."""
    ranges = {s.prefix + name: within for s in SECTIONS[:-1] for name, within in numeric(type(s)).items()}
    out: dict[str, list[Any]] = {}
    for key, kind in KEYS.items():
        if not key.startswith(("seed", "model.", "objectives.", "pretrain.", "finetune.")) or get_origin(kind) is list:
            continue
        if (within := ranges.get(key)) is not None:
            ends = [within.low] if SIZES.search(key) else [within.low, within.high]
            out[key] = [int(end) if int in {kind, *get_args(kind)} else float(end) for end in ends]
        else:
            out[key] = [True, False] if kind is bool else choices(key)
    for pretrained in ("minilm", "transformers:NAME_OR_FOLDER"):  # large, or of no name; other tests have them
        out["model.text.encoder"].remove(pretrained)
    if not has_lava_dl():
        out.pop("model.spiking.quantize")
    return out


def with_value(section: Any, key: str, value: Any) -> Any:
    """A copy of a section with another value, checked as a whole."""
    name, _, rest = key.partition(".")
    return replace(section, **{name: with_value(getattr(section, name), rest, value) if rest else value})


def step(config: Config) -> None:
    """One step of both stages' optimizers on a few pairs."""
    model = tiny_model(config).train()
    for stage in (config.pretrain, config.finetune):
        torch.manual_seed(config.seed)
        optimizer = make_optimizer(model, stage)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(group["peak"], stage, 0)
        losses = Objective(model, config.objectives)(pair_batch(model, range(4)))
        losses["loss"].backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), stage.max_grad_norm)
        guard = Guard("fuzz")
        assert guard.allows(norm, losses, 1), guard.first
        optimizer.step()
        optimizer.zero_grad()
    assert all(parameter.isfinite().all() for parameter in model.parameters())


@pytest.mark.parametrize("seed", range(4))
def test_what_is_taken_makes_a_finite_step(seed: int) -> None:
    """Random values at the limits of all ranges at once; what the others do not allow stays as it was."""
    chooser, config, refused = random.Random(seed), load_config("default", TINY), 0
    found = candidates()
    for key in chooser.sample(sorted(found), len(found)):
        try:
            config = with_value(config, key, chooser.choice(found[key]))
        except ConfigError:
            refused += 1
    assert refused < len(found) / 3
    step(config)
