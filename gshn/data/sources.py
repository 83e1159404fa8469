"""The data sets by name, and their texts by image."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gshn.config import CaptionFile
from gshn.data.image_files import ImageFiles
from gshn.data.images import DatasetSettings, ImageCollection
from gshn.registry import DATASETS


def open_source(
    source: str,
    split: str,
    image_size: int = 224,
    limit: int | None = None,
    upright: bool = True,
    form: CaptionFile | None = None,
    photographs: Path | None = None,
) -> Any:
    """Open a split of a data set.

    Args:
        source: One of :data:`gshn.registry.DATASETS`, with its argument after a colon.
        split, image_size, limit, upright, photographs: See :class:`~gshn.data.images.DatasetSettings`.
        form: ``file`` of these settings.

    Returns:
        The :class:`~gshn.data.images.ImageCollection`.

    Raises:
        ConfigError: no such data set or split.
        DataError: a file is missing or broken.
    """
    make = DATASETS.function(source)
    images = make(source, DatasetSettings(split, image_size, limit, upright, form, photographs))
    if isinstance(images, ImageFiles):
        images.upright = upright
    return images


class Texts:
    """Image -> its texts, JSON-able: ``captions``, ``questions``, ``hypotheses`` or ``statements``.

    A statement is listed at its left image. ``image_indices`` count within the collection, as ``index`` in shards does.
    """

    def __init__(self, images: ImageCollection) -> None:
        self._captions = getattr(images, "captions", None)
        self._others: dict[str, dict[int, list[dict[str, Any]]]] = {}
        for name in ("questions", "hypotheses", "statements"):
            if hasattr(images, name):
                by_image = self._others[name] = defaultdict(list)
                for text in getattr(images, name):
                    index = text.image_indices[0] if name == "statements" else text.image_index
                    by_image[index].append(asdict(text))

    def __call__(self, index: int) -> dict[str, Any]:
        """Texts of image ``index``."""
        captions = {} if self._captions is None else {"captions": list(self._captions[index])}
        return captions | {name: by_image.get(index, []) for name, by_image in self._others.items()}
