"""DAQUAR (Malinowski and Fritz, arXiv:1410.0210): questions on the photographs of NYU Depth v2, answered by lists."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np

from gshn.data.caption_file import split_by_share
from gshn.data.files import opened
from gshn.data.image_files import (
    ImageFiles,
    Source,
    as_text,
    check_split,
    each,
    first_existing,
    folder_of,
    present,
    read_json_lines,
    read_lines,
)
from gshn.data.images import DatasetSettings, ImageSample
from gshn.data.texts import Question
from gshn.errors import DataError, MissingError, tell
from gshn.segments.labels import MIN_AREA, divided
from gshn.segments.panoptic import Category, PanopticSegments, resize, segments_from_map

KINDS = {"daquar:DIR": {"help": "DAQUAR, questions"}}

SOURCE = Source("DAQUAR", "the Visual Turing Challenge of the Max Planck Institute for Informatics")
FORMS = ("qa.894.raw.{}.txt", "qa.37.raw.{}.txt", "qa_{}.jsonl")
"""Names of the files with questions: all classes of things, the reduced set of 37 classes, JSON lines."""
HELD_OUT = 0.1
"""Share of the training images that are ``val``, where no file defines it."""

_IMAGE = re.compile(r"image\d+")
# The few slips of the pen ("in th eimage999 ?") are those of the official files.
_AT_END = re.compile(r"(?:\s*\b(?:in|on|of))?(?:\s*\b(?:the|this|th e))?\s*image\d+\s*\?*$")

LABELS = "labels13"
"""Folder of the maps of labels."""
_NAMES = (
    *("bed", "books", "ceiling", "chair", "floor", "furniture", "objects"),
    *("painting", "sofa", "table", "TV", "wall", "window"),
)
_STUFF = ("ceiling", "floor", "wall")
CLASSES = tuple(Category(id_, name, name not in _STUFF) for id_, name in enumerate(_NAMES, start=1))
"""The 13 classes of NYU Depth v2 (Couprie et al., arXiv:1301.3572). Ceiling, floor and wall are stuff."""

Row = tuple[str, str, list[str]]
"""Name of the image without suffix, question, answers."""


class DAQUAR(ImageFiles):
    """A split of DAQUAR, in one of three forms.

    - ``qa.894.raw.train.txt`` and ``qa.894.raw.test.txt``, the official files: a line with a question that ends in
      ``in the image3 ?``, then a line with its answers, separated by commas.
    - The reduced ``qa.37.raw.*.txt``, in the same format.
    - ``qa_train.jsonl`` and ``qa_test.jsonl``, with ``image``, ``question`` and a list of ``answers``.

    Images are ``image3.png`` or ``image3.jpg``, in ``nyu_depth_images`` or ``images``. Where there is a folder
    ``labels13``, its ``image3.png`` has the label of every pixel of that image, one of NYU Depth v2's 13 classes
    (:data:`CLASSES`), 0 where there is none. Components of things and whole stuffs are the annotated segments
    (:func:`gshn.segments.labels.divided`).

    The official split is of images, and has no ``val``. If there is no file for ``val``, it is about :data:`HELD_OUT`
    of the training images, by a digest of their names (:func:`~gshn.data.caption_file.split_by_share`), and ``train``
    is the others. The number of an image is left out of the questions, because it says nothing about the image.

    Attributes:
        questions: The questions on the split's images. ``answers`` is one text: the list in alphabetical order, joined
            by commas (:func:`items` splits it). So a classifier can treat a list like any other answer.
            ``id`` is the question's number in its file, counted from 1.
    """

    answer_lists = True

    def __init__(self, root: Path, split: str, image_size: int = 224, limit: int | None = None) -> None:
        """Read a split.

        Raises:
            ConfigError: no such split.
            DataError: a file is missing or broken.
        """
        check_split(SOURCE, split)
        forms = [form for form in FORMS if any((root / form.format(name)).is_file() for name in ("train", "test"))]
        if not forms:
            names = ", ".join(form.format("train") for form in FORMS)
            raise MissingError(f"{root} has none of {names}; DAQUAR has the first, from {SOURCE.site}")
        if len(forms) > 1:
            used, *others = (form.format("*") for form in forms)
            tell(f"{root} has {used} and {' and '.join(others)}; {used} is read: move away what is not wanted")
        own = root / forms[0].format("val")
        part = "val" if split == "val" and own.is_file() else "test" if split == "test" else "train"
        path = root / forms[0].format(part)
        rows = list(enumerate(_json_rows(path) if path.suffix == ".jsonl" else _text_rows(path), start=1))
        if split != "test" and not own.is_file():
            images = list(dict.fromkeys(image for _, (image, _, _) in rows))
            split_of = split_by_share(images, (1 - HELD_OUT, HELD_OUT, 0), str(path), f"make a file {own.name}")
            rows = [(number, row) for number, row in rows if split_of[row[0]] == split]
        folder = first_existing(root / name for name in ("nyu_depth_images", "images")) or root / "nyu_depth_images"
        path_of = _image_paths(folder, list(dict.fromkeys(image for _, (image, _, _) in rows)))
        there = present(path, list(path_of.values()), SOURCE, "nyu_depth_images.tar")
        kept = [name for name, found in zip(path_of, there, strict=True) if found][:limit]
        super().__init__(f"{SOURCE.name} {forms[0].format(split)}", [path_of[name] for name in kept], image_size)
        position = {name: index for index, name in enumerate(kept)}
        labels = root / LABELS
        self._labels = labels if labels.is_dir() else None
        if self._labels is not None:
            self.categories = CLASSES
        self.questions = [
            Question(text, (", ".join(sorted(answers)),), position[image], str(number))
            for number, (image, text, answers) in rows
            if image in position
        ]

    def __getitem__(self, index: int) -> ImageSample:
        """Read image ``index``, with its segments where it is annotated.

        Raises:
            DataError: the image or its map of labels is broken, or they have different shapes.
        """
        sample = super().__getitem__(index)
        path = self._labels_of(index)
        if path is None:
            return sample
        return ImageSample(sample.name, sample.image, _segments(path, *sample.image.shape[:2]))

    def files(self, index: int) -> Sequence[Path]:
        """The image and, where it is annotated, its map of labels."""
        path = self._labels_of(index)
        return (self.paths[index], *(() if path is None else (path,)))

    @property
    def key(self) -> str:
        """Key of images and segments: see :class:`gshn.data.images.ImageCollection`."""
        return super().key + (f" {LABELS} {MIN_AREA}" if self._labels is not None else "")

    def _labels_of(self, index: int) -> Path | None:
        """The map of labels of image ``index``; None where it has none."""
        if self._labels is None:
            return None
        path = self._labels / f"{self.paths[index].stem}.png"
        return path if path.is_file() else None


def _segments(path: Path, height: int, width: int) -> PanopticSegments:
    """Segments of a map of labels, scaled to the size of its image."""
    with opened(path) as file:
        labels = np.asarray(file)
    if labels.ndim != 2 or labels.max() > len(CLASSES):
        raise DataError(f"{path} is no map of the labels 0 to {len(CLASSES)}, one channel; get it again")
    if not 0.95 < labels.shape[0] * width / (labels.shape[1] * height) < 1.05:  # NYU's frame is 640 x 480, or 561 x 427
        shape = f"{labels.shape[1]} x {labels.shape[0]}"
        raise DataError(f"{path} is {shape} pixels, another shape than its image, {width} x {height}; get it again")
    segment_map, label_of = divided(labels, [c.id for c in CLASSES if c.isthing], [0])
    return resize(segments_from_map(segment_map, label_of), height, width)


def items(answer: str) -> list[str]:
    """The items of a list of answers, without white space around them, as in the official evaluation."""
    return [item.strip() for item in answer.split(",") if item.strip()]


def _text_rows(path: Path) -> list[Row]:
    lines = read_lines(path, SOURCE, path.name)
    rows = []
    for (number, question), (_, answer) in zip_longest(lines[::2], lines[1::2], fillvalue=(0, "?")):
        images = _IMAGE.findall(question)
        if not images:
            raise DataError(
                f"{path}: line {number} should be a question on an image, such as image3: {question[:60]!r}"
            )
        found = items(answer)
        if "?" in answer or not found:
            raise DataError(
                f"{path}: the question on line {number} has no line of answers after it; get the file again"
            )
        rows.append((images[-1], _asked(question), found))
    return rows


def _json_rows(path: Path) -> list[Row]:
    def convert(entry: dict[str, object]) -> Row:
        answers = entry["answers"]
        if not isinstance(answers, list) or not (found := [i for a in answers for i in items(as_text(a))]):
            raise ValueError("answers is not a list of words")
        return Path(as_text(entry["image"])).stem, _asked(as_text(entry["question"])), found

    return each(path, "line", read_json_lines(path, SOURCE, FORMS[0].format("train")), convert)


def _asked(question: str) -> str:
    """A question without the number of its image: what says which image is left out at the end, and kept elsewhere."""
    return _IMAGE.sub("image", _AT_END.sub("", question.strip())).rstrip("? ")


def _image_paths(folder: Path, names: list[str]) -> dict[str, Path]:
    listing = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    files = {name: [f"{name}.png", f"{name}.jpg", f"{name}.jpeg"] for name in names}
    return {name: folder / next((f for f in found if f in listing), found[0]) for name, found in files.items()}


def make(name: str, settings: DatasetSettings) -> DAQUAR:
    """See :mod:`gshn.data`."""
    folder = folder_of(SOURCE, name)
    return DAQUAR(folder, settings.split, settings.image_size, settings.limit)
