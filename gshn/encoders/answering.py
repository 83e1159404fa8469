"""The answer head: a verdict on each image of a text, then an answer from all verdicts."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AnswerHead(nn.Module):
    """Evidence from the K images of a text -> logits of its answers.

        verdict_k = GELU(W evidence_k + b)
        logits = W_2 Dropout(GLU(W_1 [evidence_1, verdict_1, ..., evidence_K, verdict_K] + b_1)) + b_2

    W and b are shared by the images, so they are trained on all of them. The gated layer (GLU) can multiply verdicts,
    which a sum cannot replace: "exactly one of the two images shows a red star" is the exclusive or of two verdicts.
    """

    def __init__(self, images: int, evidence: int, width: int, answers: int, dropout: float):
        """Build the head.

        Args:
            images: K, number of images of a text.
            evidence: E, channels of the evidence from an image.
            width: C, channels of a verdict. The gated layer has 2 C outputs.
            answers: A, number of answers.
            dropout: Dropout probability of the gated layer's outputs.
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
        """Evidence of shape (B, K, E) -> logits of shape (B, A)."""
        logits: Tensor = self.answer(torch.cat([evidence, self.verdict(evidence)], dim=-1).flatten(1))
        return logits
