"""What the backbones have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from hashlib import blake2b
from typing import Protocol, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from gshn.errors import ConfigError, DataError


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


class FrozenBackbone(nn.Module):
    """A pretrained network that stays as it is: no gradients, and evaluation mode for ever.

    Attributes:
        name: What it is called in ``graph.backbone``.
        levels: Strides of its maps, ascending.
        dim: See :class:`Backbone`.
        key: See :class:`Backbone`.
        precision: Of its matrix products and convolutions, see :meth:`compute_in`.
    """

    trainable = False
    name: str
    levels: list[int]
    dim: int
    key: str
    precision: torch.dtype = torch.float32

    def compute_in(self, precision: torch.dtype) -> Self:
        """Choose the precision of matrix products and convolutions: float32, or bfloat16 by automatic mixed precision.

        Processors that multiply bfloat16 matrices in hardware (NVIDIA's since Ampere, x86 with AMX) are several times
        faster at it. Its 8 significant bits change pooled features by some percent of their deviation.
        """
        self.precision = precision
        if precision != torch.float32:
            self.key += f" {str(precision).removeprefix('torch.')}"
        return self

    def freeze(self) -> None:
        """No gradients, evaluation mode; the last line of a constructor."""
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode: batch statistics are frozen too."""
        return super().train(False)

    @property
    def device(self) -> torch.device:
        """See :class:`Backbone`."""
        return next(self.parameters()).device

    def forward(self, images: Tensor) -> list[Tensor]:
        """See :class:`Backbone`.

        Raises:
            DataError: the images are smaller than the coarsest stride, or the network does not take their size.
        """
        height, width = images.shape[-2:]
        if min(height, width) < (least := max(self.levels)):
            raise DataError(f"{self.name} needs images of at least {least}x{least} pixels, not {width}x{height}")
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.precision == torch.bfloat16):
            return [feature_map.float() for feature_map in self.maps(images)]

    @abstractmethod
    def maps(self, images: Tensor) -> list[Tensor]:
        """What :meth:`forward` gives, of images that are large enough."""


def choose_levels(name: str, levels: Sequence[int] | None, strides: Sequence[int], default: Sequence[int]) -> list[int]:
    """The strides of ``graph.levels``, or a backbone's default.

    Raises:
        ConfigError: the backbone has no map of one of them.
    """
    if levels is None:
        return list(default)
    if not set(levels) <= set(strides):
        have = ", ".join(map(str, sorted(strides)))
        raise ConfigError(f"config key 'graph.levels' is {list(levels)}: the strides of {name} are {have}")
    return sorted(levels)


def resize(images: Tensor, height: int, width: int) -> Tensor:
    """Images (B, 3, H, W) uint8 scaled to another size, bicubic with antialiasing, rounded to uint8."""
    if images.shape[-2:] == (height, width):
        return images
    scaled = interpolate(images.float(), (height, width), mode="bicubic", antialias=True, align_corners=False)
    return scaled.round().clamp(0, 255).to(torch.uint8)


def resize_to_multiples(images: Tensor, of: int) -> Tensor:
    """Images with each side scaled to the nearest multiple of a stride, so that cells of that stride tile them."""
    height, width = (max(1, round(side / of)) * of for side in images.shape[-2:])
    return resize(images, height, width)


def fingerprint(network: nn.Module) -> str:
    """Digest of a network's parameters and buffers: the same weights from a file or from the hub are the same."""
    digest = blake2b(digest_size=16)
    for name, tensor in network.state_dict().items():
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)} ".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
