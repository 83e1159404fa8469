"""The segmenters by name."""

from __future__ import annotations

from collections.abc import Sequence

from gshn.config import SEGMENTERS
from gshn.errors import ConfigError
from gshn.segments.ground_truth import GroundTruthSegmenter
from gshn.segments.panoptic import Category, Segmenter
from gshn.segments.superpixels import SuperpixelSegmenter


def make_segmenter(
    name: str,
    weights: str | None = None,
    categories: Sequence[Category] = (),
    count: int | None = None,
    fill: bool = True,
) -> Segmenter:
    """A segmenter.

    Args:
        name: One of :data:`gshn.config.SEGMENTERS`.
        weights: Of a learned segmenter: see :class:`~gshn.segments.universal.UniversalSegmenter`,
            :class:`~gshn.segments.semantic.SemanticSegmenter` and
            :class:`~gshn.segments.detectron2.Detectron2Segmenter`.
        categories: Vocabulary of the ground truth.
        count: Number of superpixels, of ``superpixels`` and ``semantic``.
        fill: Whether superpixels fill the background, of ``semantic``.

    Raises:
        ConfigError: no such segmenter, or it lacks what it needs.
        DataError: its weights cannot be used.
    """
    if name == "ground-truth":
        if not categories:
            raise ConfigError(
                f"there is no panoptic annotation to take as ground truth; choose one of {', '.join(SEGMENTERS[1:])}"
            )
        return GroundTruthSegmenter(categories)
    if name == "superpixels":
        return SuperpixelSegmenter(count=count)
    if name == "mask2former":
        if weights is None:
            raise ConfigError(
                "segmenter mask2former needs weights: a folder (gshn.segment --fit shapescenes makes one), or a name "
                "on the hub"
            )
        from gshn.segments.universal import UniversalSegmenter  # late: transformers takes seconds to import

        return UniversalSegmenter(weights)
    if name == "semantic":
        if weights is None:
            raise ConfigError("segmenter semantic needs weights: a folder, or a name on the hub")
        from gshn.segments.semantic import SemanticSegmenter  # late: as above

        return SemanticSegmenter(weights, count, fill)
    if name == "detectron2":
        from gshn.segments.detectron2 import Detectron2Segmenter  # late: PyTorch does too

        return Detectron2Segmenter(weights)
    raise ConfigError(f"there is no segmenter '{name}'; choose one of {', '.join(SEGMENTERS)}")
