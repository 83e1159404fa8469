"""The spiking path of one scene graph as a NIR graph."""

from __future__ import annotations

from itertools import pairwise

import nir
import numpy as np
import torch
from torch import nn

from gshn.encoders.aggregation import Aggregation
from gshn.encoders.spiking import SpikingGraphEncoder
from neuromorphic.compiler.linear import KRON_LEFT, KRON_RIGHT
from neuromorphic.graph import RESET_TO_V_RESET
from neuromorphic.nir_file import build


def spiking_graph_to_nir(encoder: SpikingGraphEncoder, aggregation: Aggregation, num_nodes: int) -> nir.NIRGraph:
    """Unroll the encoder over a scene graph: input -> affine_0 -> lif_0 -> affine_1 -> lif_1 -> ... -> output.

    Neuron n * C + c of a layer is channel c of node n, so that with A the aggregation matrix

    affine_0: weight = kron(I, W_0), bias = tile(b_0);  affine_k: weight = kron(A, W_k), bias = tile(b_k)

    The input is x, constant over ``metadata["steps"]`` steps. Weights are float64, as in the encoder's eval mode:
    kron(A, W) rounded to float32 would change spikes. Metadata of the graph and of each LIF node: ``dt`` (seconds)
    and ``reset``, see :mod:`neuromorphic.graph`; of each affine node the two factors of its weight, for compilers that
    can keep them apart.

    Args:
        encoder: The trained spiking path.
        aggregation: A of the scene graph, N x N.
        num_nodes: N.
    """
    dynamics = {"dt": encoder.neuron.p.dt, "reset": RESET_TO_V_RESET}
    mixing = np.eye(num_nodes)
    nodes: dict[str, nir.NIRNode] = {}
    for k, linear in enumerate(encoder.linears):
        assert isinstance(linear, nn.Linear)
        weight, bias = (t.detach().cpu().to(torch.float64).numpy() for t in (linear.weight, linear.bias))
        neurons = num_nodes * linear.out_features
        nodes[f"affine_{k}"] = nir.Affine(
            weight=np.kron(mixing, weight),
            bias=np.tile(bias, num_nodes),
            metadata={KRON_LEFT: mixing, KRON_RIGHT: weight},
        )
        nodes[f"lif_{k}"] = build({**encoder.neuron.nir_fields(neurons), "metadata": dict(dynamics)})
        mixing = aggregation.dense(num_nodes).detach().cpu().to(torch.float64).numpy()
    nodes = {
        "input": nir.Input({"input": np.array([nodes["affine_0"].weight.shape[1]])}),
        **nodes,
        "output": nir.Output({"output": np.array([neurons])}),
    }
    names = list(nodes)
    edges = list(pairwise(names))
    return nir.NIRGraph(nodes, edges, metadata={**dynamics, "steps": encoder.steps})
