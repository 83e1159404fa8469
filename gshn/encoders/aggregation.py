"""How spikes pass along a scene graph."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch_geometric.utils import degree


@dataclass(frozen=True)
class Aggregation:
    """Sparse aggregation matrix A of a (batch of) scene graph(s): (A x)[i] = sum_j A[i, j] x[j].

    Attributes:
        edge_index: Row 0 the sources j, row 1 the targets i, shape (2, E); each pair at most once.
        weight: A[i, j], shape (E,).
    """

    edge_index: Tensor
    weight: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Aggregate over nodes: shape (T, N, C) -> (T, N, C)."""
        source, target = self.edge_index
        messages = x.index_select(1, source) * self.weight.to(x.dtype)[:, None]
        return torch.zeros_like(x).index_add(1, target, messages)

    def dense(self, num_nodes: int) -> Tensor:
        """A as a matrix, shape (N, N)."""
        matrix = self.weight.new_zeros(num_nodes, num_nodes)
        matrix[self.edge_index[1], self.edge_index[0]] = self.weight
        return matrix


def degree_normalized(edge_index: Tensor, num_nodes: int, self_weight: float) -> Aggregation:
    """A = self_weight I + (1 - self_weight) D^-1 Adj, with D the in-degree; an isolated node keeps its own value.

    Args:
        edge_index: Shape (2, E), without self-loops.
        num_nodes: N.
        self_weight: Share of the node's own spikes, in [0, 1].
    """
    target = edge_index[1]
    in_degree = degree(target, num_nodes)
    loops = torch.arange(num_nodes, device=edge_index.device)
    own = torch.where(in_degree > 0, self_weight, 1.0)
    return Aggregation(
        edge_index=torch.cat([edge_index, torch.stack([loops, loops])], dim=1),
        weight=torch.cat([(1 - self_weight) / in_degree[target], own]),
    )
