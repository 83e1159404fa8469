"""Segments as annotated: the panoptic annotation takes the place of a segmentation network."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gshn.errors import ConfigError, DataError
from gshn.registry import SEGMENTERS
from gshn.segments.panoptic import Category, PanopticSegments, Segmenter, SegmenterSettings

KINDS = {"ground-truth": {"help": "the annotation"}}


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


def make(name: str, settings: SegmenterSettings) -> GroundTruthSegmenter:
    """See :mod:`gshn.segments`.

    Raises:
        ConfigError: the data set has no annotated segments.
    """
    if not settings.categories:
        others = ", ".join(other for other in SEGMENTERS if other != name)
        raise ConfigError(f"there is no panoptic annotation to take as ground truth; choose one of {others}")
    return GroundTruthSegmenter(settings.categories)
