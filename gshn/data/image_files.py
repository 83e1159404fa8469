"""Photographs in files, and what the loaders of the field's data sets share."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, TypeVar

from gshn.data.files import read_image
from gshn.data.images import ImageSample
from gshn.errors import ConfigError, DataError, MissingError, tell
from gshn.segments.panoptic import Category
from neuromorphic.errors import counted

SPLITS = ("train", "val", "test")

T = TypeVar("T")


@dataclass(frozen=True)
class Source:
    """Where a data set can be downloaded, for error messages.

    Attributes:
        name: The data set.
        site: Where its files are offered.
    """

    name: str
    site: str

    def missing(self, what: Path | str, archive: str) -> MissingError:
        """The error of a file or folder that is not there."""
        return MissingError(f"{what} is missing; {self.name} has it in {archive}, from {self.site}")


class OwnImages(Source):
    """The user's own images. There is no site from which a missing one can be downloaded."""

    def missing(self, what: Path | str, archive: str) -> MissingError:
        """The error of an image that is not there; ``archive`` is the key that names their folder."""
        return MissingError(f"{what} is missing; name the folder that the images' paths start from: {archive}")


class ImageFiles:
    """Images of files, an :class:`gshn.data.images.ImageCollection`.

    Args:
        name: Name of the data set and split.
        paths: The files.
        image_size: Longest side, pixels; larger images are scaled down to it.

    Attributes:
        upright: Images, and their annotated segments with them, are turned as the images' EXIF orientation says; else
            pixels are as stored.
    """

    categories: Sequence[Category] = ()
    upright = True

    def __init__(self, name: str, paths: Sequence[Path], image_size: int) -> None:
        self.name, self.paths, self.image_size = name, list(paths), image_size

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name}: {len(self)} images)"

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> ImageSample:
        """Read image ``index``.

        Raises:
            DataError: the file is broken.
        """
        path = self.paths[index]
        return ImageSample(str(path), read_image(path, self.image_size, self.upright))

    def files(self, index: int) -> Sequence[Path]:
        """See :class:`gshn.data.images.ImageCollection`."""
        return (self.paths[index],)

    @property
    def key(self) -> str:
        """Name, size, and a digest of the files' names. Their content is compared shard by shard."""
        digest = hashlib.blake2b(digest_size=16)
        for path in self.paths:
            digest.update(f"{path.name}\n".encode())
        stored = "" if self.upright else " as stored"
        return f"{self.name} size={self.image_size} files={digest.hexdigest()}{stored}"


def folder_of(source: Source, name: str) -> Path:
    """The DIR of ``NAME:DIR``.

    Raises:
        MissingError: it is not a folder.
    """
    folder = Path(name.partition(":")[2])
    if not folder.is_dir():
        raise source.missing(f"folder {folder}", "its official layout")
    return folder


def check_split(source: Source, split: str) -> None:
    """Check that a data set has a split.

    Raises:
        ConfigError: it is not one of :data:`SPLITS`.
    """
    if split not in SPLITS:
        raise ConfigError(f"{source.name} has no split '{split}'; choose one of {', '.join(SPLITS)}")


def first_existing(candidates: Iterable[Path]) -> Path | None:
    """The first path that exists."""
    return next((path for path in candidates if path.exists()), None)


def read_json(path: Path, source: Source, archive: str) -> Any:
    """Read a JSON file of a data set.

    Raises:
        DataError: it is missing, or not whole.
    """
    return _decode(path, read_text(path, source, archive))


def read_json_lines(path: Path, source: Source, archive: str) -> list[Any]:
    """Read a file with a JSON object on each line."""
    return [
        _decode(path, line, number)
        for number, line in enumerate(read_text(path, source, archive).split("\n"), start=1)
        if line.strip()
    ]


def read_lines(path: Path, source: Source, archive: str) -> list[tuple[int, str]]:
    """Read a text file's lines that are not empty, each with its number, counted from 1."""
    # Not splitlines: a caption may hold U+2028 and its like, which end no line of a file.
    lines = enumerate(read_text(path, source, archive).split("\n"), start=1)
    return [(number, line) for number, line in lines if line.strip()]


@dataclass(frozen=True)
class ImageNames:
    """A list of images.

    Attributes:
        path: The file that has it.
        names: Names or paths, with or without a suffix.
    """

    path: Path
    names: frozenset[str]

    @classmethod
    def read(cls, path: Path) -> ImageNames:
        """Read a text file with a name on each line.

        Raises:
            DataError: the file is missing or broken.
        """
        return cls(path, frozenset(line.strip() for line in read_text(path).split("\n") if line.strip()))

    def find(self, image: str) -> str | None:
        """The name that is the end of an image's path, suffix apart or not; None where the list has none."""
        path = PurePath(image)
        ends = (str(PurePath(*path.parts[start:])) for start in range(len(path.parts)))
        return next((name for end in ends for name in (end, end.removesuffix(path.suffix)) if name in self.names), None)

    def others(self, images: Sequence[str]) -> list[str]:
        """The images that are not in the list. A notice counts names of the list that match none of ``images``.

        Raises:
            DataError: all images are in the list.
        """
        found = {image: self.find(image) for image in images}
        if images and None not in found.values():
            raise DataError(f"{self.path} has all images ({len(images)}): none is left to train on")
        if unknown := sorted(self.names.difference(name for name in found.values() if name is not None)):
            of = f"of {counted(len(self.names), 'name')}"
            match = counted(len(unknown), f"{of} matches", f"{of} match")
            tell(f"{self.path}: {match} no training image, e.g. {unknown[0]}")
        return [image for image in images if found[image] is None]


BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


def read_text(path: Path, source: Source | None = None, archive: str = "") -> str:
    """Read a text file: UTF-8, UTF-16 with a byte order mark, or Windows' cp1252, which gives a warning.

    Args:
        path: The file.
        source: Its data set, for the error of a missing file; None for a file of the user's own.
        archive: See :meth:`Source.missing`.

    Returns:
        The text without byte order mark, its lines ended by ``\\n`` alone.

    Raises:
        DataError: the file is missing, or has none of these encodings.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise (DataError(f"{path} is missing") if source is None else source.missing(path, archive)) from None
    except (OSError, ValueError) as error:  # a name with a null character is a ValueError
        raise DataError(f"{path} cannot be read ({error}); get it again") from None
    encoding = next((name for mark, name in BYTE_ORDER_MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        text = _windows(path, data, error)
    if (at := text.find("\0")) >= 0:
        line = text.count("\n", 0, at) + 1
        raise DataError(f"{path} is not a text: line {line} has a null character; get it again")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _windows(path: Path, data: bytes, error: UnicodeDecodeError) -> str:
    """The text of a file that is not of the encoding it should be, where it is cp1252."""
    where = f"line {data.count(10, 0, error.start) + 1}"
    # Text that has characters of several bytes rightly is UTF-8 with a broken byte: as cp1252 all of it would be wrong.
    broken = error.encoding != "utf-8" or any(ord(c) > 127 for c in data.decode("utf-8", errors="ignore"))
    try:
        if broken:
            raise error
        text = data.decode("cp1252")
    except UnicodeDecodeError:
        raise DataError(
            f"{path} is broken at {where}: it is not {error.encoding.upper()} there; get it again, or save it as UTF-8"
        ) from None
    tell(f"{path} is not UTF-8 ({where}); it is read as cp1252, Windows' encoding: save it as UTF-8 if that is wrong")
    return text


HALF_CHARACTER = re.compile("[\ud800-\udfff]")


def as_text(value: Any) -> str:
    """A text without white space at its ends.

    Raises:
        TypeError: it is not a text, or contains half of a surrogate pair.
    """
    if not isinstance(value, str) or HALF_CHARACTER.search(value):
        raise TypeError(f"{value!r:.40} is not a text")
    return value.strip()


def _decode(path: Path, text: str, line: int | None = None) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise DataError(f"{path} is nested too deeply; is this the right file?") from None
    except json.JSONDecodeError as error:
        where = f"line {line or error.lineno}, column {error.colno}"
        raise DataError(
            f"{path} is not complete JSON ({error.msg} at {where}); it may be cut short: get it again"
        ) from None


def each(path: Path, key: str, entries: Any, convert: Callable[[Any], T]) -> list[T]:
    """Convert the entries of a file; an entry that lacks a key or has a wrong type is named.

    Args:
        path: The file.
        key: What the entries are, for the message.
        entries: The entries, a list.
        convert: Entry -> result.

    Raises:
        DataError: ``entries`` is not a list, or an entry cannot be converted.
    """
    if not isinstance(entries, list):
        raise DataError(f"{path}: {key} is not a list; is this the right file?")
    results = []
    for number, entry in enumerate(entries):
        try:
            results.append(convert(entry))
        except KeyError as error:
            raise DataError(f"{path}: {key}[{number}] has no key {error}; is this the right file?") from None
        except (TypeError, ValueError, AttributeError, IndexError, OverflowError, OSError) as error:
            raise DataError(f"{path}: {key}[{number}] is not as it should be ({error!s:.200})") from None
    return results


def section(path: Path, content: Any, key: str) -> Any:
    """A part of a JSON file.

    Raises:
        DataError: there is none.
    """
    if not isinstance(content, dict) or key not in content:
        raise DataError(f"{path} has no '{key}'; is this the right file?")
    return content[key]


def existing(paths: Sequence[Path]) -> list[bool]:
    """Whether each of many files exists. Each folder is listed only once."""
    listing: dict[Path, set[str]] = {}
    for folder in {path.parent for path in paths}:
        try:
            with os.scandir(folder) as entries:
                listing[folder] = {entry.name for entry in entries if entry.is_file()}
        except (OSError, ValueError):  # no folder, or a name that none can have
            listing[folder] = set()
    return [path.name in listing[path.parent] for path in paths]


def present(annotation: Path, paths: Sequence[Path], source: Source, archive: str) -> list[bool]:
    """Whether each image of an annotation exists. One warning counts those that do not.

    Raises:
        MissingError: none exists.
    """
    there = existing(paths)
    absent = [path for path, found in zip(paths, there, strict=True) if not found]
    if paths and len(absent) == len(paths):
        raise source.missing(f"{absent[0]}, like all images of {annotation.name} ({len(paths)}),", archive)
    if absent:
        of = f"of {counted(len(paths), 'image')}"
        lack = counted(len(absent), f"{of} is absent", f"{of} are absent")
        tell(f"{annotation}: {lack}, e.g. {absent[0]}; {'its' if len(absent) == 1 else 'their'} texts are left out")
    return there
