"""Continuous path: graph attention on the scene graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_geometric.nn import GATv2Conv

from gshn.encoders.aggregation import Aggregation


class GraphAttentionEncoder(nn.Module):
    """Residual :class:`torch_geometric.nn.GATv2Conv` layers with edge features.

    h <- LayerNorm(h + GELU(GATv2(h, edge_attr))); F_GAT is the last h. Source: Brody et al., arXiv:2105.14491.

    With ``pre``: h <- h + a D(GELU(GATv2(D(LayerNorm(h)), edge_attr))), with D dropout and a learned scalar a, 0 at the
    start (ReZero, Bachlechner et al., arXiv:2003.04887). Without this regularisation attention overfits on a few
    thousand photographs. Velickovic et al. (arXiv:1710.10903) use dropout of 0.6 on graphs of a similar size.

    Args:
        channels: C, channels of the nodes.
        edge_channels: A, channels of the edges.
        layers: Number of layers.
        heads: Attention heads of each layer.
        dropout: Dropout probability of the attention.
        pre: Whether layers have the second form.
        hidden_dropout: Dropout probability of D.
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
