"""Make a segmenter by its name."""

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
    """Make a segmenter.

    Args:
        name: One of :data:`gshn.registry.SEGMENTERS`, with its argument after a colon, if it takes one.
        weights, categories, count, fill: See :class:`~gshn.segments.panoptic.SegmenterSettings`.

    Raises:
        ConfigError: there is no such segmenter, or a setting that it needs is missing.
        DataError: its weights cannot be used.
    """
    make = SEGMENTERS.function(name)
    segmenter: Segmenter = make(name, SegmenterSettings(weights, categories, count, fill))
    return segmenter
