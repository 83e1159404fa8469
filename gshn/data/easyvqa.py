"""easy-VQA: 64 x 64 pictures of one coloured shape, with questions; the PyPI package ``easy-vqa`` carries the data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import easy_vqa

from gshn.data.files import read_image
from gshn.data.images import DatasetSettings, ImageSample
from gshn.data.texts import Question
from gshn.errors import ConfigError, DataError, MissingError
from gshn.segments.panoptic import Category

KINDS = {"easyvqa": {"help": "easy-VQA, questions on coloured shapes, from its package"}}

_READERS = {
    "train": (easy_vqa.get_train_image_paths, easy_vqa.get_train_questions),
    "test": (easy_vqa.get_test_image_paths, easy_vqa.get_test_questions),
}


class EasyVQA:
    """One split of easy-VQA, an :class:`gshn.data.images.ImageCollection` without annotated segments.

    Attributes:
        questions: The questions on the split's images.
        paths: The images' files.
    """

    categories: tuple[Category, ...] = ()
    packaged = True

    def __init__(self, split: str, limit: int | None = None):
        """Read a split.

        Args:
            split: ``train`` (4,000 images) or ``test`` (1,000).
            limit: Keep this many images, the first, and their questions.

        Raises:
            MissingError: no such split.
            ConfigError: the limit is not positive.
            DataError: the package's files are incomplete.
        """
        if split not in _READERS:
            raise MissingError(f"easy-VQA has no split '{split}'; choose one of {', '.join(_READERS)}")
        if limit is not None and limit < 1:
            raise ConfigError(f"easy-VQA's limit is {limit}: must be at least 1")
        read_paths, read_questions = _READERS[split]
        try:
            paths, asked = read_paths(), list(zip(*read_questions(), strict=True))
        except (OSError, ValueError) as error:  # a cut JSON file is a ValueError
            raise DataError(f"easy-VQA's {split} files are incomplete ({error}); reinstall easy-vqa") from None
        # The package lists the files that are there. Every image has questions: they tell which files should be.
        numbers = sorted({number for _, _, number in asked})[:limit]
        if missing := [number for number in numbers if number not in paths]:
            raise DataError(f"easy-VQA's {split} image {missing[0]}.png is missing; reinstall easy-vqa")
        self.paths = [Path(paths[number]) for number in numbers]
        position = {number: index for index, number in enumerate(numbers)}
        self.questions = [
            Question(text, (answer,), position[number]) for text, answer, number in asked if number in position
        ]
        self.key = f"easy-vqa 1.0 {split}"

    def __repr__(self) -> str:
        return f"EasyVQA({self.key}: {len(self)} images, {len(self.questions)} questions)"

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> ImageSample:
        """Read image ``index``.

        Raises:
            DataError: the file is missing or broken.
        """
        path = self.paths[index]
        return ImageSample(str(path), read_image(path))

    def files(self, index: int) -> Sequence[Path]:
        """See :class:`gshn.data.images.ImageCollection`."""
        return (self.paths[index],)

    @staticmethod
    def answers() -> list[str]:
        """All answers, sorted."""
        return sorted(easy_vqa.get_answers())


def make(name: str, settings: DatasetSettings) -> EasyVQA:
    """See :mod:`gshn.data`."""
    return EasyVQA(settings.split, settings.limit)
