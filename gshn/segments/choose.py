"""The segmenters by name."""

from __future__ import annotations

from collections.abc import Sequence

from gshn.registry import SEGMENTERS
from gshn.segments.panoptic import Category, Segmenter, SegmenterSettings


def make_segmenter(
    name: str,
    weights: str | None = None,
    categories: Sequence[Category] = (),
    count: int | None = None,
    fill: bool = True,
) -> Segmenter:
    """A segmenter.

    Args:
        name: One of :data:`gshn.registry.SEGMENTERS`, with what follows its colon.
        weights, categories, count, fill: See :class:`~gshn.segments.panoptic.SegmenterSettings`.

    Raises:
        ConfigError: no such segmenter, or it lacks what it needs.
        DataError: its weights cannot be used.
    """
    make = SEGMENTERS.function(name)
    segmenter: Segmenter = make(name, SegmenterSettings(weights, categories, count, fill))
    return segmenter
