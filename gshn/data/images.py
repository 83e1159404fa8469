"""Images in a fixed order, with what is annotated about them: the interface that every data set offers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gshn.config import CaptionFile
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


@dataclass(frozen=True)
class DatasetSettings:
    """What the configuration says of a data set, beside its name.

    Attributes:
        split: ``train``, ``val`` or ``test``, or another that the data set has.
        image_size: Longest side, pixels; larger images are scaled down to it.
        limit: Keep this many images, the first, with their texts; None: all.
        upright: Images and their segments are turned as EXIF says: see :class:`~gshn.data.image_files.ImageFiles`.
        file: How the FILE of ``captions:FILE`` is read.
        photographs: Folder of the images of ``snli-ve:DIR``, where they are not in DIR.
    """

    split: str
    image_size: int = 224
    limit: int | None = None
    upright: bool = True
    file: CaptionFile | None = None
    photographs: Path | None = None


class ImageCollection(Protocol):
    """A sequence of images, read or drawn one at a time.

    It carries texts in some of the attributes ``captions`` (a list for each image), ``questions``, ``hypotheses`` and
    ``statements`` (:mod:`gshn.data.texts`). And it may say ``packaged = True``, where a broken image is a broken
    installation; ``answer_lists = True``, where answers are lists whose order does not count (:mod:`gshn.data.daquar`);
    and by a method ``answers()`` what its questions can be answered with.
    """

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
