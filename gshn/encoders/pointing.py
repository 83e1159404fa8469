"""Pointing: which segments a text speaks of, what is there, whether that is what is said, and how they lie."""

from __future__ import annotations

import torch
from torch import Tensor, nn

POINTERS = 2
"""A statement on how two things lie speaks of two."""


class Pointers(nn.Module):
    """Finds the segments that a text speaks of by the codes that contrast aligns, and reads V' there.

    With similarity[a, s, k] of segment s and token a of L by code k (V', and spikes where there are any), and
    c[s] the centroid of segment s, pointer h has

        w_h = softmax_a (W hidden[a] + d_h a / L)       the tokens that it goes by
        j_h[s, k] = e^l_k sum_a w_h[a] similarity[a, s, k]  how well a segment fits these together
        p_h = softmax_s sum_k j_h[s, k]                 where it points

    and reads what is there, the match sum_s p_h[s] j_h[s], and how far that is above the mean over s:

        x_h = sum_s p_h[s] LayerNorm(V'[s])
        read_h = x_h + W_2 GELU(W_1 x_h)                what is there

    That red and star are found in *one* segment is what a red star takes, and what the best match of each token alone
    does not tell. After the `find` modules of Andreas et al., arXiv:1511.02799, with learned codes in place of
    detectors. d is learned, and starts so that the first pointer goes by what is said first, the second by what is
    said last.

    What is said of the things meets what is there, and how they lie, in products, channel by channel (*):

        text = sum_a v[a] hidden[a],    v = softmax_a (u hidden[a])
        (C text + c) * mean_h read_h
        (A text + b) * (B sum_s (p_1[s] - p_2[s]) c[s])

    "Striped" and what a star looks like, "left of" and a distance to the right, say something together only, and a head
    that is given both side by side does not learn what within the steps that it learns all else in (docs/research.md).
    """

    def __init__(self, channels: int, codes: int):
        """Build the pointers.

        Args:
            channels: C, of hidden states and of V'.
            codes: K, how many codes segments and tokens are compared by.
        """
        super().__init__()
        self.tokens = nn.Linear(channels, POINTERS)
        self.order = nn.Parameter(torch.linspace(-5.0, 5.0, POINTERS))
        self.log_scale = nn.Parameter(torch.full((codes,), 2.7))
        self.norm = nn.LayerNorm(channels)
        self.seen = nn.Sequential(nn.Linear(channels, 2 * channels), nn.GELU(), nn.Linear(2 * channels, channels))
        self.saying = nn.Linear(channels, 1)
        self.property = nn.Linear(channels, channels)
        self.relation = nn.Linear(channels, channels)
        self.distance = nn.Linear(2, channels, bias=False)
        self.channels = POINTERS * (channels + 2 * codes) + 2 * channels

    def forward(
        self, hidden: Tensor, text_mask: Tensor, similarity: Tensor, nodes: Tensor, centroid: Tensor, node_mask: Tensor
    ) -> Tensor:
        """Point and read.

        Args:
            hidden: States of the tokens, shape (B, L, C).
            text_mask: True at tokens, shape (B, L).
            similarity: Of each segment and each token by each code, shape (B, L, S, K).
            nodes: V', shape (B, S, C), padded.
            centroid: Of each segment, relative to the image's width and height, shape (B, S, 2), padded.
            node_mask: True at nodes, shape (B, S).

        Returns:
            Shape (B, :attr:`channels`).
        """
        no_token = ~text_mask[..., None]
        position = torch.arange(hidden.shape[1], device=hidden.device) / text_mask.sum(dim=1, keepdim=True)
        logits = self.tokens(hidden) + self.order * position[..., None]
        weights = logits.masked_fill(no_token, -torch.inf).softmax(dim=1)
        joint = torch.einsum("blh,blsk->bhsk", weights, similarity) * self.log_scale.exp()
        mask = node_mask[:, None, :]
        points = joint.sum(dim=-1).masked_fill(~mask, -torch.inf).softmax(dim=-1)
        x = torch.einsum("bhs,bsc->bhc", points, self.norm(nodes))
        read = x + self.seen(x)
        match = torch.einsum("bhs,bhsk->bhk", points, joint)
        mean = (joint * mask[..., None]).sum(dim=2) / mask.sum(dim=2)[..., None]
        attention = self.saying(hidden).masked_fill(no_token, -torch.inf).softmax(dim=1)
        text = (attention * hidden).sum(dim=1)
        offset = torch.einsum("bs,bsd->bd", points[:, 0] - points[:, 1], centroid)
        properties = self.property(text) * read.mean(dim=1)
        relation = self.relation(text) * self.distance(offset)
        return torch.cat([torch.cat([read, match - mean, match], dim=-1).flatten(1), properties, relation], dim=1)
