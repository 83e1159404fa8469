"""Pointer attention: finds the segments that a text names, and reads V', match and relative position there."""

from __future__ import annotations

import torch
from torch import Tensor, nn

POINTERS = 2
"""Number of pointers: a spatial relation has two arguments."""


class Pointers(nn.Module):
    """Two pointers that attend to segments by the similarities of the contrastive losses, and read V' there.

    Let similarity[a, s, k] compare token a (of L) and segment s by code k: V', and spikes where the model has them. Let
    c[s] be the centroid of segment s. Pointer h has

        w_h = softmax_a (W hidden[a] + d_h a / L)           attention to tokens
        j_h[s, k] = e^l_k sum_a w_h[a] similarity[a, s, k]  match of segment s with these tokens, jointly
        p_h = softmax_s sum_k j_h[s, k]                     attention to segments
        x_h = sum_s p_h[s] LayerNorm(V'[s])
        read_h = x_h + W_2 GELU(W_1 x_h)                    state that is read at the segments

    Its outputs are read_h, the match m_h = sum_s p_h[s] j_h[s], and m_h less the mean of j_h over s.

    The match is joint: for "a red star" *one* segment has to match both words. The largest similarity of each token
    alone does not show whether it does. d is learned. It starts so that the first pointer attends to the first tokens,
    and the second one to the last. The pointers are the `find` modules of Andreas et al., arXiv:1511.02799, with
    learned codes in place of detectors.

    Two more outputs are products of the text with what was read, channel by channel (*), for properties and for
    relations:

        text = sum_a v[a] hidden[a],    v = softmax_a (u hidden[a])
        (C text + c) * mean_h read_h
        (A text + b) * (B sum_s (p_1[s] - p_2[s]) c[s])

    A question such as "is the star striped?" or "is it left of the circle?" needs the product of both. A head that gets
    the two factors concatenated does not learn it in the same number of steps (docs/research.md).
    """

    def __init__(self, channels: int, codes: int):
        """Build the pointers.

        Args:
            channels: C, channels of the hidden states and of V'.
            codes: K, number of codes that segments and tokens are compared by.
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
        """Compute the pointers' outputs.

        Args:
            hidden: States of the tokens, shape (B, L, C).
            text_mask: True at tokens, shape (B, L).
            similarity: Similarity of each token and each segment by each code, shape (B, L, S, K).
            nodes: V', shape (B, S, C), padded.
            centroid: Centroid (x, y) of each segment, in units of the image's width and height, shape (B, S, 2),
                padded.
            node_mask: True at nodes, shape (B, S).

        Returns:
            All outputs concatenated, shape (B, :attr:`channels`).
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
