"""A plain transformer over nodes, as a baseline. With patches as nodes it is CLIP's image encoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gshn.config import ModelConfig
from gshn.encoders.hybrid import EncodedGraphs, NodeInputs
from gshn.encoders.padding import node_mask_of, pad_nodes
from gshn.encoders.spiking import SpikeTrains


class TransformerEncoder(nn.Module):
    """Pre-norm transformer over the nodes of a graph and a class token. Edges are not used.

    Source: the image encoder of Radford et al., arXiv:2103.00020, after Dosovitskiy et al., arXiv:2010.11929. The node
    embedding contains the geometry of a node, in place of a position embedding.
    """

    spiking = None

    def __init__(self, config: ModelConfig):
        super().__init__()
        c = config.width
        layer = nn.TransformerEncoderLayer(
            c, config.transformer.heads, 4 * c, config.dropout, "gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(
            layer, config.transformer.layers, norm=nn.LayerNorm(c), enable_nested_tensor=False
        )
        self.class_token = nn.Parameter(0.02 * torch.randn(c))

    def forward(self, inputs: NodeInputs, spikes: SpikeTrains | None = None) -> EncodedGraphs:
        """Encode a batch of scene graphs. The readout is the state of the class token; ``spikes`` is not used."""
        mask = node_mask_of(inputs.batch, inputs.num_graphs)
        nodes = pad_nodes(inputs.x, mask)
        first = self.class_token.expand(inputs.num_graphs, 1, -1)
        padding = torch.cat([mask.new_zeros(inputs.num_graphs, 1), ~mask], dim=1)
        states: Tensor = self.layers(torch.cat([first.to(nodes.dtype), nodes], dim=1), src_key_padding_mask=padding)
        return EncodedGraphs(states[:, 1:][mask], states[:, 0], inputs.batch, inputs.num_graphs, inputs.centroid, None)
