"""What is compared: the method, and the method with one thing changed."""

from __future__ import annotations

from dataclasses import dataclass

BASE = "hybrid"
"""What every other variant is compared with."""

PARTS = {
    "validation": {
        "known": "validation",
        "attributes": "validation-attributes",
        "relations": "validation-relations",
    },
    "test": {"known": "test", "attributes": "attributes", "relations": "relations"},
}
"""Splits to choose on, and splits to report on, by what their compositions are to training."""

PATCHES = ("graph.regions=patches", "model.similarity=whole", "model.transformer.layers=1")
"""Of the peers: with one layer they have 0.3 % and 1.4 % more parameters than the hybrid model, with two 6 and 7 %."""

RELU = (
    "model.spiking.neuron=relu",
    "model.spiking.steps=1",
    "objectives.spike_contrast=0",
    "objectives.firing_rate=0",
    "model.r=0.1",
)
"""The twin without spikes. Activations are about ten times as large as firing rates: with r = 1 they drown F_GAT."""

CLIPPED = ("model.spiking.neuron=clipped_relu", "model.spiking.steps=1", "objectives.spike_contrast=0")
"""The fair twin: as bounded and as penalised as firing rates."""

NO_STL = ("objectives.stl_contrast=0", "objectives.stl_words=0")


@dataclass(frozen=True)
class Variant:
    """A configuration of the grid.

    Attributes:
        name: Names it in rows, tables and folders.
        group: Which claim it is about.
        label: Says it in a table.
        overrides: What it changes in the config ``ablation``.
    """

    name: str
    group: str
    label: str
    overrides: tuple[str, ...] = ()


GRID = (
    Variant(BASE, "paths", "hybrid: GAT and spiking, STL, panoptic segments, T = 8, r learned"),
    Variant("gat", "paths", "GAT only", ("model.spiking.enabled=false",)),
    Variant("snn", "paths", "spiking only", ("model.gat.enabled=false",)),
    Variant("no-stl", "objectives", "without STL", NO_STL),
    Variant("no-spike-contrast", "objectives", "without spike contrast", ("objectives.spike_contrast=0",)),
    Variant("no-itc", "objectives", "without image-text contrast", ("objectives.itc=0",)),
    Variant("boxes", "nodes", "boxes in place of segments", ("graph.regions=boxes",)),
    Variant("patches", "nodes", "6 x 6 patches in place of segments", ("graph.regions=patches",)),
    Variant("steps-2", "time", "T = 2", ("model.spiking.steps=2",)),
    Variant("steps-4", "time", "T = 4", ("model.spiking.steps=4",)),
    Variant("steps-16", "time", "T = 16", ("model.spiking.steps=16",)),
    Variant("r-fixed", "time", "r fixed at 1", ("model.learn_r=false",)),
    Variant("rate-low", "energy", "firing-rate target 0.03", ("objectives.firing_rate_target=0.03",)),
    Variant("rate-high", "energy", "firing-rate target 0.3", ("objectives.firing_rate_target=0.3",)),
    Variant("relu", "energy", "ReLU in place of spiking neurons, T = 1", RELU),
    Variant("clipped-relu", "energy", "ReLU clipped to [0, 1], penalised as firing rates are, T = 1", CLIPPED),
    Variant(
        "clip",
        "peers",
        "CLIP-style: a transformer over patches, wholes compared",
        (*PATCHES, "model.encoder=transformer"),
    ),
    Variant(
        "spikeclip",
        "peers",
        "SpikeCLIP-style: spiking transformers over patches and over text, T = 4, wholes compared",
        (
            *PATCHES,
            "model.encoder=spikformer",
            "model.text.encoder=spikformer",
            "model.spiking.steps=4",
            "objectives.firing_rate=0",
        ),
    ),
    Variant("texts-only", "baselines", "texts only: no image is looked at", ("data.show=texts",)),
    Variant("images-only", "baselines", "images only: no text is read", ("data.show=images",)),
)
VARIANTS = {variant.name: variant for variant in GRID}

QUICK = (
    "data.pairs.train=96",
    "data.pairs.test=40",
    *(
        f"data.{texts}.{split}"
        for texts in ("questions", "hypotheses", "statements")
        for split in ("train=96", "test=96")
    ),
    "model.width=32",
    "pretrain.steps=6",
    "finetune.steps=6",
)
"""What ``--quick`` changes: it shows that everything runs, its figures mean nothing."""
