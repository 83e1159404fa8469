"""A folder of panoptic segments in COCO's format, written image by image."""

from __future__ import annotations

import errno
import io
import json
import os
from collections.abc import Mapping, Sequence
from io import FileIO
from pathlib import Path, PurePosixPath
from typing import Any, Self

from PIL import Image

from gshn.errors import DataError
from gshn.segments.panoptic import (
    Category,
    PanopticSegments,
    coco_annotation,
    coco_categories,
    encode_panoptic_png,
)
from neuromorphic.files import Lock, file_digest, make_folder, write_atomically, writing


class PanopticFolder:
    """A folder with ``panoptic.json`` and ``panoptic/*.png``.

    The entry of an image is appended to ``panoptic.partial.jsonl`` after its PNG is written. When the folder is closed,
    the entries become ``panoptic.json``. If the process was killed, the next run does this first.

    Args:
        path: The folder; made if missing. Its images are kept, and new ones are added.
        categories: The vocabulary.
        settings: All that determines the segments, JSON-able.

    Raises:
        DataError: the folder has segments with other settings or categories, or broken or unknown files.
        UserError: it cannot be written, or another process writes to it.
    """

    def __init__(self, path: Path, categories: Sequence[Category], settings: Mapping[str, Any]) -> None:
        self.path = path
        self._info = {"info": dict(settings), "categories": coco_categories(categories)}
        self._entries: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
        self._owners: dict[str, str] = {}  # of PNGs
        self._next_id = 1
        self._json, self._partial = path / "panoptic.json", path / "panoptic.partial.jsonl"
        make_folder(path / "panoptic")
        self._lock = Lock(path / "panoptic.lock", str(path), "wait for it, or choose another --out")
        if self._json.is_file():
            self._read(self._json, [self._json.read_bytes()])
        if self._partial.is_file():
            # The last line may be half written.
            self._read(self._partial, self._partial.read_bytes().splitlines(keepends=True))
            self._save()
        self._file: FileIO | None = None

    def _read(self, path: Path, parts: Sequence[bytes]) -> None:
        try:
            for part in parts:
                if path == self._partial and not part.endswith(b"\n"):
                    return
                content = json.loads(part)
                own = {key: content[key] for key in self._info if key in content}
                if path == self._json or own:
                    self._check(own)
                for image, annotation in zip(content["images"], content["annotations"], strict=True):
                    if not isinstance(image["digest"], str) or annotation["image_id"] != image["id"]:
                        raise ValueError("an entry is not as it was written")
                    self._keep(image, annotation)
        except (OSError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, DataError):
                raise
            reason = f"no key {error}" if isinstance(error, KeyError) else str(error)
            raise DataError(f"{path} is none that gshn.segment wrote ({reason}); choose another --out") from None

    def _check(self, found: Mapping[str, Any]) -> None:
        """Compare settings and categories with those in the folder."""
        found_info, info = found["info"], json.loads(json.dumps(self._info["info"]))
        differing = [key for key in info if found_info[key] != info[key]]
        differing += [] if found["categories"] == self._info["categories"] else ["categories"]
        if differing:
            raise DataError(f"{self.path} holds segments that differ in {', '.join(differing)}; choose another --out")

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def segments(self) -> int:
        """Number of segments of all images."""
        return sum(len(annotation["segments_info"]) for _, annotation in self._entries.values())

    def _keep(self, image: dict[str, Any], annotation: dict[str, Any]) -> None:
        self._entries[image["file_name"]] = image, annotation
        self._owners[annotation["file_name"]] = image["file_name"]
        self._next_id = max(self._next_id, image["id"] + 1)

    def base(self, name: str) -> str:
        """Name of an image's files, without suffix: that of the image; with the image's suffix if the name is taken."""
        stem = PurePosixPath(name).with_suffix("").as_posix()
        return stem if self._owners.get(f"{stem}.png", name) == name else name

    def has(self, name: str, digest: str) -> bool:
        """Whether an image is there.

        Args:
            name: ``file_name`` of the image.
            digest: Digest of the files that its segments are made from.

        Raises:
            DataError: it is there, but was made from other files.
        """
        if name not in self._entries:
            return False
        image, annotation = self._entries[name]
        if image["digest"] != digest:
            raise DataError(f"{self._json} has another image, or annotation, of the name {name}; choose another --out")
        return (self.path / "panoptic" / annotation["file_name"]).is_file()

    def add(self, name: str, digest: str, segments: PanopticSegments) -> None:
        """Write the segments of an image.

        Args:
            name: ``file_name`` of the image.
            digest: Digest of the files that they are made from.
            segments: Its segments.

        Raises:
            UserError: the folder cannot be written.
        """
        png = f"{self.base(name)}.png"
        buffer = io.BytesIO()
        Image.fromarray(encode_panoptic_png(segments.segment_map)).save(buffer, "png")
        write_atomically(self.path / "panoptic" / png, buffer.getvalue())
        number = self._entries[name][0]["id"] if name in self._entries else self._next_id
        height, width = segments.segment_map.shape
        image = {"id": number, "file_name": name, "height": height, "width": width, "digest": digest}
        annotation = coco_annotation(segments, number, png)
        with writing(self._partial, "make room and run the same command again"):
            if self._file is None:
                self._file = self._partial.open("wb", buffering=0)  # nothing that could fail is left for its end
                self._append({**self._info, "images": [], "annotations": []})
            self._append({"images": [image], "annotations": [annotation]})
        self._keep(image, annotation)

    def _append(self, entry: Mapping[str, Any]) -> None:
        assert self._file is not None
        line = json.dumps(entry).encode() + b"\n"
        if self._file.write(line) != len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _save(self) -> None:
        images, annotations = ([entry[part] for entry in self._entries.values()] for part in (0, 1))
        write_atomically(self._json, json.dumps({**self._info, "images": images, "annotations": annotations}))
        self._partial.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._save()
        finally:
            if self._file is not None:
                self._file.close()
            self._lock.release()


def digest_of(paths: Sequence[Path], more: str = "") -> str:
    """Digests of the content of files, joined, after ``more``, another digest.

    Raises:
        DataError: a file cannot be read.
    """
    found = [more] if more else []
    for path in paths:
        try:
            found.append(file_digest(path))
        except OSError as error:
            raise DataError(f"{path} cannot be read ({error.strerror}); restore the file") from None
    return " ".join(found)
