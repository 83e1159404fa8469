"""The grid of drawn scenes: all tasks, on compositions that training had and on those that it never had."""

from __future__ import annotations

from gshn.ablation.grid import BASE, Grid, Variant

PATCHES = ("graph.regions=patches", "model.similarity=whole", "model.transformer.layers=1")
"""Changes for the transformer baselines. With one layer they have 0.3 % and 1.4 % more parameters than the hybrid
model, with two layers 6 and 7 %."""

RELU = (
    "model.spiking.neuron=relu",
    "model.spiking.steps=1",
    "objectives.spike_contrast=0",
    "objectives.firing_rate=0",
    "model.r=0.1",
)
"""The model with ReLU in place of LIF. Its activations are about ten times as large as firing rates, so r is 0.1."""

CLIPPED = ("model.spiking.neuron=clipped_relu", "model.spiking.steps=1", "objectives.spike_contrast=0")
"""The model with clipped ReLU in place of LIF: activations have the range and the penalty of firing rates."""

NO_STL = ("objectives.stl_contrast=0", "objectives.stl_words=0")


VARIANTS = (
    Variant(BASE, "hybrid: GAT and spiking, STL, panoptic segments, T = 8, r learned"),
    Variant("gat", "GAT only", ("model.spiking.enabled=false",)),
    Variant("snn", "spiking only", ("model.gat.enabled=false",)),
    Variant("no-stl", "without STL", NO_STL),
    Variant("no-spike-contrast", "without spike contrast", ("objectives.spike_contrast=0",)),
    Variant("no-itc", "without image-text contrast", ("objectives.itc=0",)),
    Variant("boxes", "boxes in place of segments", ("graph.regions=boxes",)),
    Variant("patches", "6 x 6 patches in place of segments", ("graph.regions=patches",)),
    Variant("steps-2", "T = 2", ("model.spiking.steps=2",)),
    Variant("steps-4", "T = 4", ("model.spiking.steps=4",)),
    Variant("steps-16", "T = 16", ("model.spiking.steps=16",)),
    Variant("r-fixed", "r fixed at 1", ("model.learn_r=false",)),
    Variant("rate-low", "firing-rate target 0.03", ("objectives.firing_rate_target=0.03",)),
    Variant("rate-high", "firing-rate target 0.3", ("objectives.firing_rate_target=0.3",)),
    Variant("relu", "ReLU in place of spiking neurons, T = 1", RELU),
    Variant("clipped-relu", "ReLU clipped to [0, 1], penalised as firing rates are, T = 1", CLIPPED),
    Variant(
        "clip",
        "CLIP-style: a transformer over patches, wholes compared",
        (*PATCHES, "model.encoder=transformer"),
    ),
    Variant(
        "spikeclip",
        "SpikeCLIP-style: spiking transformers over patches and over text, T = 4, wholes compared",
        (
            *PATCHES,
            "model.encoder=spikformer",
            "model.text.encoder=spikformer",
            "model.spiking.steps=4",
            "objectives.firing_rate=0",
        ),
    ),
    Variant("texts-only", "texts only: no image is looked at", ("data.show=texts",)),
    Variant("images-only", "images only: no text is read", ("data.show=images",)),
)

FIGURES = {
    ("retrieval", "known", "t2i_r1"): "retrieval R@1",
    ("retrieval", "attributes", "t2i_r1"): "retrieval R@1, new attributes",
    ("retrieval", "attributes", "reranked.t2i_r1"): "the same, reranked",
    ("vqa", "known", "accuracy"): "VQA",
    ("vqa", "attributes", "accuracy"): "VQA, new attributes",
    ("vqa", "relations", "accuracy"): "VQA, new relations",
    ("entailment", "known", "accuracy"): "entailment",
    ("entailment", "attributes", "accuracy"): "entailment, new attributes",
    ("entailment", "relations", "accuracy"): "entailment, new relations",
    ("nlvr2", "known", "accuracy"): "NLVR2",
    ("nlvr2", "attributes", "accuracy"): "NLVR2, new attributes",
    ("nlvr2", "relations", "accuracy"): "NLVR2, new relations",
}

SUMMARY = {
    "retrieval R@1": ("retrieval", "attributes", "t2i_r1"),
    "VQA": ("vqa", "attributes", "accuracy"),
    "entailment": ("entailment", "attributes", "accuracy"),
    "NLVR2": ("nlvr2", "attributes", "accuracy"),
}
"""One figure of each task, on colours and shapes that training never combined."""

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

SCENES = Grid(
    name="scenes",
    file="ablation",
    config="ablation",
    variants=VARIANTS,
    splits={
        "validation": {
            "known": "validation",
            "attributes": "validation-attributes",
            "relations": "validation-relations",
        },
        "test": {"known": "test", "attributes": "attributes", "relations": "relations"},
    },
    figures=FIGURES,
    summary=SUMMARY,
    title="held-out attributes, %",
    quick=QUICK,
    rerank=8,
)
