"""Small builders that several tests share."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch_geometric.data import Batch

from gshn.config import Config, load_config
from gshn.encoders.text import tokenize
from gshn.encoders.text_encoders import build_tokenizer
from gshn.graphs.scene_graph import EDGE_GEOMETRY, GEOMETRY, SceneGraph
from gshn.losses.masked_language import mask_tokens
from gshn.model import GSHN, Vocabulary
from gshn.training.batches import PairBatch, TaskBatch
from gshn.training.text_states import text_identities

CAPTIONS = [
    "a red star on grass",
    "two blue circles above water",
    "a small green ring",
    "a striped square left of a heart on sand",
    "a cross",
    "a yellow diamond on the road under the sky",
    "a red star on water",
    "large dotted triangle",
]
STEPS = ["pretrain.steps=12", "finetune.steps=6", "checkpoint_every=4", "log_every=2"]
TINY = [
    "model.width=16",
    "model.category_dropout=0",
    "model.gat.heads=2",
    "model.text.heads=2",
    "objectives.fusion_stride=1",
]


def tiny_config(*overrides: str) -> Config:
    """A configuration of a very small model without dropout."""
    return load_config("default", [*TINY, *overrides])


def tiny_model(config: Config | None = None) -> GSHN:
    """A very small model with random weights (but MiniLM's, if it is asked for), always the same."""
    config = config or tiny_config()
    tokenizer = build_tokenizer(config.model.text.encoder, CAPTIONS, min(20, config.model.text.max_length))
    words = sorted(set(range(len(tokenizer))) - set(tokenizer.all_special_ids))
    torch.manual_seed(0)
    vocabulary = Vocabulary(["star", "circle", "grass", "region"], {"vqa": ["no", "yes"]}, words, 8)
    return GSHN(config, vocabulary, tokenizer)


def random_graph(nodes: int, seed: int) -> SceneGraph:
    """A scene graph of ``nodes`` nodes in a ring, with random features."""
    random = torch.Generator().manual_seed(seed)
    ring = torch.arange(nodes)
    edges = torch.stack([torch.cat([ring, ring.roll(-1)]), torch.cat([ring.roll(-1), ring])]).unique(dim=1)
    edges = edges[:, edges[0] != edges[1]]
    return SceneGraph(
        x=torch.randn(nodes, 8, generator=random),
        category=torch.randint(0, 3, (nodes,), generator=random),
        geometry=torch.rand(nodes, len(GEOMETRY), generator=random),
        edge_index=edges,
        edge_attr=torch.randn(edges.shape[1], len(EDGE_GEOMETRY), generator=random),
        num_nodes=nodes,
    )


def pair_batch(model: GSHN, rows: Sequence[int], captions: Sequence[int] | None = None) -> PairBatch:
    """Rows of one fixed batch of pairs, or its images with other captions of it, one or more for each image.

    Graph i has 2 + i % 4 nodes.
    """
    captions = captions or rows
    each = len(captions) // len(rows)
    ids, mask = tokenize(model.tokenizer, [CAPTIONS[i] for i in captions])
    special, mask_id = model.tokenizer.all_special_ids, model.tokenizer.mask_token_id
    masked = []
    for place, row in enumerate(ids):
        noise = torch.rand(each, 20, generator=torch.Generator().manual_seed(rows[place // each]))
        noise = noise[place % each, : len(row)]
        masked.append(mask_tokens(row, special, mask_id, 0.3, noise))
    has = torch.zeros(len(captions), len(model.tokenizer)).scatter_(1, ids, 1.0)
    return PairBatch(
        graphs=Batch.from_data_list([random_graph(2 + i % 4, i) for i in rows]),
        input_ids=ids,
        attention_mask=mask,
        masked_ids=torch.stack([m for m, _ in masked]),
        labels=torch.stack([label for _, label in masked]),
        words=has[:, model.vocabulary.words].unflatten(0, (-1, each)).mean(dim=1),
        text=text_identities(ids, mask),
        image=torch.tensor(list(rows)),
        noise_seed=torch.tensor(7),
    )


def question_batch(model: GSHN, rows: range, images: Sequence[int] | None = None) -> TaskBatch:
    """Rows of one fixed batch of questions, each on an image of its own, or on ``images[row]``."""
    ids, mask = tokenize(model.tokenizer, [CAPTIONS[i % len(CAPTIONS)] for i in rows])
    asked = torch.tensor([i if images is None else images[i] for i in rows])
    shown, place = asked.unique(return_inverse=True)
    return TaskBatch(
        graphs=Batch.from_data_list([random_graph(2 + i % 3, 100 + i) for i in shown.tolist()]),
        input_ids=ids,
        attention_mask=mask,
        image=place[:, None],
        identity=shown,
        answer=torch.eye(2)[torch.tensor([i % 2 for i in rows])],
    )


def start(out: Path, *arguments: str) -> subprocess.Popen[str]:
    """Start training with the config ``smoke``, as a user does."""
    command = [sys.executable, "-m", "gshn.train", "--config", "smoke", "--out", str(out), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str], status: int = 0) -> tuple[str, str]:
    """Wait for a process; returns what it wrote to stdout and stderr."""
    out, err = process.communicate()
    assert process.returncode == status, err
    return out, err


def kill_when(process: subprocess.Popen[Any], ready: Callable[[], bool]) -> None:
    """Kill a process as soon as something is so, in the middle of its work: it is given no chance to tidy up."""
    while not ready():
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)
    process.kill()
    process.communicate()


def lines(path: Path) -> int:
    """Number of lines of a file, 0 where there is none yet."""
    return len(path.read_text().splitlines()) if path.is_file() else 0
