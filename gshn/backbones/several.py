"""Backbones on scaled images, on images and their mirror images, and several side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gshn.backbones.base import BackboneOutput, FrozenBackbone, resize
from gshn.errors import DataError


class ScaledBackbone(FrozenBackbone):
    """A backbone on scaled images: the longer side gets ``size`` pixels (:func:`~gshn.backbones.base.resize`).

    Args:
        backbone: The backbone that gets the scaled images.
        size: Longer side, pixels. The aspect ratio is kept.
    """

    def __init__(self, backbone: FrozenBackbone, size: int) -> None:
        super().__init__()
        self.backbone, self.size = backbone, size
        self.name, self.levels, self.dim = f"{backbone.name}@{size}", backbone.levels, backbone.dim
        self.key = f"{backbone.key} @{size} bicubic"
        for tail in backbone.tails():
            tail.side = -(-size // tail.stride)
        self.freeze()

    def outputs(self, images: Tensor) -> BackboneOutput:
        """See :class:`~gshn.backbones.base.FrozenBackbone`.

        Raises:
            DataError: the scaled images are too small.
        """
        sides: list[int] = list(images.shape[-2:])
        height, width = (max(1, round(side * self.size / max(sides))) for side in sides)
        try:
            return self.backbone.outputs(resize(images, height, width))
        except DataError as error:
            raise DataError(f"{error}, which {sides[1]}x{sides[0]} is scaled to (@{self.size})") from None

    def maps(self, images: Tensor) -> list[Tensor]:
        """Maps of :meth:`outputs`, in which the backbone checks the size of the scaled images."""
        return self(images)


class MirroredBackbone(FrozenBackbone):
    """Mean of the maps of each image and of its mirror image. The second map is mirrored back.

    map[b, c, i, j] = (f(image)[b, c, i, j] + f(mirror image)[b, c, i, W_l - 1 - j]) / 2

    The content of a photograph hardly ever changes when it is mirrored, so the mean has less noise.

    Args:
        backbone: The backbone f.
    """

    def __init__(self, backbone: FrozenBackbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.name, self.levels, self.dim = backbone.name, backbone.levels, backbone.dim
        self.key = f"{backbone.key} mirrored"
        self.freeze()

    def outputs(self, images: Tensor) -> BackboneOutput:
        """See :class:`~gshn.backbones.base.FrozenBackbone`."""
        found = self.backbone.outputs(torch.cat([images, images.flip(-1)]))
        both = (feature_map.chunk(2) for feature_map in found.maps)
        trunk = [torch.cat(read.chunk(2, dim=1)) for read in found.trunk]
        return BackboneOutput([(one + other.flip(-1)) / 2 for one, other in both], trunk)

    def maps(self, images: Tensor) -> list[Tensor]:
        """Maps of :meth:`outputs`, in which the backbone checks the size of the images."""
        return self(images)


class SideBySide(FrozenBackbone):
    """Several backbones on the same images. The list of maps has those of the first, then those of the second, ..."""

    def __init__(self, backbones: Sequence[FrozenBackbone]) -> None:
        super().__init__()
        self.backbones = nn.ModuleList(backbones)
        self.name = "+".join(backbone.name for backbone in backbones)
        self.levels = sorted({level for backbone in backbones for level in backbone.levels})
        self.dim = sum(backbone.dim for backbone in backbones)
        self.key = " + ".join(backbone.key for backbone in backbones)
        self.freeze()

    def outputs(self, images: Tensor) -> BackboneOutput:
        """See :class:`~gshn.backbones.base.FrozenBackbone`."""
        found: list[BackboneOutput] = [backbone.outputs(images) for backbone in self.backbones]  # type: ignore[operator]
        return BackboneOutput([one for own in found for one in own.maps], [one for own in found for one in own.trunk])

    def maps(self, images: Tensor) -> list[Tensor]:
        """Maps of :meth:`outputs`, in which each backbone checks the size of the images."""
        return self(images)
