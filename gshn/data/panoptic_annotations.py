"""COCO's panoptic annotations: a JSON file, and a PNG for each image."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gshn.data.files import opened, read_orientation, read_size
from gshn.data.image_files import Source, each, existing, first_existing, read_json, section
from gshn.errors import DataError, tell
from gshn.segments.panoptic import (
    LARGEST_ID,
    Category,
    PanopticSegments,
    decode_panoptic_png,
    segments_from_map,
    turn,
)
from neuromorphic.errors import counted

COCO = Source("COCO", "cocodataset.org/#download")
ARCHIVE = "panoptic_annotations_trainval2017.zip"


@dataclass(frozen=True)
class _Entry:
    """Annotation of one image."""

    image_id: int
    file_name: PurePath
    segments: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class _Fault:
    """Why an annotation cannot be used: the kind of fault, and the text of the message."""

    kind: str
    reason: str


class PanopticAnnotations:
    """A panoptic JSON file, with its PNGs.

    An annotation belongs to the image of its ``image_id``, whatever the files are called. It was made on the image's
    pixels as stored, before EXIF's orientation turns them, as COCO's were.

    Attributes:
        categories: The vocabulary.

    Args:
        path: The JSON file.
        folders: Folders that may have the PNGs. The first one that exists is used.

    Raises:
        DataError: the JSON or all folders are missing, the JSON is broken, or it lists a category or image twice.
    """

    def __init__(self, path: Path, folders: Sequence[Path]) -> None:
        content = read_json(path, COCO, ARCHIVE)
        self.path = path
        self.categories = tuple(
            each(
                path,
                "categories",
                section(path, content, "categories"),
                lambda c: Category(int(c["id"]), str(c["name"]), bool(c["isthing"])),
            )
        )
        self._check_once("categories", [category.id for category in self.categories])
        self._known = {category.id for category in self.categories}
        entries = each(
            path,
            "annotations",
            section(path, content, "annotations"),
            lambda e: _Entry(
                int(e["image_id"]), PurePath(e["file_name"]), tuple(map(_segment_info, e["segments_info"]))
            ),
        )
        images = each(path, "images", content.get("images", []), lambda i: (int(i["id"]), PurePath(i["file_name"])))
        self._check_once("images", [number for number, _ in images])
        self._names = dict(images)
        found = first_existing(folders)
        if found is None:
            raise COCO.missing(folders[0], f"{ARCHIVE}, as a zip of its own")
        self.folder = found
        self._entries: dict[int, _Entry] = {}
        self._faults: dict[int, _Fault] = {}
        for entry in entries:
            if entry.image_id in self._entries:
                self._faults[entry.image_id] = _Fault("of an image that has another", "is annotated twice")
            self._entries[entry.image_id] = entry

    def __repr__(self) -> str:
        return f"PanopticAnnotations({self.path}: {len(self._entries)} images, {len(self.categories)} categories)"

    def _check_once(self, what: str, ids: Sequence[int]) -> None:
        if repeated := [id_ for id_, count in Counter(ids).items() if count > 1]:
            raise DataError(
                f"{self.path}: {counted(len(repeated), f'id of {what} is', f'ids of {what} are')} listed twice, e.g. "
                f"{repeated[0]}; mend the file"
            )

    def check(self, images: Mapping[int, Path]) -> None:
        """Check the annotations of some images by the headers of images and PNGs. Notices count all faults.

        Images without annotation or without PNG count as not annotated. An annotation that cannot be used is kept, and
        :meth:`read` refuses it.

        Args:
            images: Path of each image, by its ``image_id``.
        """
        own = [self._entries[number] for number in images if number in self._entries]
        there = existing([self._png(entry) for entry in own])
        absent = [entry for entry, found in zip(own, there, strict=True) if not found]
        for entry in absent:
            del self._entries[entry.image_id]
        if without := len(images) - len(own) + len(absent):
            absence = f"; of {len(absent)} the PNG is absent, e.g. {self._png(absent[0])}" if absent else ""
            of = f"of {counted(len(images), 'image')}"
            tell(f"{self.path}: {counted(without, f'{of} has', f'{of} have')} no annotation{absence}")
        for entry in (entry for entry, found in zip(own, there, strict=True) if found):
            fault = _fault(entry, self._known) or self._misfit(entry, images[entry.image_id])
            if fault is not None:
                self._faults[entry.image_id] = fault
        if faulty := [number for number in images if number in self._faults and number in self._entries]:
            kinds = Counter(self._faults[number].kind for number in faulty)
            first = f"{images[faulty[0]]} {self._faults[faulty[0]].reason}"
            counts = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
            unusable = f"{len(faulty)} of {counted(len(images), 'annotation')} cannot be used ({counts})"
            refused = "this image is" if len(faulty) == 1 else "these images are"
            tell(f"{self.path}: {unusable}, e.g. {first}; {refused} refused")

    def ids_of(self, paths: Sequence[Path]) -> dict[Path, int]:
        """``image_id`` of the image files that are in the JSON's ``images``.

        A ``file_name`` belongs to a path if the path ends with it, suffix apart. The longest such name counts.

        Raises:
            DataError: two names fit one path equally, two paths fit one name, or the JSON has no names.
        """
        if not self._names:
            raise DataError(f"{self.path} lists no 'images', by whose names files are found; take the whole file")
        by_parts: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for number, name in self._names.items():
            by_parts[name.with_suffix("").parts].append(number)
        owner: dict[int, Path] = {}
        for path in paths:
            parts = path.absolute().with_suffix("").parts
            fitting = next((found for i in range(len(parts)) if (found := by_parts.get(parts[i:]))), [])
            if len(fitting) > 1:
                fitting = [number for number in fitting if self._names[number].suffix == path.suffix] or fitting
            if len(fitting) > 1:
                raise DataError(f"{path}: {self.path} has {len(fitting)} images of this name; give each its own")
            for number in fitting:
                if number in owner:
                    both = f"{owner[number]} and {path} both fit"
                    raise DataError(f"{both} {self.path}'s image {self._names[number]}; name one of them")
                owner[number] = path
        return {path: number for number, path in owner.items()}

    def read(self, image_id: int, image: Path, upright: bool = True) -> PanopticSegments | None:
        """Read the segments of an image; None where it is not annotated.

        Args:
            image_id: Its id.
            image: Its file.
            upright: Turn the segments as the image's EXIF orientation says, as :func:`gshn.data.files.read_image`
                turns the image.

        Raises:
            DataError: the annotation cannot be used, or does not fit the image; names the image.
        """
        entry = self._entries.get(image_id)
        if entry is None:
            return None
        fault = self._faults.get(image_id) or _fault(entry, self._known)
        if fault is not None:
            raise DataError(f"{image} {fault.reason}; mend {self.path}")
        segments = read_coco_panoptic(self._png(entry), entry.segments)
        size = read_size(image)
        if segments.segment_map.shape != size:
            raise DataError(f"{image} {_sizes(size, segments.segment_map.shape, self._png(entry))}")
        return turn(segments, read_orientation(image)) if upright else segments

    def digest(self, image_ids: Sequence[int]) -> str:
        """Digest of the categories, and of the JSON's entries of some images."""
        digest = hashlib.blake2b(repr(self.categories).encode(), digest_size=16)
        for number in image_ids:
            digest.update(f"{self._entries.get(number)}\n".encode())
        return digest.hexdigest()

    def png_of(self, image_id: int) -> Path | None:
        """The PNG of an image; None where it is not annotated."""
        entry = self._entries.get(image_id)
        return None if entry is None else self._png(entry)

    def _png(self, entry: _Entry) -> Path:
        return self.folder / entry.file_name

    def _misfit(self, entry: _Entry, image: Path) -> _Fault | None:
        png = self._png(entry)
        try:
            own, theirs = read_size(image), read_size(png)
        except DataError:
            return None  # told by name where it is read
        return None if own == theirs else _Fault("of another size than the image", _sizes(own, theirs, png))


