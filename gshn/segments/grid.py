"""Patches on a grid instead of segments: the representation that vision transformers use, as a baseline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gshn.segments.panoptic import Category, PanopticSegments, Segmenter, segments_from_map
from gshn.segments.superpixels import REGION


class GridSegmenter(Segmenter):
    """Cut an image into ``side`` x ``side`` patches of nearly equal size, of category :data:`REGION`.

    Args:
        side: Patches along each axis. An axis with fewer pixels gets one patch for each pixel.
    """

    categories: Sequence[Category] = (REGION,)

    def __init__(self, side: int) -> None:
        self.side = side

    def __repr__(self) -> str:
        return f"GridSegmenter({self.side})"

    @property
    def key(self) -> str:
        """See :class:`~gshn.segments.panoptic.Segmenter`."""
        return repr(self)

    def __call__(self, image: NDArray[np.uint8], annotation: PanopticSegments | None = None) -> PanopticSegments:
        """Cut an image of shape (H, W, 3) into patches. Neither its content nor ``annotation`` matters."""
        row, column = (np.arange(size) * min(self.side, size) // size for size in image.shape[:2])
        patches = 1 + row[:, None] * self.side + column
        return segments_from_map(patches, dict.fromkeys(np.unique(patches).tolist(), REGION.id))
