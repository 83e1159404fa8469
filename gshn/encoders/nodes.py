"""Segment -> node embedding."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gshn.distributed import joined_rand
from gshn.graphs.region_features import COLOUR_DIM
from gshn.graphs.scene_graph import GEOMETRY

FREQUENCIES = (1, 2, 4)


def waves(geometry: Tensor) -> Tensor:
    """Fourier features of numbers in [0, 1]: a linear layer can then separate values that are close together.

    gamma(g) = (2g - 1, sin(pi k g), cos(pi k g)) for k in :data:`FREQUENCIES`. Source: Mildenhall et al.,
    arXiv:2003.08934, sec. 5.1.

    Args:
        geometry: Columns :data:`gshn.graphs.scene_graph.GEOMETRY`, shape (N, G).

    Returns:
        Shape (N, 7 G).
    """
    angles = [torch.pi * k * geometry for k in FREQUENCIES]
    return torch.cat([2 * geometry - 1, *(f(angle) for angle in angles for f in (torch.sin, torch.cos))], dim=1)


class NodeEmbedding(nn.Module):
    """Segment -> node embedding.

    e = W_v visual features + W_c colour + W_g gamma(geometry) + category embedding
    h = LayerNorm(e + W_2 GELU(e)), or h = e with ``linear``, shape (N, C)

    Features are standardised; gamma is :func:`waves`. Colour and geometry have weights of their own. Concatenated with
    hundreds of backbone channels, these few numbers would have little effect at the start and in a short training.

    In training, a share of the graphs has the categories of all segments replaced by that of unlabelled regions. The
    model then has to learn from the pixels, and can use images whose segments have no category. Standardised visual
    features also get Gaussian noise of standard deviation ``noise``.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        features: int,
        categories: int,
        channels: int,
        unlabelled: int,
        dropout: float,
        noise: float = 0.0,
        linear: bool = False,
    ):
        """Build the embedding.

        Args:
            features: Channels of :func:`gshn.graphs.region_features.region_features`.
            categories: Number of categories.
            channels: C, channels of the embedding.
            unlabelled: Index of the category of unlabelled regions.
            dropout: Share of the training graphs whose categories are replaced.
            noise: Standard deviation of the noise, in those of the features.
            linear: Whether h = e.
        """
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))
        self.unlabelled, self.dropout, self.noise = unlabelled, dropout, noise
        self.category = nn.Embedding(categories, channels)
        # As large as each of the other parts: half of the 1 that PyTorch starts embeddings with.
        nn.init.normal_(self.category.weight, std=0.5)
        self.colour = nn.Linear(COLOUR_DIM, channels)
        self.visual = nn.Linear(features - COLOUR_DIM, channels)
        self.geometry = nn.Linear((1 + 2 * len(FREQUENCIES)) * len(GEOMETRY), channels)
        self.outer = None if linear else nn.Sequential(nn.GELU(), nn.Linear(channels, channels))
        self.norm = None if linear else nn.LayerNorm(channels)

    def forward(
        self,
        features: Tensor,
        category: Tensor,
        geometry: Tensor,
        batch: Tensor,
        num_graphs: int,
        identity: Tensor | None = None,
    ) -> Tensor:
        """Embed the nodes of B graphs.

        Args:
            features: Shape (N, F).
            category: Category indices, shape (N,).
            geometry: Shape (N, G).
            batch: Graph of each node, shape (N,).
            num_graphs: B.
            identity: Identity of each graph, shape (B,), int64: equal ones lose their categories in every process or in
                none. None: every graph is another.

        Returns:
            Shape (N, C).
        """
        if self.training and self.dropout:
            hidden = joined_rand(num_graphs, batch.device, identity) < self.dropout
            category = torch.where(hidden[batch], self.unlabelled, category)
        colour, visual = ((features - self.mean) / self.std).clamp(-10, 10).tensor_split([COLOUR_DIM], dim=1)
        if self.training and self.noise:
            visual = visual + self.noise * torch.randn_like(visual)
        e: Tensor = self.colour(colour) + self.visual(visual) + self.geometry(waves(geometry)) + self.category(category)
        if self.outer is None or self.norm is None:
            return e
        out: Tensor = self.norm(e + self.outer(e))
        return out
