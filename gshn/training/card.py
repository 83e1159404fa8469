"""The model card of a checkpoint, README.md: what it is, its data, figures, spikes, energy, and the command again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from gshn.config import Config, flat, load_config, named_configs
from gshn.data.tasks import TASKS
from gshn.model import GSHN
from neuromorphic.errors import counted
from neuromorphic.files import write_atomically

TEMPLATE = """---
{{ card_data }}
---

# {{ name }}

{{ model }}: a Graph Spiking Hybrid Network ([arXiv:2501.19069](https://arxiv.org/abs/2501.19069)). Images become graphs
of segments; V' = r E_SNN + F_GAT joins a spiking and a continuous path on them. Trained for {{ tasks }}.

    import gshn
    model = gshn.load("{{ name }}")
    model.similarity(["a red star on grass"], ["a.jpg"])

## Data

| | source | images to train on | images to test on | segments | image size |
| --- | --- | --- | --- | --- | --- |
{% for row in data %}| {{ row | join(" | ") }} |
{% endfor %}
Visual features of the segments: `{{ backbone }}`. The weights know what these data show, and little else.

## Figures

{% if figures %}| figure | held-out images |
| --- | --- |
{% for key, value in figures %}| {{ key }} | {{ value }} |
{% endfor %}
R@K: share of queries with a right answer among the first K, by contrastive similarity alone; of drawn scenes with the
most detailed caption of each.{% else %}The run had no figures when this was written.{% endif %}

## Spikes and energy

{{ spikes }}
{% if energy %}
| energy model | joules an image, low | high |
| --- | --- | --- |
{% for row in energy %}| {{ row | join(" | ") }} |
{% endfor %}
Modelled, not measured, on {{ images }} held-out images, all parts that can be counted: `python -m
neuromorphic.profile` tells the sources and what is not counted.{% elif spiking %}
`python -m neuromorphic.profile --checkpoint DIR --out DIR/profile` counts operations and models energy.{% endif %}

## Trained by

    {{ command }}

gshn {{ version }}{% if device %}, {{ device }}, {{ seconds }} s{% endif %}.
"""


def command_of(config: Config) -> str:
    """A command that trains with a configuration again: the most similar named config, and the keys that differ."""
    own = {key: value for key, value in flat(config).items() if key != "data.cache"}
    best: tuple[str, list[str]] | None = None
    for name in named_configs():
        base = flat(load_config(name))
        changed = [f"{key}={_typed(value)}" for key, value in own.items() if base[key] != value]
        if best is None or len(changed) < len(best[1]):
            best = (name, changed)
    assert best is not None
    return shlex.join(["python", "-m", "gshn.train", "--config", best[0], *best[1]])


def _typed(value: object) -> str:
    """A value in the form of a command line."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def data_rows(config: Config) -> list[Sequence[str]]:
    """Rows of the card's table of data sets, one for each data set that a run trains on."""
    sections = {"pairs": "captions"} | {TASKS[task].texts: task for task in config.finetune.tasks}
    rows: list[Sequence[str]] = []
    for section, label in sections.items():
        data = getattr(config.data, section)
        counts = ["all" if count is None else str(count) for count in (data.train, data.test)]
        rows.append([label, f"`{data.source}`", *counts, data.segmenter, f"{data.image_size} pixels"])
    return rows


def model_card(
    model: GSHN, name: str, figures: Mapping[str, Any], energy: Mapping[str, Mapping[str, float]] | None = None
) -> str:
    """Write a model card.

    Args:
        model: The model.
        name: Name by which it is loaded.
        figures: Figures of ``metrics.json``.
        energy: By energy model: ``joules_low`` and ``joules_high`` of an image, and the number of ``images`` counted.

    Returns:
        Markdown, with metadata for the Hugging Face hub.
    """
    from gshn import __version__

    config, tasks = model.config, ["retrieval", *model.vocabulary.answers]
    measured = {
        key: float(value)
        for key, value in figures.items()
        if key.startswith((*(f"{task}." for task in TASKS), "retrieval.i2t_", "retrieval.t2i_"))
    }
    sections = {"retrieval": config.data.pairs} | {
        task: getattr(config.data, TASKS[task].texts) for task in config.finetune.tasks
    }
    names = {"retrieval": "image-text-retrieval", "vqa": "visual-question-answering"}
    results = [
        EvalResult(
            task_type=names.get(task) or task,
            dataset_type=data.source.partition(":")[0],
            dataset_name=data.source.partition(":")[0],
            metric_type=key.partition(".")[2],
            metric_value=value,
        )
        for key, value in measured.items()
        for task, data in sections.items()
        if key.startswith(f"{task}.")
    ]
    card_data = ModelCardData(
        library_name="gshn",
        tags=[
            "spiking-neural-network",
            "graph-neural-network",
            "vision-language",
            "neuromorphic",
            "image-text-retrieval",
        ],
        model_name=name if results else None,
        eval_results=results or None,
        ignore_metadata_errors=False,
    )
    spiking = model.encoder.spiking is not None and config.model.spiking.spikes
    rate = figures.get("firing_rate")
    spikes = "No spiking path."
    if spiking:
        s = config.model.spiking
        told = "" if rate is None else f", {float(rate):.4f} spikes per neuron and step on the held-out images"
        spikes = f"{counted(s.layers, 'layer')} of LIF neurons over {counted(s.steps, 'step')}{told}."
    card = ModelCard.from_template(
        card_data,
        template_str=TEMPLATE,
        name=name,
        model=repr(model),
        tasks=", ".join(tasks),
        data=data_rows(config),
        backbone=config.graph.backbone,
        figures=[(key, f"{100 * value:.2f} %") for key, value in measured.items()],
        spikes=spikes,
        spiking=spiking,
        energy=[
            (energy_model, f"{own['joules_low']:.3g}", f"{own['joules_high']:.3g}")
            for energy_model, own in (energy or {}).items()
        ],
        images=max((int(own["images"]) for own in (energy or {}).values()), default=0),
        command=command_of(config),
        version=__version__,
        device=figures.get("device"),
        seconds=figures.get("seconds"),
    )
    return str(card)


def write_card(
    folder: Path,
    model: GSHN,
    figures: Mapping[str, Any],
    name: str | None = None,
    energy: Mapping[str, Mapping[str, float]] | None = None,
) -> None:
    """Write the model card of a checkpoint into its folder; for the arguments see :func:`model_card`."""
    write_atomically(folder / "README.md", model_card(model, name or str(folder), figures, energy))
