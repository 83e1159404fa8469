"""Images in a fixed order, with what is annotated about them: the interface that every data set offers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gshn.segments.panoptic import Category, PanopticSegments


@dataclass(frozen=True)
class ImageSample:
    """One image.

    Attributes:
        name: Names the image in error messages (a file name, or collection and index).
        image: RGB, shape (H, W, 3), uint8.
        panoptic: Annotated segments, or None.
    """

    name: str
    image: NDArray[np.uint8]
    panoptic: PanopticSegments | None = None


class ImageCollection(Protocol):
    """A sequence of images, read or drawn one at a time."""

    @property
    def categories(self) -> Sequence[Category]:
        """Vocabulary of the annotated segments; empty where nothing is annotated."""
        ...

    @property
    def key(self) -> str:
        """What shapes images and annotation, their files' content apart, as a string: part of the graph cache's key."""
        ...

    def __len__(self) -> int: ...

    def files(self, index: int) -> Sequence[Path]:
        """Files that image ``index`` and its annotation are read from; none where it is drawn."""
        ...

    def __getitem__(self, index: int) -> ImageSample:
        """Read or draw image ``index``.

        Raises:
            DataError: the image is missing or broken; the message names it.
        """
        ...
