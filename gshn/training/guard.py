"""No step is made on a gradient that is not finite."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gshn.errors import TrainingError
from neuromorphic.errors import counted

LIMIT = 10
"""Largest number of consecutive steps that are skipped. A bad item spoils one step; bad weights spoil all of them."""


class Guard:
    """Skips the steps of a stage whose losses or gradients are not finite, and counts them.

    Attributes:
        stage: Name of the stage, for messages.
        skipped: Number of skipped steps.
        streak: Number of skipped steps since the last step that was made.
        first: What was wrong in the first skipped step.
    """

    def __init__(self, stage: str) -> None:
        self.stage, self.skipped, self.streak, self.first = stage, 0, 0, ""

    def allows(self, norm: Tensor, losses: Mapping[str, Tensor], step: int) -> bool:
        """Whether a step may be made: its losses and its gradient are finite.

        All processes decide the same, as losses and gradients are those of the joined batch.

        Args:
            norm: Norm of the gradient of all parameters.
            losses: By name.
            step: Counted from 1, for messages.

        Raises:
            TrainingError: it is the last of :data:`LIMIT` steps running that may not.
        """
        values = {**losses, "the gradient's norm": norm}
        if bool(torch.stack([value.detach().float() for value in values.values()]).isfinite().all()):
            self.streak = 0
            return True
        wrong = {name: float(value.detach()) for name, value in values.items() if not value.isfinite()}
        # The sum of the losses and the gradient are as they are because one of the losses is.
        name = next((name for name in wrong if name in losses and name != "loss"), next(iter(wrong)))
        shown = f"loss '{name}'" if name in losses else name
        what = f"{shown} became {wrong[name]}"
        self.first = self.first or f"{what} at step {step}"
        self.skipped += 1
        self.streak += 1
        if self.streak == LIMIT:
            raise TrainingError(
                f"{what} at {self.stage} step {step}, the last of {LIMIT} running that could not be made; lower "
                f"{self.stage}.lr or a loss's weight, and go on from the last checkpoint with --resume or start again "
                "with another --out"
            )
        return False

    def report(self) -> str | None:
        """A line on what was skipped; None where nothing was."""
        if not self.skipped:
            return None
        steps = counted(self.skipped, "step")
        return f"{steps} of {self.stage} left the weights as they were, the first because {self.first}"
