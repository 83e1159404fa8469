"""Interface and common code of the backbones."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from gshn.errors import ConfigError, DataError


class Backbone(Protocol):
    """RGB images -> feature maps."""

    trainable: bool
    """Whether its parameters are trained. If so, its features cannot be cached."""

    dim: int
    """Sum of the channels of all maps."""

    @property
    def key(self) -> str:
        """All that determines the features, as text: part of the graph cache's key."""
        ...

    @property
    def device(self) -> torch.device:
        """Device of its parameters, and of the images that it takes."""
        ...

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Compute feature maps, finest first.

        Args:
            images: RGB, shape (B, 3, H, W), uint8.

        Returns:
            Maps of shape (B, C_l, H_l, W_l), float32, whose cells tile the image evenly.
        """
        ...


@dataclass(frozen=True)
class BackboneOutput:
    """Output of a backbone for B images.

    Attributes:
        maps: Feature maps, finest first, shapes (B, C_l, H_l, W_l), float32.
        trunk: Input of each tail (:meth:`FrozenBackbone.tails`), shapes (V, B, C_k, H_k, W_k), with V views: the images
            and, with ``graph.mirror``, their mirror images. Empty if no layers are trained.
    """

    maps: list[Tensor]
    trunk: list[Tensor]


class Tail(nn.Module):
    """The last layers of a backbone, trained with the model (``graph.tune``). Both input and output are maps.

    Attributes:
        channels: C_k, channels of its input.
        dim: Channels of its output.
        stride: Stride of its output, pixels.
        side: S_k, the largest number of cells along a side of the map; 0 until the size of images is known.
    """

    channels: int
    dim: int
    stride: int
    side: int = 0

    @abstractmethod
    def forward(self, x: Tensor, inside: Tensor | None = None) -> Tensor:
        """Compute the map.

        Args:
            x: Shape (B, C_k, H, W).
            inside: True at cells of the image, shape (B, H, W); None: all cells are.

        Returns:
            Shape (B, dim, H, W). Values outside the image have no meaning.
        """


class FrozenBackbone(nn.Module):
    """A pretrained network that is never trained: no gradients, always in evaluation mode.

    After :meth:`cut`, the model trains a copy of its last layers. The layers here do not change.

    Attributes:
        name: Its name in ``graph.backbone``.
        levels: Strides of its maps, ascending.
        dim: See :class:`Backbone`.
        key: See :class:`Backbone`.
        precision: Precision of its matrix products and convolutions, see :meth:`compute_in`.
    """

    trainable = False
    name: str
    levels: list[int]
    dim: int
    key: str
    precision: torch.dtype = torch.float32

    def compute_in(self, precision: torch.dtype) -> Self:
        """Choose the precision of matrix products and convolutions: float32, or bfloat16 by automatic mixed precision.

        bfloat16 is several times as fast on processors that multiply bfloat16 matrices in hardware (NVIDIA GPUs since
        Ampere, x86 with AMX). Its 8 significant bits change pooled features by some percent of their standard
        deviation.
        """
        self.precision = precision
        if precision != torch.float32:
            self.key += f" {str(precision).removeprefix('torch.')}"
        return self

    def freeze(self) -> None:
        """Switch to evaluation mode without gradients. Constructors call this last."""
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Self:
        """Stay in evaluation mode, so that batch statistics do not change."""
        return super().train(False)

    @property
    def device(self) -> torch.device:
        """See :class:`Backbone`."""
        return next(self.parameters()).device

    def cut(self, blocks: int) -> None:
        """Separate the last blocks from the rest, see :meth:`tails`. Call it before wrapping the backbone.

        Args:
            blocks: Number of blocks. The layers after the last block belong to it.

        Raises:
            ConfigError: this network cannot be cut, or not at this block.
        """
        raise ConfigError(
            f"config key 'graph.tune' is last:{blocks}: {self.name} cannot be cut; efficientnet_lite0 and "
            "efficientnet_lite2 can"
        )

    def tails(self) -> list[Tail]:
        """The blocks that :meth:`cut` has separated, one for each network of this backbone."""
        return [module for module in self.modules() if isinstance(module, Tail)]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Maps of :meth:`outputs`; see :class:`Backbone`."""
        return self.outputs(images).maps

    def outputs(self, images: Tensor) -> BackboneOutput:
        """Feature maps of images of shape (B, 3, H, W), uint8, and the inputs of :meth:`tails`.

        Raises:
            DataError: the images are smaller than the coarsest stride, or the network does not accept their size.
        """
        height, width = images.shape[-2:]
        if min(height, width) < (least := max(self.levels)):
            raise DataError(f"{self.name} needs images of at least {least}x{least} pixels, not {width}x{height}")
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.precision == torch.bfloat16):
            maps, trunk = self.maps_and_trunk(images)
        return BackboneOutput([one.float() for one in maps], [one.float() for one in trunk])

    def maps_and_trunk(self, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Maps and trunk of :meth:`outputs`, for images that are large enough; in any precision."""
        return self.maps(images), []

    @abstractmethod
    def maps(self, images: Tensor) -> list[Tensor]:
        """Maps of :meth:`outputs`, for images (B, 3, H, W) that are large enough; in any precision.

        Raises:
            DataError: the network does not accept this size.
        """


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
    """Images (B, 3, H, W) with each side scaled to the nearest multiple of a stride, so that its cells tile them."""
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
