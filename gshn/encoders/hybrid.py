"""GSHN's graph encoder: a continuous and a spiking path on the scene graph, fused."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch_geometric.nn.aggr import AttentionalAggregation

from gshn.config import ModelConfig
from gshn.encoders.aggregation import Aggregation, degree_normalized
from gshn.encoders.gat import GraphAttentionEncoder
from gshn.encoders.spiking import SpikeTrains, SpikingGraphEncoder
from gshn.neurons.kinds import make_neuron


@dataclass(frozen=True)
class NodeInputs:
    """Input of both paths: node embeddings of a batch of B scene graphs.

    Attributes:
        x: Shape (N, C).
        edge_index: Shape (2, E), without self-loops.
        edge_attr: Shape (E, A).
        batch: Graph of each node, ascending, shape (N,).
        num_graphs: B.
        centroid: Centroid of each node, relative to the image's width and height, shape (N, 2).
        whole: Whether a node stands for the whole image, shape (N,), bool: one of each graph; None where none does.
    """

    x: Tensor
    edge_index: Tensor
    edge_attr: Tensor
    batch: Tensor
    num_graphs: int
    centroid: Tensor
    whole: Tensor | None = None


@dataclass(frozen=True)
class EncodedGraphs:
    """Output of :class:`HybridEncoder`.

    Attributes:
        nodes: V', shape (N, C).
        readout: One vector per graph, shape (B, C).
        batch: Graph of each node, shape (N,).
        num_graphs: B.
        centroid: That of the inputs, shape (N, 2).
        spikes: Spike trains of the discrete path; None where it is switched off.
        whole: That of the inputs, shape (N,).
        continuous: F_GAT, shape (N, C); None where there is no such path.
    """

    nodes: Tensor
    readout: Tensor
    batch: Tensor
    num_graphs: int
    centroid: Tensor
    spikes: SpikeTrains | None
    whole: Tensor | None = None
    continuous: Tensor | None = None


class HybridEncoder(nn.Module):
    """V' = r E_SNN + F_GAT (arXiv:2501.19069), with r learned or fixed; each path can be switched off.

    E_SNN is the firing rates of the last spiking layer, or a linear map of the firing rates of all layers
    (``model.spiking.readout``): see :meth:`discrete`. With ``model.residual=pre`` both paths read LayerNorm(x) and are
    added to x. The linear map starts at 0, so V' = x before training.

    The readout is one vector per image. Where graphs have a node for the whole image, it is V' of this node. Else it is
    an attention-weighted sum of V' over the nodes.
    """

    def __init__(self, config: ModelConfig, edge_channels: int):
        super().__init__()
        c = config.width
        gat, spiking = config.gat, config.spiking
        self.attention_aggregation = spiking.aggregation == "attention"
        self.self_weight = spiking.self_weight
        pre = config.residual == "pre"
        self.gat: GraphAttentionEncoder | None = None
        if gat.enabled:
            self.gat = GraphAttentionEncoder(
                c, edge_channels, gat.layers, gat.heads, config.dropout, pre, config.hidden_dropout
            )
        self.spiking: SpikingGraphEncoder | None = None
        if spiking.enabled:
            width, neuron = spiking.width or c, make_neuron(spiking)
            self.spiking = SpikingGraphEncoder(c, width, spiking.layers, spiking.steps, neuron, spiking.quantize)
        self.spiking_norm = nn.LayerNorm(c) if spiking.enabled and pre else nn.Identity()
        self.decoder: nn.Module | None = None
        if spiking.enabled and spiking.readout == "linear":
            linear = nn.Linear(spiking.layers * width, c)
            if pre:
                nn.init.zeros_(linear.weight)
                nn.init.zeros_(linear.bias)
            self.decoder = nn.Sequential(nn.Dropout(config.hidden_dropout), linear)
        self.r = nn.Parameter(torch.tensor(config.r), requires_grad=config.learn_r)
        self.readout = AttentionalAggregation(nn.Linear(c, 1), nn.Linear(c, c))

    def aggregation(self, inputs: NodeInputs, attention: Aggregation | None) -> Aggregation:
        """Aggregation matrix of the spiking path: the degree-normalised adjacency, or the attention of the GAT path."""
        if self.attention_aggregation and attention is not None:
            return attention
        return degree_normalized(inputs.edge_index, inputs.x.shape[0], self.self_weight)

    def forward(self, inputs: NodeInputs, spikes: SpikeTrains | None = None) -> EncodedGraphs:
        """Encode a batch of scene graphs.

        Args:
            inputs: Node embeddings and edges.
            spikes: Spike trains of another simulator for the same inputs (see :meth:`spiking_inputs`). With them the
                spiking path is not computed here.
        """
        nodes = torch.zeros_like(inputs.x)
        attention = continuous = None
        if self.gat is not None:
            nodes, attention = self.gat(inputs.x, inputs.edge_index, inputs.edge_attr)
            continuous = nodes
        if self.spiking is not None:
            spikes = spikes or self.spiking(self.spiking_norm(inputs.x), self.aggregation(inputs, attention))
            nodes = self.r * self.discrete(spikes).to(nodes.dtype) + nodes
        readout = self.image(nodes, inputs.batch, inputs.num_graphs, inputs.whole)
        return EncodedGraphs(
            nodes, readout, inputs.batch, inputs.num_graphs, inputs.centroid, spikes, inputs.whole, continuous
        )

    def image(self, nodes: Tensor, batch: Tensor, num_graphs: int, whole: Tensor | None) -> Tensor:
        """The readout of the class, one vector per image.

        Args:
            nodes: V', shape (N, C).
            batch: Graph of each node, shape (N,).
            num_graphs: B.
            whole: True at the node of the whole image, shape (N,), one of each graph; None where there is none.

        Returns:
            Shape (B, C).
        """
        if whole is not None:
            return nodes[whole]
        readout: Tensor = self.readout(nodes, batch, dim_size=num_graphs)
        return readout

    def discrete(self, spikes: SpikeTrains) -> Tensor:
        """E_SNN, shape (N, C): the firing rates of the last layer, or W Dropout(rates) + b of the rates of all layers.

        The rates have no LayerNorm. It would scale rates near 0 up to those of active neurons, and overfits on
        photographs (docs/photographs.md).
        """
        if self.decoder is None:
            return spikes.rates
        e: Tensor = self.decoder(spikes.code.mean(dim=0).to(self.r.dtype))
        return e

    def spiking_inputs(self, inputs: NodeInputs) -> tuple[Tensor, Aggregation]:
        """Inputs of the spiking path in :meth:`forward`: x, shape (N, C), and the aggregation matrix."""
        attention = self.gat(inputs.x, inputs.edge_index, inputs.edge_attr)[1] if self.gat is not None else None
        return self.spiking_norm(inputs.x), self.aggregation(inputs, attention)
