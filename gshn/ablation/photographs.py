"""The grid of photographs: retrieval, against baselines that have the same features, texts and budget."""

from __future__ import annotations

from gshn.ablation.grid import BASE, Grid, Variant
from gshn.ablation.scenes import CLIPPED, NO_STL

RELU = (
    "model.spiking.neuron=relu",
    "model.spiking.steps=1",
    "objectives.firing_rate=0",
)
"""The model with ReLU in place of LIF. The layer that reads it starts at 0, so r need not be smaller."""

VARIANTS = (
    Variant(BASE, "GSHN: GAT and spiking, STL, regions of similar features"),
    Variant("gat", "GAT only", ("model.spiking.enabled=false",)),
    Variant("snn", "spiking only", ("model.gat.enabled=false", "model.similarity=whole")),
    Variant("no-stl", "without STL", NO_STL),
    Variant("r-zero", "r = 0: spikes are taught by the text, and not in V'", ("model.r=0", "model.learn_r=false")),
    Variant("relu", "ReLU in place of spiking neurons, T = 1", RELU),
    Variant("clipped-relu", "ReLU clipped to [0, 1], penalised as firing rates are, T = 1", CLIPPED),
    Variant("whole", "the text is compared with the whole image only", ("model.similarity=whole",)),
    Variant("boxes", "boxes in place of regions", ("graph.regions=boxes",)),
    Variant("patches", "3 x 3 patches in place of regions", ("graph.regions=patches", "graph.patches=3")),
    Variant("superpixels", "superpixels in place of regions", ("data.pairs.segmenter=superpixels",)),
    Variant("pooled", "pooled: a hidden layer on the whole image's features", config="photographs_pooled"),
    Variant("clip", "CLIP-style: a transformer over 3 x 3 patches and the whole image", config="photographs_clip"),
)

RECALLS = [f"{way}_r{k}" for way in ("i2t", "t2i") for k in (1, 5, 10)]

PHOTOGRAPHS = Grid(
    name="photographs",
    file="photographs",
    config="photographs",
    variants=VARIANTS,
    splits={"validation": {"photographs": "val"}, "test": {"photographs": "test"}},
    figures={
        ("retrieval", "photographs", "rsum"): "sum of six",
        ("retrieval", "photographs", "i2t_r1"): "image to text, R@1",
        ("retrieval", "photographs", "i2t_r10"): "image to text, R@10",
        ("retrieval", "photographs", "t2i_r1"): "text to image, R@1",
        ("retrieval", "photographs", "t2i_r10"): "text to image, R@10",
    },
    summary={
        "sum of the six recalls": ("retrieval", "photographs", "rsum"),
        "V' with r = 0": ("retrieval", "photographs", "v_r0.rsum"),
        "spikes alone": ("retrieval", "photographs", "spikes.rsum"),
    },
    title="photographs, points",
    quick=("data.pairs.train=16", "data.pairs.test=8", "model.width=32", "pretrain.steps=2", "pretrain.batch_size=8"),
    overrides=("model.text.tune=none", "graph.tune=none", "pretrain.steps=240"),
    paths=True,
)
