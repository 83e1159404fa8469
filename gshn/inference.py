"""Running a trained model over whole corpora, with the spiking path computed by PyTorch or by another simulator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch_geometric.utils import subgraph
from tqdm import tqdm

from gshn.encoders.aggregation import Aggregation
from gshn.encoders.alignment import Embeddings
from gshn.encoders.hybrid import EncodedGraphs, HybridEncoder, NodeInputs
from gshn.encoders.padding import cat_padded
from gshn.encoders.spiking import SpikeTrains
from gshn.encoders.text import TextCount, tokenize
from gshn.graphs.dataset import GraphDataset
from gshn.graphs.scene_graph import SceneGraph
from gshn.model import GSHN, NodeTokens

IMAGES_PER_BATCH = 64
TEXTS_PER_BATCH = 64


@dataclass(frozen=True)
class SpikingInput:
    """Input of the spiking path of one scene graph.

    Attributes:
        x: Node inputs, shape (N, C).
        aggregation: The matrix that spikes pass along.
    """

    x: Tensor
    aggregation: Aggregation

    @property
    def num_nodes(self) -> int:
        """Number N of nodes."""
        return self.x.shape[0]


SpikeBackend = Callable[[Sequence[SpikingInput]], SpikeTrains]
"""Runs the spiking paths of scene graphs on another simulator. The nodes of its spikes are in the graphs' order."""


@dataclass
class SpikeCount:
    """Counts spikes over batches."""

    spikes: int = 0
    cells: int = 0
    """Neurons times steps."""

    def add(self, trains: SpikeTrains) -> None:
        """Count the spikes of a batch."""
        self.spikes += sum(int(layer.count_nonzero()) for layer in trains.layers)
        self.cells += sum(layer.numel() for layer in trains.layers)

    @property
    def firing_rate(self) -> float:
        """Spikes per neuron and step; 0 where nothing was counted."""
        return self.spikes / max(self.cells, 1)


def device_of(model: GSHN) -> torch.device:
    """Device of the model's parameters."""
    return model.logit_scale.device


def spiking_inputs(model: GSHN, inputs: NodeInputs) -> list[SpikingInput]:
    """Split the inputs of the spiking path by scene graph."""
    assert isinstance(model.encoder, HybridEncoder)
    x, aggregation = model.encoder.spiking_inputs(inputs)
    out = []
    for graph in range(inputs.num_graphs):
        nodes = inputs.batch == graph
        edge_index, weight = subgraph(nodes, aggregation.edge_index, aggregation.weight, relabel_nodes=True)
        out.append(SpikingInput(x[nodes], Aggregation(edge_index, weight)))
    return out


def encode(model: GSHN, graphs: SceneGraph, backend: SpikeBackend | None) -> EncodedGraphs:
    """Encode a batch of scene graphs, with the spiking path run by ``backend`` where one is given."""
    inputs = model.node_inputs(graphs.to(device_of(model)))
    spikes = None
    if backend is not None and model.encoder.spiking is not None:
        trains = backend(spiking_inputs(model, inputs))
        spikes = SpikeTrains(tuple(layer.to(inputs.x.device) for layer in trains.layers))
    return model.encoder(inputs, spikes)


def chunks(total: int, size: int, label: str) -> Iterator[list[int]]:
    """Consecutive indices, with a progress bar where there is more than one chunk.

    Args:
        total: Number of items.
        size: Items of a chunk.
        label: What is done to what, a verb and a plural: the bar's title, and its unit.
    """
    hidden: dict[str, Any] = {"disable": True} if total <= size else {}  # else TQDM_DISABLE counts
    with tqdm(total=total, desc=label, unit=f" {label.split()[-1]}", leave=False, **hidden) as bar:
        for start in range(0, total, size):
            indices = list(range(start, min(start + size, total)))
            yield indices
            bar.update(len(indices))


def join(parts: Sequence[Embeddings]) -> Embeddings:
    """Concatenate embeddings."""
    whole = torch.cat([part.whole for part in parts])
    spikes = [part.spikes for part in parts if part.spikes is not None]
    return Embeddings(
        whole,
        cat_padded([part.parts for part in parts]),
        cat_padded([part.mask for part in parts]),
        join(spikes) if spikes else None,
    )


@dataclass(frozen=True)
class EncodedImages:
    """I encoded images.

    Attributes:
        tokens: Inputs of fusion, on the CPU.
        embeddings: Embeddings that retrieval compares, on the model's device.
    """

    tokens: NodeTokens
    embeddings: Embeddings

    @classmethod
    def cat(cls, parts: Sequence[EncodedImages]) -> EncodedImages:
        """Concatenate several groups of encoded images."""
        return cls(NodeTokens.cat([part.tokens for part in parts]), join([part.embeddings for part in parts]))


@torch.inference_mode()
def encode_batch(
    model: GSHN,
    graphs: SceneGraph,
    count: SpikeCount,
    backend: SpikeBackend | None = None,
    tokens: bool = True,
    embeddings: bool = True,
) -> EncodedImages:
    """Encode a batch of scene graphs, and add their spikes to ``count``.

    Args:
        model: The model, in eval mode.
        graphs: The scene graphs.
        count: Counts the spikes.
        backend: Runs the spiking path; PyTorch by default.
        tokens: Whether :attr:`EncodedImages.tokens` are kept, which answers need (up to 100 KB per image).
        embeddings: Whether :attr:`EncodedImages.embeddings` are kept, which similarity needs (up to 100 KB per image).
    """
    encoded = encode(model, graphs, backend)
    if encoded.spikes is not None:
        count.add(encoded.spikes)
    seen = model.node_tokens(encoded) if tokens else NodeTokens.none(encoded.readout)
    compared = model.embed_images(encoded) if embeddings else Embeddings.of_wholes(encoded.readout[:, :0])
    return EncodedImages(seen.to(torch.device("cpu")), compared)


def encode_images(
    model: GSHN,
    graphs: GraphDataset,
    count: SpikeCount,
    backend: SpikeBackend | None = None,
    tokens: bool = True,
    embeddings: bool = True,
) -> EncodedImages:
    """Encode all images of a data set, batch by batch. For the arguments see :func:`encode_batch`."""
    return EncodedImages.cat(
        [
            encode_batch(model, graphs.batch(indices), count, backend, tokens, embeddings)
            for indices in chunks(len(graphs), IMAGES_PER_BATCH, "encode images")
        ]
    )


def count_texts(model: GSHN, texts: Sequence[str], label: str) -> None:
    """Warn of unknown words and of texts that are too long for the model: see :class:`TextCount`."""
    read = TextCount(model.tokenizer)
    read.read(texts)
    read.tell(label)


@torch.inference_mode()
def embedded_texts(model: GSHN, texts: Sequence[str]) -> Iterator[Embeddings]:
    """Embed texts, a batch at a time."""
    for indices in chunks(len(texts), TEXTS_PER_BATCH, "encode texts"):
        ids, mask = (t.to(device_of(model)) for t in tokenize(model.tokenizer, [texts[i] for i in indices]))
        yield model.embed_texts(model.encode_text(ids, mask))


def embed_texts(model: GSHN, texts: Sequence[str]) -> Embeddings:
    """Embed texts."""
    return join(list(embedded_texts(model, texts)))
