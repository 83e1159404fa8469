"""The graph encoder, forward and backward: hybrid, GAT alone, spiking alone, by T, nodes, edges, channels and batch.

    python -m benchmarks.encoder --rounds 7 --json encoder.json

A batch of 64 scene graphs of 8 nodes with 4 neighbours each, 128 channels, T = 8, two layers of each path; one of these
is varied at a time. The ratio is to the GAT path alone at the same sizes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from benchmarks.timing import Row, medians, rows, run
from gshn.config import GATConfig, ModelConfig, SpikingConfig
from gshn.encoders.hybrid import HybridEncoder, NodeInputs
from gshn.graphs.scene_graph import EDGE_GEOMETRY


@dataclass(frozen=True)
class Sizes:
    """Of a batch of scene graphs, and of the encoder."""

    batch: int = 64
    nodes: int = 8
    neighbours: int = 4
    channels: int = 128
    steps: int = 8


BASE = Sizes()
SWEEPS = {
    "steps": (2, 4, 8, 16, 32),
    "nodes": (4, 8, 16, 32),
    "neighbours": (2, 4, 6),
    "channels": (64, 128, 256),
    "batch": (16, 32, 64, 128),
}


def inputs_of(sizes: Sizes) -> NodeInputs:
    """Graphs in which every node hears its next ``neighbours`` nodes."""
    count = sizes.batch * sizes.nodes
    node = torch.arange(count)
    graph, place = node // sizes.nodes, node % sizes.nodes
    sources = [graph * sizes.nodes + (place + k) % sizes.nodes for k in range(1, sizes.neighbours + 1)]
    edges = torch.stack([torch.cat(sources), node.repeat(sizes.neighbours)])
    random = torch.Generator().manual_seed(0)
    return NodeInputs(
        torch.randn(count, sizes.channels, generator=random),
        edges,
        torch.randn(edges.shape[1], len(EDGE_GEOMETRY), generator=random),
        graph,
        sizes.batch,
        torch.rand(count, 2, generator=random),
    )


def encoders(sizes: Sizes) -> dict[str, HybridEncoder]:
    """The three."""
    out = {}
    for name, gat, spiking in (("hybrid", True, True), ("gat", True, False), ("spiking", False, True)):
        config = ModelConfig(
            width=sizes.channels,
            gat=GATConfig(enabled=gat),
            spiking=SpikingConfig(enabled=spiking, steps=sizes.steps),
        )
        out[name] = HybridEncoder(config, len(EDGE_GEOMETRY)).train()
    return out


def measure(rounds: int) -> list[Row]:
    """Every sweep."""
    found: list[Row] = []
    for key, values in SWEEPS.items():
        for value in values:
            sizes = replace(BASE, **{key: value})
            given = inputs_of(sizes)

            def train(encoder: HybridEncoder, given: NodeInputs = given) -> None:
                x = given.x.detach().requires_grad_()
                encoder(replace(given, x=x)).readout.square().mean().backward()

            calls = {name: (lambda e=encoder: train(e)) for name, encoder in encoders(sizes).items()}
            found += rows(f"encoder, {key} = {value}", medians(calls, rounds), ours="gat")
    return found


if __name__ == "__main__":
    run(__doc__, measure)
