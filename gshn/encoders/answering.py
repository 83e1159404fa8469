"""Answering: a verdict on each image, then on all images together."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AnswerHead(nn.Module):
    """Evidence of a text's K images -> logits of its answers.

    verdict_k = GELU(W evidence_k + b), the same for every image, so that what a picture shows is learned from each of
    them; the answer is of [evidence_1, verdict_1, ..., evidence_K, verdict_K] by a gated layer, so that what is asked
    can select from what is there, and a linear one. Of two pictures exactly one shows a red star: that is no sum of
    evidence, but a product of verdicts.
    """

    def __init__(self, images: int, evidence: int, width: int, answers: int, dropout: float):
        """Build the head.

        Args:
            images: K.
            evidence: E, channels of an image's evidence.
            width: C, channels of a verdict, and half those of the gated layer.
            answers: A.
            dropout: Share of the gated layer's channels that training drops.
        """
        super().__init__()
        self.verdict = nn.Sequential(nn.Linear(evidence, width), nn.GELU())
        self.answer = nn.Sequential(
            nn.Linear(images * (evidence + width), 4 * width),
            nn.GLU(),
            nn.Dropout(dropout),
            nn.Linear(2 * width, answers),
        )

    def forward(self, evidence: Tensor) -> Tensor:
        """Answer: evidence of shape (B, K, E) -> logits of shape (B, A)."""
        logits: Tensor = self.answer(torch.cat([evidence, self.verdict(evidence)], dim=-1).flatten(1))
        return logits
