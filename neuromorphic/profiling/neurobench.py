"""A run under NeuroBench's names and by its definitions (Yik et al., Nature Communications 16, 1545, 2025)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from neuromorphic.execution.record import Record
from neuromorphic.execution.reference import linear_map
from neuromorphic.execution.ties import flat, linear_signals, shifted, signals
from neuromorphic.graph import Floats, Graph, Node

HOOKED = ("Affine", "Linear", "Conv1d", "Conv2d")
"""Nodes that NeuroBench counts: linear layers and convolutions. Scale, pooling, delays and neurons are not counted."""
BYTES = 4
"""Bytes of a parameter, float32."""


def neurobench(graph: Graph, inputs: Mapping[str, NDArray], record: Record) -> dict[str, Any]:
    """NeuroBench's metrics of a run. Those that depend on the number of samples are for one sample.

    - ``parameter_count``, ``footprint``: weights and biases, and their bytes in float32; zeros count.
    - ``connection_sparsity``: share of zeros among the weights.
    - ``activation_sparsity``, ``activation_sparsity_by_layer``: share of zeros among what spiking neurons send.
    - ``synaptic_operations``: ``Effective_MACs`` and ``Effective_ACs``, products of a nonzero weight and a nonzero
      input. They are accumulates (AC) where all inputs of a layer in a step are 0, 1 or -1. ``Dense``, all products.
      Padding is not counted.

    Args:
        graph: The graph that was run.
        inputs: By Input node, shape (B, T, *shape).
        record: Record of the run, with the potentials of I, LI and CubaLI.
    """
    layers = {name: node for name, node in graph.nodes.items() if node.kind in HOOKED}
    weights = [node.parameters["weight"] for node in layers.values()]
    count = sum(w.size for w in weights) + sum(
        node.parameters["bias"].size for node in layers.values() if "bias" in node.parameters
    )
    zeros, total = sum(int((w == 0).sum()) for w in weights), sum(w.size for w in weights)
    sent = linear_signals(graph, signals(graph, inputs, record))
    late = frozenset().union(*(graph.late(component) for component in graph.components))
    operations = {"Effective_MACs": 0.0, "Effective_ACs": 0.0, "Dense": 0.0}
    samples = len(next(iter(inputs.values())))
    for name, node in layers.items():
        x: Floats = sum((np.asarray(sent[source], np.float64) for source in graph.sources[name]), np.zeros(()))
        for key, value in layer_operations(node, shifted(x, 1) if name in late else x).items():
            operations[key] += value / samples
    sparsity = {name: float(1 - spikes.mean()) for name, spikes in record.spikes.items()}
    cells = {name: spikes.size for name, spikes in record.spikes.items()}
    return {
        "parameter_count": count,
        "footprint": BYTES * count,
        "connection_sparsity": zeros / total if total else 0.0,
        "activation_sparsity": sum(sparsity[n] * cells[n] for n in cells) / sum(cells.values()) if cells else 0.0,
        "activation_sparsity_by_layer": sparsity,
        "synaptic_operations": operations,
    }


def layer_operations(node: Node, x: Floats) -> dict[str, int]:
    """Operations of a layer that gets x, shape (B, T, *shape_in), over all samples and steps."""
    parameters = {**node.parameters, "weight": (node.parameters["weight"] != 0).astype(np.float64)}
    if "bias" in parameters:
        parameters["bias"] = np.zeros_like(parameters["bias"])
    products = linear_map(replace(node, parameters=parameters))
    dense = linear_map(replace(node, parameters={**parameters, "weight": np.ones_like(parameters["weight"])}))
    batch, steps = x.shape[:2]
    there = products((x != 0).astype(np.float64).reshape(-1, *node.shape_in)).reshape(batch, steps, -1).sum(axis=(0, 2))
    binary = np.isin(flat(x), (-1.0, 0.0, 1.0)).all(axis=(0, 2))
    return {
        "Effective_MACs": int(there[~binary].sum()),
        "Effective_ACs": int(there[binary].sum()),
        "Dense": int(dense(np.ones((1, *node.shape_in))).sum()) * batch * steps,
    }
