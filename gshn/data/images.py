"""Images in a fixed order, with annotations and texts: the interface of all data sets."""

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
        name: Name of the image, for messages: a file name, or collection and index.
        image: RGB, shape (H, W, 3), uint8.
        panoptic: Annotated segments, or None.
    """

    name: str
    image: NDArray[np.uint8]
    panoptic: PanopticSegments | None = None


@dataclass(frozen=True)
class DatasetSettings:
    """Settings of a data set in the configuration, besides its name.

    Attributes:
        split: ``train``, ``val``, ``test``, or another split of the data set.
        image_size: Longest side, pixels; larger images are scaled down to it.
        limit: Keep this many images, the first, with their texts; None: all.
        upright: Whether images and their segments are turned by EXIF, see :class:`~gshn.data.image_files.ImageFiles`.
        file: How the FILE of ``captions:FILE`` is read.
        photographs: Folder of the images of ``snli-ve:DIR``; None if they are in DIR.
    """

    split: str
    image_size: int = 224
    limit: int | None = None
    upright: bool = True
    file: CaptionFile | None = None
    photographs: Path | None = None


class ImageCollection(Protocol):
    """A sequence of images, read or drawn one at a time.

    Its texts are in some of the attributes ``captions`` (a list for each image), ``questions``, ``hypotheses`` and
    ``statements`` (:mod:`gshn.data.texts`). Other optional attributes:

    - ``packaged = True``: the images are part of an installed package, so a broken image is a broken installation.
    - ``answer_lists = True``: answers are lists whose order does not count (:mod:`gshn.data.daquar`).
    - ``answers()``: all answers to its questions.
    """

    @property
    def categories(self) -> Sequence[Category]:
        """Vocabulary of the annotated segments; empty where nothing is annotated."""
        ...

    @property
    def key(self) -> str:
        """All that determines images and annotations, except the content of files, as text: part of the graph cache's
        key."""
        ...

    def __len__(self) -> int: ...

    def files(self, index: int) -> Sequence[Path]:
        """Files of image ``index`` and its annotation; empty for a drawn image."""
        ...

    def __getitem__(self, index: int) -> ImageSample:
        """Read or draw image ``index``.

        Raises:
            DataError: the image is missing or broken; the message names it.
        """
        ...
