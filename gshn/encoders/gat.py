"""Continuous path: graph attention on the scene graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_geometric.nn import GATv2Conv

from gshn.encoders.aggregation import Aggregation


class GraphAttentionEncoder(nn.Module):
    """Residual :class:`torch_geometric.nn.GATv2Conv` layers with edge features.

    h <- LayerNorm(h + GELU(GATv2(h, edge_attr))); F_GAT is the last h.  Source: Brody et al., arXiv:2105.14491.

    Where ``pre``: h <- h + a D(GELU(GATv2(D(LayerNorm(h)), edge_attr))), with D dropout and a learned, 0 at first
    (ReZero, Bachlechner et al., arXiv:2003.04887). A few thousand photographs are learned by heart through attention
    otherwise; on graphs as small, Velickovic et al. (arXiv:1710.10903) drop 0.6 of
    the inputs and of the attention.

    Args:
        channels: C.
        edge_channels: A.
        layers: Their number.
        heads: Of each layer.
        dropout: Of the attention.
        pre: See above.
        hidden_dropout: Of D.
    """

    def __init__(
        self,
        channels: int,
        edge_channels: int,
        layers: int,
        heads: int,
        dropout: float,
        pre: bool = False,
        hidden_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.pre = pre
        self.drop = nn.Dropout(hidden_dropout)
        self.convs = nn.ModuleList(
            GATv2Conv(channels, channels // heads, heads, edge_dim=edge_channels, dropout=dropout)
            for _ in range(layers)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(layers))
        self.activation = nn.GELU()
        self.share = nn.ParameterList(nn.Parameter(torch.zeros(())) for _ in range(layers if pre else 0))

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> tuple[Tensor, Aggregation]:
        """Encode node inputs.

        Args:
            x: Shape (N, C).
            edge_index: Source and target of each edge, shape (2, E), without self-loops.
            edge_attr: Shape (E, A).

        Returns:
            F_GAT, shape (N, C); and the last layer's attention, mean over the heads, self-loops included: each
            target's weights sum to 1.
        """
        for layer, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            inputs = self.drop(norm(x)) if self.pre else x
            out, (attended, attention) = conv(inputs, edge_index, edge_attr, return_attention_weights=True)
            x = x + self.share[layer] * self.drop(self.activation(out)) if self.pre else norm(x + self.activation(out))
        return x, Aggregation(attended, attention.mean(dim=1))
