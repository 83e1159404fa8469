"""Training on as many images as COCO has, streamed from shards of made-up graphs: start, speed, memory, resumption.

    python -m benchmarks.coco --write DIR                    # 118,000 images x 5 captions, 1.6 GB
    OMP_NUM_THREADS=1 python -m benchmarks.coco --train DIR  # an epoch, and a part of it again from the middle
    OMP_NUM_THREADS=1 python -m benchmarks.coco --ask DIR    # 214,354 questions on 40,504 of the images, as in VQA v2

Graphs have 4 to 14 nodes of random features, 320 channels wide; captions are 6 to 14 of 2,000 words. The model is
small, so that reading counts: width 64, one layer of each kind, no fusion. ``first batch`` is the time from the
command's start, imports included, until the first batch is at hand. Memory is the process's resident set after each
tenth of the steps. Resumed from the middle, in a process of its own, the losses must be the same numbers. Questions are
answered by a model of that size, with random weights and 3,129 answers, as ``gshn.evaluate`` does: graphs are streamed,
texts answered as their images come.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import torch
from tqdm import tqdm

from gshn.config import load_config
from gshn.data.tasks import TASKS, Example
from gshn.encoders.text_encoders import build_tokenizer
from gshn.evaluation.answers import answer_all
from gshn.graphs.scene_graph import EDGE_GEOMETRY, GEOMETRY, SceneGraph
from gshn.graphs.shards.files import Appender, read_shard
from gshn.graphs.shards.index import read_index, write_index
from gshn.graphs.shards.stream import ShardStream, StreamedGraphs
from gshn.graphs.shards.write import shard_ranges, summary
from gshn.inference import SpikeCount
from gshn.losses.base import PairBatch
from gshn.model import GSHN, Vocabulary
from gshn.training.batches import TaskBatch, TaskCorpus
from gshn.training.loop import Trainer
from neuromorphic.files import file_digest

CAPTIONS, WORDS, CHANNELS, SHARD, BATCH = 5, 2000, 320, 1000, 128
MIDDLE = "middle"
"""Folder of the run as it was after half of its steps."""
FREQUENCY = np.cumsum(1 / np.arange(1, WORDS + 1))
QUESTIONS, QUESTIONED = 214_354, 40_504
CLOCKS = time.process_time, time.time
MODEL = [
    "finetune.tasks=[]",
    "objectives.mlm=0",
    "objectives.itm=0",
    "model.width=64",
    "model.gat.layers=1",
    "model.spiking.layers=1",
    "model.text.layers=1",
    "model.fusion_layers=1",
    "log_every=1",
]


def made_up(nodes: int, random: np.random.Generator) -> SceneGraph:
    """A graph of nodes in a ring."""
    ring = torch.arange(nodes)
    return SceneGraph(
        x=torch.from_numpy(random.standard_normal((nodes, CHANNELS), dtype=np.float32)),
        category=torch.zeros(nodes, dtype=torch.long),
        geometry=torch.from_numpy(random.random((nodes, len(GEOMETRY)), dtype=np.float32)),
        edge_index=torch.stack([torch.cat([ring, ring.roll(-1)]), torch.cat([ring.roll(-1), ring])]),
        edge_attr=torch.from_numpy(random.random((2 * nodes, len(EDGE_GEOMETRY)), dtype=np.float32)),
        num_nodes=nodes,
    )


def captions(random: np.random.Generator) -> list[str]:
    """Captions of an image, of words as frequent as those of a language: the k-th comes up 1 / k as often."""
    words = np.searchsorted(FREQUENCY, random.random((CAPTIONS, 14)) * FREQUENCY[-1])
    return [" ".join(f"w{word}" for word in row[: random.integers(6, 15)]) for row in words]


def write(folder: Path, images: int) -> None:
    """Write a split as ``gshn.preprocess`` does, without pictures."""
    folder.mkdir(parents=True)
    manifest = {"images": images, "shard_size": SHARD, "collection": "made up", "categories": [[0, "region", True]]}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    for name, own in tqdm(shard_ranges(images, SHARD).items(), desc=folder.name, unit="shard"):
        with Appender(folder / name, lambda stored: stored) as appender:
            for index in own:
                random = np.random.default_rng((index, len(folder.name)))
                annotation = {
                    "index": index,
                    "content": "",
                    "name": f"{folder.name}{index:012d}.jpg",
                    "captions": captions(random),
                }
                appender.write(annotation, made_up(int(random.integers(4, 15)), random))
        listed = {**summary(read_shard(folder / name)), "digest": file_digest(folder / name), "broken": []}
        (folder / name).with_suffix(".json").write_text(json.dumps(listed))
    write_index(folder)


class Reached(Exception):
    """The step that a run was to end at."""


def train(shards: Path, out: Path, until: int | None, begun: float) -> None:
    """Train an epoch, or go on with it, to a step or to its end; tell time, speed and memory on the way."""
    steps = json.loads((shards / "train" / "manifest.json").read_text())["images"] // BATCH
    middle = max(1, steps // 2)
    settings = [f"data.pairs.source=shards:{shards}", f"pretrain.steps={steps}", f"pretrain.batch_size={BATCH}"]
    config = load_config("default", [*MODEL, *settings, f"checkpoint_every={middle}"])
    trainer = Trainer(config, out, resume=True)
    print(f"set up after {time.time() - begun:.1f} s, step {trainer.progress.step}", flush=True)
    read, process = trainer.batches, psutil.Process()

    def told(stage: str, first: int) -> Iterator[tuple[PairBatch | None, TaskBatch | None]]:
        for step, batch in enumerate(read(stage, first), start=first):
            if step == first:
                print(f"first batch after {time.time() - begun:.1f} s, {time.process_time():.1f} s of CPU", flush=True)
                clocks = time.process_time(), time.time()
            elif step == until:
                raise Reached
            if step == middle + 1 and first == 0:
                shutil.copytree(out, out.with_name(MIDDLE))
            if step > first and (step - first) % max(1, steps // 10) == 0:
                cpu, wall = ((step - first) * BATCH / (now() - was) for now, was in zip(CLOCKS, clocks, strict=True))
                memory = process.memory_info().rss / 2**20
                print(f"step {step}: {memory:.0f} MiB, {cpu:.0f} images per s of CPU, {wall:.0f} per s", flush=True)
            yield batch

    trainer.batches = told  # type: ignore[method-assign]
    with suppress(Reached):
        trainer.run_stage("pretrain")
    trainer.close()


def ask(shards: Path) -> None:
    """Answer as many questions as VQA v2's split ``val`` has, on as many images."""
    begun, process = [clock() for clock in CLOCKS], psutil.Process()
    index = read_index(shards / "train", QUESTIONED)
    random = np.random.default_rng(0)
    images = random.integers(0, len(index), QUESTIONS * len(index) // QUESTIONED)
    words = ["what is", "how many", "is there", "where is"]
    texts = [f"{words[image % 4]} w{image % WORDS} ?" for image in images.tolist()]
    examples = [Example(text, (image,), ()) for text, image in zip(texts, images.tolist(), strict=True)]
    config = load_config("default", [*MODEL, "finetune.tasks=[vqa]"])
    vocabulary = Vocabulary(["region"], {"vqa": [f"w{k}" for k in range(3129)]}, [7], CHANNELS)
    model = GSHN(config, vocabulary, build_tokenizer("bert", texts, config.model.text.max_length)).eval()
    corpus = TaskCorpus(TASKS["vqa"], StreamedGraphs(ShardStream(index), torch.zeros(1, dtype=torch.long)), examples)
    before = process.memory_info().rss / 2**20
    answer_all(model, corpus, SpikeCount())
    cpu, wall = (clock() - was for clock, was in zip(CLOCKS, begun, strict=True))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{len(texts)} questions, {len(index)} images: {cpu:.0f} s of CPU, {wall:.0f} s")
    print(f"{before:.0f} MiB before, peak {peak:.0f} MiB")


def losses(out: Path) -> dict[int, dict[str, float]]:
    """What a run has logged, without its speed, by step."""
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {row["step"]: {name: own for name, own in row.items() if name != "images_per_second"} for row in rows}


def start(shards: Path, out: Path, until: int) -> None:
    """Train in a process of its own."""
    arguments = [shards, out, until, time.time()]
    subprocess.run([sys.executable, "-m", "benchmarks.coco", "--child", *map(str, arguments)], check=True)


def main() -> None:
    """Write shards, train from them, or ask about them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, metavar="DIR", help="write made-up shards to a folder")
    parser.add_argument("--images", type=int, default=118_000, help="of the split train (default: 118000)")
    parser.add_argument("--train", type=Path, metavar="DIR", help="train from such a folder")
    parser.add_argument("--ask", type=Path, metavar="DIR", help="answer questions on images of such a folder")
    parser.add_argument("--child", nargs=4, metavar=("DIR", "OUT", "UNTIL", "BEGUN"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.write is not None:
        write(args.write / "train", args.images)
        write(args.write / "test", 100)
    elif args.child is not None:
        shards, out, until, begun = args.child
        train(Path(shards), Path(out), int(until) or None, float(begun))
    elif args.ask is not None:
        ask(args.ask)
    elif args.train is not None:
        with tempfile.TemporaryDirectory() as folder:
            whole, again = Path(folder, "whole"), Path(folder, MIDDLE)
            start(args.train, whole, 0)
            (again / "metrics.jsonl").unlink()
            print("again from the middle")
            start(args.train, again, max(losses(whole)) // 2 + 100)
            own, expected = losses(again), losses(whole)
            if not own or any(own[step] != expected[step] for step in own):
                raise SystemExit("the losses differ")
            print(f"{len(own)} lines of metrics.jsonl have the same numbers")
    else:
        parser.error("give --write, --train or --ask")


if __name__ == "__main__":
    main()
