"""Segments of plain images without annotation: regions of similar features of a pretrained network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from gshn.backbones.base import FrozenBackbone
from gshn.backbones.choose import make_backbone
from gshn.errors import ConfigError
from gshn.segments.panoptic import Category, PanopticSegments, Segmenter, SegmenterSettings, segments_from_map
from gshn.segments.superpixels import REGION, ward_merge

KINDS = {
    "features[:BACKBONE]": {
        "help": "regions of similar features of a frozen backbone, efficientnet_lite2@352 or one named"
    }
}

BACKBONE = "efficientnet_lite2@352"

DIRECTIONS = 48
"""Number of random directions that features are projected to. It keeps distances, for Ward's criterion, to 15 %."""


class FeatureSegmenter(Segmenter):
    """Regions of similar features: cells of a network's last feature map, merged.

    1. Every cell of the map starts as a region. Each pixel belongs to one cell.
    2. :func:`~gshn.segments.superpixels.ward_merge` joins touching regions of similar features until ``count`` remain.
       Features are projected to :data:`DIRECTIONS` random ones first (Johnson and Lindenstrauss, 1984).

    A network that was trained on things tells a dog from grass of the same colour. Superpixels cannot. Outlines are as
    coarse as the map's cells. Every segment is connected by sides and of category :data:`REGION`; every pixel
    belongs to one.

    Args:
        backbone: The network, whose last map is used.
        count: Number of segments, > 0. There are fewer if the map has fewer cells.
    """

    categories: Sequence[Category] = (REGION,)

    def __init__(self, backbone: FrozenBackbone, count: int) -> None:
        self.backbone, self.count = backbone, count

    def __repr__(self) -> str:
        return f"FeatureSegmenter({self.backbone.name}, count={self.count})"

    @property
    def key(self) -> str:
        """See :class:`~gshn.segments.panoptic.Segmenter`."""
        return f"features {self.backbone.key} count={self.count}"

    def __call__(self, image: NDArray[np.uint8], annotation: PanopticSegments | None = None) -> PanopticSegments:
        """Segment an RGB image.

        Args:
            image: Shape (H, W, 3), uint8.
            annotation: Not used.

        Raises:
            DataError: the image is too small for the network.
        """
        return self.batch([image], [annotation])[0]

    @torch.no_grad()
    def batch(
        self, images: Sequence[NDArray[np.uint8]], annotations: Sequence[PanopticSegments | None]
    ) -> list[PanopticSegments]:
        """Segment images of one size; see :meth:`__call__`."""
        pixels = torch.from_numpy(np.stack(images)).movedim(3, 1).to(self.backbone.device)
        maps = self.backbone(pixels)[-1]
        generator = np.random.default_rng(0)
        directions = generator.standard_normal((maps.shape[1], DIRECTIONS)) / np.sqrt(DIRECTIONS)
        return [self._segments(m.movedim(0, 2).cpu().numpy() @ directions, pixels.shape[2:]) for m in maps]

    def _segments(self, cells: NDArray[np.float64], size: Sequence[int]) -> PanopticSegments:
        """Segments of an image of H x W pixels, from its cells' projected features, shape (rows, columns, C)."""
        rows, columns = cells.shape[:2]
        regions = ward_merge(np.arange(1, rows * columns + 1).reshape(rows, columns), cells, self.count)
        row, column = (np.arange(pixels) * cells // pixels for pixels, cells in zip(size, (rows, columns), strict=True))
        labels = regions[row[:, None], column]
        return segments_from_map(labels, dict.fromkeys(np.unique(labels).tolist(), REGION.id))


def make(name: str, settings: SegmenterSettings) -> FeatureSegmenter:
    """See :mod:`gshn.segments`.

    Raises:
        ConfigError: the number of segments is missing, or the backbone is unknown, trainable or not installed.
    """
    if settings.count is None:
        raise ConfigError(f"segmenter {name} needs a number of segments, such as data.pairs.segments=6")
    named = name.partition(":")[2] or BACKBONE
    backbone = make_backbone(named)
    if not isinstance(backbone, FrozenBackbone):
        raise ConfigError(f"segmenter {name}: {named} is trained with the model; name a pretrained one")
    return FeatureSegmenter(backbone.to("cuda" if torch.cuda.is_available() else "cpu"), settings.count)