def _segment_info(info: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": int(info["id"]),
        "category_id": int(info["category_id"]),
        "iscrowd": int(info.get("iscrowd", 0)),
    }


def _sizes(image: tuple[int, ...], annotation: tuple[int, ...], png: Path) -> str:
    (height, width), (rows, columns) = image, annotation
    turned = ", which is turned already" if (height, width) == (columns, rows) else ""
    return f"is {width}x{height} as stored, its annotation {png} {columns}x{rows}{turned}"


def _fault(entry: _Entry, known: set[int]) -> _Fault | None:
    """Fields of an annotation's entry in the JSON."""
    seen: set[int] = set()
    for segment in entry.segments:
        id_, category = segment["id"], segment["category_id"]
        if id_ in seen:
            return _Fault("with a segment id twice", f"has the segment id {id_} twice")
        if not 0 < id_ <= LARGEST_ID:
            return _Fault(
                f"with a segment id beyond 1 to {LARGEST_ID}",
                f"has the segment id {id_}, and a panoptic PNG holds 1 to {LARGEST_ID}",
            )
        if category not in known:
            return _Fault(
                "with a category that is not listed",
                f"has segment {id_} of category {category}, which the annotation does not list",
            )
        seen.add(id_)
    return None


def read_coco_panoptic(png_path: Path, segments_info: Sequence[Mapping[str, Any]]) -> PanopticSegments:
    """Read a COCO panoptic PNG.

    Args:
        png_path: The PNG; see :func:`_readings` for those that are not RGB.
        segments_info: The JSON file's entries for it: ``id``, ``category_id`` and, optionally, ``iscrowd``. Areas and
            boxes are counted anew.

    Raises:
        DataError: the file is missing or broken, or its ids are not those of ``segments_info``; names the file.
    """
    info = {int(entry["id"]): entry for entry in segments_info}
    with opened(png_path) as png:
        readings = list(_readings(png))
    segment_map = min(readings, key=lambda ids: len({*np.unique(ids).tolist(), 0} ^ {*info, 0}))
    try:
        found = segments_from_map(segment_map, {id_: int(entry["category_id"]) for id_, entry in info.items()})
    except DataError as error:
        raise DataError(f"{png_path}: {error}") from error
    if unseen := set(info) - {segment.id for segment in found.segments}:
        raise DataError(f"{png_path}: segment {min(unseen)} of the annotation has no pixel")
    crowds = (replace(s, iscrowd=bool(info[s.id].get("iscrowd", 0))) for s in found.segments)
    return replace(found, segments=tuple(crowds))


def _readings(png: Image.Image) -> Iterator[NDArray[np.int32]]:
    """Segment maps that a PNG may mean, shape (H, W).

    In COCO, id = R + 256 G + 65536 B; alpha is ignored. The value of a grey or palette PNG may be the id itself, or the
    PNG may be an RGB image that an optimiser has made smaller. The ids in the annotation decide.
    """
    if not png.mode.startswith("I"):
        yield decode_panoptic_png(np.asarray(png.convert("RGB")))
    if png.mode.startswith("I") or png.mode in ("1", "L", "LA", "P", "PA"):
        values = np.asarray(png)
        yield (values if values.ndim == 2 else values[..., 0]).astype(np.int32)
