"""The user's own captions: a table (CSV, TSV) or JSON lines, with a folder of images."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gshn.config import CaptionFile
from gshn.data.captions import CaptionedFiles, joined
from gshn.data.image_files import OwnImages, as_text, check_split, read_text
from gshn.data.images import DatasetSettings
from gshn.errors import DataError, MissingError
from neuromorphic.errors import counted

KINDS = {"captions:FILE": {"help": "photographs of one's own, with a table of captions"}}

IMAGE_COLUMNS = ("image", "image_name", "image_path", "file", "filename", "file_name", "filepath", "path", "photo")
CAPTION_COLUMNS = ("caption", "captions", "text", "sentence", "description", "comment", "title")
SPLIT_COLUMN = "split"
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Values of a column of splits."""
SHARES = (0.8, 0.1, 0.1)
"""Shares of train, val and test, where neither the configuration nor the file defines the splits."""
DELIMITERS = ",\t;|"


class OwnCaptions(CaptionedFiles):
    """A split of a file with a column of images and a column of captions.

    The captions of several rows of one image are joined; JSON lines may have a list of captions. An image belongs to
    one split: that in a column, or one derived from its name (:func:`split_by_share`).
    """

    def __init__(
        self, file: Path, split: str, image_size: int = 224, limit: int | None = None, form: CaptionFile | None = None
    ) -> None:
        """Read a split.

        Args:
            file: The file.
            split: ``train``, ``val`` or ``test``.
            image_size: Longest side, pixels.
            limit: Keep this many images, the first.
            form: Its columns, folder of images, and splits.

        Raises:
            ConfigError: no such split.
            DataError: the file is missing or broken, or lacks a column.
            MissingError: no image is in the split.
        """
        form = form or CaptionFile()
        source = OwnImages(f"captions {file.name}", "")
        check_split(source, split)
        shares = form.shares
        column = form.split if shares is None else None
        rows = read_rows(file, form.image_column, form.caption_column, column, any_split=form.split is None)
        captions = joined((Path(row.image), row.captions) for row in rows)
        if rows and rows[0].split:
            split_of = _splits(file, rows)
        else:
            split_of = split_by_share(list(map(str, captions)), shares or SHARES, str(file))
        if not (chosen := [image for image in captions if split_of[str(image)] == split]):
            counts = ", ".join(f"{list(split_of.values()).count(name)} in {name}" for name in ("train", "val", "test"))
            raise MissingError(
                f"{file} has no image in {split} ({counts}); choose another split, or data.pairs.file.split"
            )
        folder = file.parent if form.folder is None else Path(form.folder)
        here = {folder / image: captions[image] for image in chosen}
        super().__init__(source, split, file, here, "data.pairs.file.folder=DIR", image_size, limit)


@dataclass(frozen=True)
class Row:
    """A row of the file.

    Attributes:
        line: Its line number, counted from 1.
        image: Path of the image, without ``./`` and with forward slashes.
        captions: One caption; in JSON lines, one or more.
        split: Value of the column of splits; empty without such a column.
    """

    line: int
    image: str
    captions: list[str]
    split: str


def read_rows(
    path: Path,
    image_column: str | None = None,
    caption_column: str | None = None,
    split_column: str | None = None,
    any_split: bool = False,
) -> list[Row]:
    """Read the rows of a table or of JSON lines.

    The first line of a table names its columns. Commas, tabs, semicolons or bars separate them, as in the first line.
    Columns whose names are not given are found by :data:`IMAGE_COLUMNS` and :data:`CAPTION_COLUMNS`.

    Args:
        path: The file.
        image_column: Column of the images.
        caption_column: Column of the captions.
        split_column: Column of the splits.
        any_split: Whether a column named ``split`` is used, if there is one.

    Raises:
        DataError: the file is missing or broken, a column is missing or ambiguous, or a row does not fit the columns.
    """
    text = read_text(path)
    if not text.strip():
        raise DataError(f"{path} is empty")
    start = text.lstrip()[0]
    if start == "[":
        raise DataError(f"{path} is one JSON list; write JSON lines, an object a line, or a table")
    names, records = _json_lines(path, text) if start == "{" else _table(path, text, image_column, caption_column)
    image = _column(path, names, image_column, IMAGE_COLUMNS, "image")
    caption = _column(path, names, caption_column, CAPTION_COLUMNS, "caption")
    if split_column is None and any_split and SPLIT_COLUMN in map(str.lower, names):
        split_column = SPLIT_COLUMN
    split = None if split_column is None else _column(path, names, split_column, (), "split")
    rows = []
    for line, record in records:
        try:
            texts = record[caption]
            rows.append(
                Row(
                    line,
                    _image(as_text(record[image])),
                    [as_text(text) for text in (texts if isinstance(texts, list) else [texts])],
                    "" if split is None else as_text(record[split]),
                )
            )
        except KeyError as error:
            raise DataError(f"{path}: line {line} has no {error}") from None
        except (TypeError, ValueError) as error:
            raise DataError(f"{path}: line {line} is not as it should be ({error!s:.200})") from None
    return rows


def _image(name: str) -> str:
    if not name:
        raise ValueError("it names no image")
    return os.path.normpath(name.replace("\\", "/"))  # from Windows


