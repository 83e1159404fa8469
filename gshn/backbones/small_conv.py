"""A small convolutional network that is trained with the model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gshn.backbones.base import choose_levels

KINDS = {"small_conv": {"help": "a small convolutional network, trained with the model"}}


class SmallConvNet(nn.Module):
    """Small convolutional network, trained with the model: strides 2, 4 and 8.

    Args:
        channels: Channels of the maps, each divisible by 8.
        levels: Strides of the maps; None for all.

    Raises:
        ConfigError: there is no such stride.
    """

    trainable = True

    def __init__(self, channels: tuple[int, ...] = (32, 64, 96), levels: Sequence[int] | None = None) -> None:
        super().__init__()
        strides = [2 << level for level in range(len(channels))]
        self.levels = choose_levels("small_conv", levels, strides, strides)
        used = strides.index(self.levels[-1]) + 1
        self.channels, self.strides = channels[:used], strides[:used]
        self.dim = sum(c for c, stride in zip(self.channels, self.strides, strict=True) if stride in self.levels)
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False),
                nn.GroupNorm(8, outputs),
                nn.ReLU(),
                nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
                nn.GroupNorm(8, outputs),
                nn.ReLU(),
            )
            for inputs, outputs in zip((3, *self.channels), self.channels, strict=False)
        )

    @property
    def key(self) -> str:
        """See :class:`~gshn.backbones.base.Backbone`."""
        return f"small-conv:{','.join(map(str, self.channels))}:{','.join(map(str, self.levels))}"

    @property
    def device(self) -> torch.device:
        """See :class:`~gshn.backbones.base.Backbone`."""
        return next(self.parameters()).device

    def forward(self, images: Tensor) -> list[Tensor]:
        """See :class:`~gshn.backbones.base.Backbone`."""
        x = (images.float() - 127.5) / 127.5
        maps = []
        for stride, stage in zip(self.strides, self.stages, strict=True):
            x = stage(x)
            if stride in self.levels:
                maps.append(x)
        return maps


def make(name: str, levels: Sequence[int] | None) -> SmallConvNet:
    """See :mod:`gshn.backbones`."""
    return SmallConvNet(levels=levels)
