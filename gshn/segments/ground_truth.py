"""Segments as annotated: panoptic annotation stands in for a panoptic segmentation network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gshn.errors import DataError
from gshn.segments.panoptic import Category, PanopticSegments, Segmenter


class GroundTruthSegmenter(Segmenter):
    """Returns the annotation.

    Args:
        categories: Vocabulary of the annotation.
    """

    def __init__(self, categories: Sequence[Category]) -> None:
        self.categories = tuple(categories)

    def __repr__(self) -> str:
        return f"GroundTruthSegmenter({len(self.categories)} categories)"

    @property
    def key(self) -> str:
        """See :class:`~gshn.segments.panoptic.Segmenter`; the annotation itself is in the collection's key."""
        return "ground-truth:" + ",".join(f"{c.id}={c.name}{'*' if c.isthing else ''}" for c in self.categories)

    def __call__(self, image: NDArray[np.uint8], annotation: PanopticSegments | None = None) -> PanopticSegments:
        """Return ``annotation``.

        Raises:
            DataError: there is no annotation.
        """
        if annotation is None:
            raise DataError("the image has no annotated segments; choose another segmenter")
        return annotation
