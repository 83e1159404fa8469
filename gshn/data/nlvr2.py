"""NLVR2 (Suhr et al., arXiv:1811.00491): whether a statement is true of a pair of photographs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
)
from gshn.data.images import DatasetSettings
from gshn.data.texts import Statement

KINDS = {"nlvr2:DIR": {"help": "NLVR2, statements on pairs of images"}}

SOURCE = Source("NLVR2", "lil.nlp.cornell.edu/nlvr")
_FILES = {"train": "train.json", "val": "dev.json", "test": "test1.json"}
_FOLDERS = {"train": "train", "val": "dev", "test": "test1"}


class NLVR2(ImageFiles):
    """A split of NLVR2: ``data/train.json``, ``dev.json`` (``val``) and ``test1.json`` (``test``), or these without
    ``data``; images ``dev-850-0-img0.png`` and ``-img1.png`` in ``images/dev``, ``dev`` or ``images``, those of
    training in ``images/train/<directory>``. A lone ``tiny-dev.json`` is read as any split.

    Attributes:
        statements: The statements on the split's pairs.
    """

    def __init__(self, root: Path, split: str, image_size: int = 224, limit: int | None = None) -> None:
        """Read a split.

        Args:
            root: Folder of the data set.
            split: ``train``, ``val`` or ``test``.
            image_size: Longest side, pixels.
            limit: Keep this many images, the first, and the statements on them.

        Raises:
            ConfigError: no such split.
            DataError: a file is missing or broken.
        """
        check_split(SOURCE, split)
        file = _FILES[split]
        path = first_existing((root / "data" / file, root / file, root / "tiny-dev.json")) or root / "data" / file
        folder = first_existing(root / name for name in (f"images/{_FOLDERS[split]}", _FOLDERS[split], "images"))

        def convert(entry: dict[str, Any]) -> tuple[tuple[Path, Path], str, bool, str]:
            stem = entry["identifier"].rpartition("-")[0]
            place = folder or root / "images"
            if (place / str(entry.get("directory", ""))).is_dir():
                place = place / str(entry.get("directory", ""))
            if entry["label"] not in ("True", "False"):
                raise ValueError(f"label {entry['label']!r:.40} is neither True nor False")
            pair = (place / f"{stem}-img0.png", place / f"{stem}-img1.png")
            return pair, as_text(entry["sentence"]), entry["label"] == "True", entry["identifier"]

        entries = each(path, "line", read_json_lines(path, SOURCE, f"the file {file}"), convert)
        paths = list(dict.fromkeys(image for pair, _, _, _ in entries for image in pair))
        there = present(path, paths, SOURCE, "its image archives (a form gives the address)")
        kept = [image for image, found in zip(paths, there, strict=True) if found][:limit]
        super().__init__(f"{SOURCE.name} {split}", kept, image_size)
        position = {image: index for index, image in enumerate(kept)}
        self.statements = [
            Statement(text, label, (position[left], position[right]), identifier)
            for (left, right), text, label, identifier in entries
            if left in position and right in position
        ]


def make(name: str, settings: DatasetSettings) -> NLVR2:
    """See :mod:`gshn.data`."""
    folder = folder_of(SOURCE, name)
    return NLVR2(folder, settings.split, settings.image_size, settings.limit)
