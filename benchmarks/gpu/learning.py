"""Sections ``scenes``, ``training`` and ``inference``: gshn's own loop and model, on cached scene graphs.

ShapeScenes are drawn, and their graphs cached, before anything is timed; larger batches show the same scenes again.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.measuring import Bench
from gshn.ablation.grid import VARIANTS
from gshn.config import Config, load_config
from gshn.encoders.text import tokenize
from gshn.model import GSHN
from gshn.training.batches import PairBatch
from gshn.training.corpora import Corpora
from gshn.training.loop import Trainer, make_optimizer

NAMES = ("hybrid", "gat", "clip")
SCENES = 512
BATCHES = (128, 256, 512, 1024, 2048, 4096)


def config_of(bench: Bench, variant: str) -> Config:
    """The default model with what the ablation's variant changes."""
    small = ["model.width=32"] if bench.quick else []
    return load_config(
        "default",
        [
            *VARIANTS[variant].overrides,
            f"data.pairs.train={64 if bench.quick else SCENES}",
            "data.pairs.test=64",
            f"data.cache={bench.work / 'cache'}",
            "finetune.tasks=[]",
            "pretrain.steps=100000",
            *small,
        ],
    )


def scenes(bench: Bench) -> None:
    """Draw the scenes and cache their graphs: with the segments as nodes, and with patches."""
    for variant in ("hybrid", "clip"):

        def draw(variant: str = variant) -> dict[str, Any]:
            begun = time.monotonic()
            corpora = Corpora(config_of(bench, variant))
            count = len(corpora.pairs) + len(corpora.test_pairs)
            nodes = corpora.pairs.fetch(range(len(corpora.pairs)))[0].num_nodes
            seconds = time.monotonic() - begun
            return {"scenes": count, "seconds": round(seconds, 1), "images_per_second": round(count / seconds, 1),
                    "nodes_per_image": round(nodes / len(corpora.pairs), 2)}  # fmt: skip

        bench.attempt(draw, what="drawing scenes and caching their graphs, one process", variant=variant)


def training(bench: Bench) -> None:
    """Pretraining at every batch size: steps alone, batches at hand; and the loop, which makes them itself."""
    trainers: dict[str, Trainer] = {}

    def start(variant: str) -> dict[str, Any]:
        trainers[variant] = Trainer(config_of(bench, variant), bench.work / "runs" / variant, False)
        trainers[variant].objective.train()
        return {"parameters": sum(p.numel() for p in trainers[variant].model.parameters())}

    for variant in NAMES:
        bench.attempt(partial(start, variant), what="pretraining, model", variant=variant)
    for batch in (16, 32) if bench.quick else BATCHES:
        for variant, trainer in list(trainers.items()):
            key: dict[str, Any] = {"what": "pretraining", "variant": variant, "batch": batch}
            if not bench.attempt(partial(steps, bench, trainer, batch), **key):
                del trainers[variant]  # larger ones would not fit either
            elif batch in (16, BATCHES[0]):  # what ``inference`` reads; it goes on where this section is stopped
                trainer.model.save_pretrained(bench.work / "runs" / variant)


def batches(trainer: Trainer, size: int) -> Iterator[PairBatch]:
    """The trainer's own batches, of another size."""
    trainer.config.pretrain.batch_size = size
    return (pairs for pairs, _ in trainer.batches("pretrain", 0) if pairs is not None)


def autocast(bench: Bench, trainer: Trainer) -> AbstractContextManager[Any]:
    """The trainer's mixed precision; on a CPU bfloat16 too, to see that every operator takes it."""
    return trainer.accelerator.autocast() if bench.device == "cuda" else torch.autocast("cpu", torch.bfloat16)


def step_of(bench: Bench, trainer: Trainer) -> Callable[[PairBatch], None]:
    """What :meth:`Trainer.run_stage` does with a batch."""
    optimizer = trainer.accelerator.prepare(make_optimizer(trainer.model, trainer.config.pretrain))

    def step(pairs: PairBatch) -> None:
        with autocast(bench, trainer):
            losses = trainer.objective(pairs, None, None)
        trainer.accelerator.backward(losses["loss"])
        trainer.accelerator.clip_grad_norm_(trainer.model.parameters(), trainer.config.pretrain.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()

    return step


def steps(bench: Bench, trainer: Trainer, size: int) -> dict[str, Any]:
    """Figures at one batch size."""
    step = step_of(bench, trainer)
    source = batches(trainer, size)
    given = list(islice(source, 2))
    place = iter(range(10**9))
    found = bench.throughput(lambda: step(given[next(place) % 2]), size, 1.0)
    begun, making, stepping = time.perf_counter(), [], []
    while len(making) < (1 if bench.quick else 3) or (
        len(making) < 24 and time.perf_counter() - begun < 3 and not bench.quick
    ):
        start = time.perf_counter()
        pairs = next(source)
        made = time.perf_counter()
        step(pairs)
        bench.wait()
        making.append(round(1e3 * (made - start), 1))
        stepping.append(round(1e3 * (time.perf_counter() - made), 1))
    found |= {"milliseconds_making_each_batch": making, "milliseconds_of_each_new_step": stepping}
    # The median: steps of shapes that are new take longer, some of them several times.
    both = statistics.median(map(sum, zip(making, stepping, strict=True)))
    return found | {"images_per_second_with_making_batches": round(1e3 * size / both, 1)}


def inference(bench: Bench) -> None:
    """Embedding images, from their scene graphs on, with a caption each; and the energy that is modelled for it."""
    for variant in NAMES:
        folder = bench.work / "runs" / variant
        for batch in (16,) if bench.quick else (64, 512):
            key = {"what": "inference", "variant": variant, "batch": batch}
            bench.attempt(lambda f=folder, b=batch: embed(bench, f, b), **key)
    bench.attempt(lambda: modelled(bench), what="inference, modelled energy", variant="hybrid")


def embed(bench: Bench, folder: Any, size: int) -> dict[str, Any]:
    """Images and captions, in batches, at hand."""
    model = GSHN.from_pretrained(folder).to(bench.device)
    pairs = Corpora(model.config, model.vocabulary).pairs
    indices = [index % len(pairs) for index in range(size)]
    graphs, captions, _ = pairs.fetch(indices)
    graphs = graphs.to(bench.device)
    ids, mask = (t.to(bench.device) for t in tokenize(model.tokenizer, [own[0] for own in captions]))

    @torch.inference_mode()
    def call() -> None:
        model.embed_texts(model.encode_text(ids, mask))
        model.embed_images(model.encode_graphs(graphs))

    return bench.throughput(call, size, 2.0)


def modelled(bench: Bench) -> dict[str, Any]:
    """Joules of one image by every energy model of ``neuromorphic.profile``, of the hybrid model as trained here."""
    from gshn.profiling.report import energy_rows, profile, total_of
    from neuromorphic.profiling.energy import load_models

    own = profile(bench.work / "runs" / "hybrid", 4 if bench.quick else 32)
    models = load_models()
    rows = energy_rows(own.workloads(), models)
    rate = float(np.mean([image.total.spikes / image.total.cells for image in own.images]))
    return {"firing_rate": rate, "modelled_joules_per_image": {name: total_of(rows, name) for name in models}}