Records = Iterator[tuple[int, dict[str, Any]]]
"""Line number and content of each row."""


def _json_lines(path: Path, text: str) -> tuple[list[str], Records]:
    def records() -> Records:
        for number, line in enumerate(text.split("\n"), start=1):
            if line.strip():
                try:
                    record = json.loads(line)
                except (json.JSONDecodeError, RecursionError) as error:
                    raise DataError(f"{path}: line {number} is not a complete JSON object ({error})") from None
                if not isinstance(record, dict):
                    raise DataError(f"{path}: line {number} is not a JSON object")
                yield number, record

    return list(next(records())[1]), records()


def _table(path: Path, text: str, image: str | None, caption: str | None) -> tuple[list[str], Records]:
    def rows(delimiter: str) -> Iterator[tuple[int, list[str]]]:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True, skipinitialspace=True)
        end = 0
        try:
            for row in reader:
                fields = [field.strip() for field in row]
                if any(fields):
                    yield end + 1, fields
                end = reader.line_num
        except csv.Error as error:
            raise DataError(
                f"{path}: the row at line {end + 1} cannot be read ({error}); quote a field that has a quote or a "
                "separator in it, and double the quotes in it"
            ) from None

    def header(delimiter: str) -> list[str]:
        try:
            return next(rows(delimiter), (0, []))[1]
        except DataError:
            return []

    def fits(names: list[str]) -> int:
        lower = [name.lower() for name in names]
        return sum(
            given.lower() in lower if given is not None else any(name in usual for name in lower)
            for given, usual in ((image, IMAGE_COLUMNS), (caption, CAPTION_COLUMNS))
        )

    delimiter = max(DELIMITERS, key=lambda mark: (fits(names := header(mark)), len(names)))
    names = header(delimiter)

    def records() -> Records:
        for line, fields in list(rows(delimiter))[1:]:
            if len(fields) != len(names):
                raise DataError(
                    f"{path}: line {line} has {counted(len(fields), 'column')}, the first line {len(names)}; quote a "
                    f"text that has {delimiter!r} in it"
                )
            yield line, dict(zip(names, fields, strict=True))

    return names, records()


def _column(path: Path, names: Sequence[str], given: str | None, usual: Sequence[str], what: str) -> str:
    """The name of a column."""
    known = [given.lower()] if given is not None else usual
    found = [name for name in names if name.lower() in known]
    if len(found) == 1:
        return found[0]
    columns = ", ".join(repr(name[:30]) for name in names[:20])
    mend = f"name the column of its {what}s: data.pairs.file.{'split' if what == 'split' else f'{what}_column'}=NAME"
    if found:
        raise DataError(f"{path}: {' and '.join(map(repr, found))} could each be the {what}; {mend}")
    which = repr(given) if given is not None else f"of {what}s (such as {usual[0]!r})"
    raise DataError(f"{path} has no column {which}: its first line has {columns}; {mend}")


def _splits(path: Path, rows: Iterable[Row]) -> dict[str, str]:
    """Split of every image, from a column."""
    found: dict[str, str] = {}
    for row in rows:
        split = SPLIT_NAMES.get(row.split.lower())
        if split is None:
            raise DataError(
                f"{path}: line {row.line} has the split {row.split!r:.40}, which is none of train, val and test"
            )
        if found.setdefault(row.image, split) != split:
            raise DataError(
                f"{path}: line {row.line} puts {row.image} in {split}, another line in {found[row.image]}; an image "
                "belongs to one split"
            )
    return found


def split_by_share(
    images: Sequence[str], shares: Sequence[float], path: str, mend: str = "see data.pairs.file.split"
) -> dict[str, str]:
    """Assign each image to a split by a digest of its name.

    The digest is a number in [0, 1). An image is in train if it is below the first share, in val if it is below the sum
    of the first two, and else in test. So an image keeps its split if the order changes or images are added. If there
    are so few images that a split would be empty, the image nearest to its interval moves there.

    Args:
        images: Names, each once.
        shares: Shares of train, val and test, which sum to 1.
        path: Their file, for the error message.
        mend: Advice for the error message.

    Raises:
        DataError: there are fewer images than splits.
    """
    if len(images) < (wanted := sum(share > 0 for share in shares)):
        raise DataError(f"{path} has {counted(len(images), 'image')}, too few for {wanted} splits; {mend}")

    def place(image: str) -> float:
        digest = hashlib.blake2b(image.encode(), digest_size=8)
        return int.from_bytes(digest.digest()) / 2**64

    ordered = sorted(images, key=lambda image: (place(image), image))
    first, second, third = (int(share > 0) for share in shares)
    val = sum(place(image) < shares[0] for image in images)
    test = sum(place(image) < 1 - shares[2] for image in images)
    test = min(test, len(images) - third)
    val = max(min(val, test - second), first)
    test = max(test, val + second)
    return {image: "train" if index < val else "val" if index < test else "test" for index, image in enumerate(ordered)}


def make(name: str, settings: DatasetSettings) -> OwnCaptions:
    """See :mod:`gshn.data`."""
    file = Path(name.partition(":")[2])
    return OwnCaptions(file, settings.split, settings.image_size, settings.limit, settings.file)
