"""Segment -> node embedding."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gshn.distributed import joined_rand
from gshn.graphs.region_features import COLOUR_DIM
from gshn.graphs.scene_graph import GEOMETRY

FREQUENCIES = (1, 2, 4)


def waves(geometry: Tensor) -> Tensor:
    """Numbers in [0, 1] as waves, which tell near values apart that a few weights on the bare number would not.

    gamma(g) = (2g - 1, sin(pi k g), cos(pi k g)) for k in :data:`FREQUENCIES`; source: Mildenhall et al.,
    arXiv:2003.08934, sec. 5.1.

    Args:
        geometry: Shape (N, G).

    Returns:
        Shape (N, 7 G).
    """
    angles = [torch.pi * k * geometry for k in FREQUENCIES]
    return torch.cat([2 * geometry - 1, *(f(angle) for angle in angles for f in (torch.sin, torch.cos))], dim=1)


class NodeEmbedding(nn.Module):
    """Segment -> node embedding.

    e = W_v visual features + W_c colour + W_g gamma(geometry) + category embedding;
    h = LayerNorm(e + W_2 GELU(e)), or h = e where ``linear``, shape (N, C); features are standardised, gamma is
    :func:`waves`.

    Colour and geometry have weights of their own: among hundreds of channels of a backbone, a few numbers that say
    where and how large would start out unheard, and a short training leaves it so.

    In training, a share of the graphs has all its categories hidden, that is, replaced by that of unlabelled regions:
    so the pictures themselves are learned from, and images whose segments no annotator or detector named are at home.
    And visual features get Gaussian noise, where asked for: x + sigma N(0, 1) of the standardised x.
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
        """Build.

        Args:
            features: Channels of :func:`gshn.graphs.region_features.region_features`.
            categories: Size of the vocabulary.
            channels: C.
            unlabelled: The category of unlabelled regions.
            dropout: Share of the training graphs whose categories are hidden.
            noise: sigma.
            linear: Whether the embedding is e.
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

    def forward(self, features: Tensor, category: Tensor, geometry: Tensor, batch: Tensor, num_graphs: int) -> Tensor:
        """Embed features (N, F), category indices (N,) and geometry (N, G) of B graphs; ``batch`` has shape (N,)."""
        if self.training and self.dropout:
            hidden = joined_rand(num_graphs, batch.device) < self.dropout
            category = torch.where(hidden[batch], self.unlabelled, category)
        colour, visual = ((features - self.mean) / self.std).clamp(-10, 10).tensor_split([COLOUR_DIM], dim=1)
        if self.training and self.noise:
            visual = visual + self.noise * torch.randn_like(visual)
        e: Tensor = self.colour(colour) + self.visual(visual) + self.geometry(waves(geometry)) + self.category(category)
        if self.outer is None or self.norm is None:
            return e
        out: Tensor = self.norm(e + self.outer(e))
        return out
