"""Flickr30K (Young et al., TACL 2014) and Flickr8k (Hodosh et al., JAIR 2013): photographs with five captions each."""

from __future__ import annotations

import re
from pathlib import Path

from gshn.data.caption_file import read_rows
from gshn.data.captions import CaptionedFiles, karpathy, tell_which_split
from gshn.data.image_files import Source, check_split, first_existing, folder_of, read_lines
from gshn.data.images import DatasetSettings
from gshn.errors import DataError
from neuromorphic.errors import counted

KINDS = {
    "flickr30k:DIR": {"help": "Flickr30K, captions"},
    "flickr8k:DIR": {"help": "Flickr8k, captions"},
}

FLICKR30K = Source("Flickr30K", "shannon.cs.illinois.edu/DenotationGraph")
FLICKR8K = Source("Flickr8k", "hockenmaier.cs.illinois.edu, or a mirror: Flickr8k_Dataset.zip and Flickr8k_text.zip")


class Flickr30K(CaptionedFiles):
    """A split of Flickr30K, from ``dataset_flickr30k.json`` (Karpathy's split), or from ``results_20130124.token``
    with the lists ``train.txt``, ``val.txt`` and ``test.txt``; images in ``flickr30k-images``.
    """

    def __init__(self, root: Path, split: str, image_size: int = 224, limit: int | None = None) -> None:
        """Read a split.

        Raises:
            ConfigError: no such split.
            DataError: a file is missing or broken.
        """
        check_split(FLICKR30K, split)
        folders = ("flickr30k-images", "flickr30k_images", "images")
        images = first_existing(root / name for name in folders) or root / folders[0]
        json = root / "dataset_flickr30k.json"
        if json.is_file():
            annotation = json
            captions = karpathy(json, FLICKR30K, lambda e: images / e["filename"]).get(split, {})
            listed = root / f"{split}.txt"
            tell_which_split(split, json, captions, listed, lambda path: map(Path, _listed(path, FLICKR30K, "")))
        else:
            annotation = first_existing(root / name for name in ("results_20130124.token", "results.token")) or json
            if annotation == json:
                raise FLICKR30K.missing(json, "caption_datasets.zip (Karpathy), or results_20130124.token")
            names = _listed(root / f"{split}.txt", FLICKR30K, "Flickr30k Entities' splits")
            captions = _of(annotation, names, _tokens(annotation, FLICKR30K), images)
        super().__init__(FLICKR30K, split, annotation, captions, "flickr30k-images.tar", image_size, limit)


class Flickr8k(CaptionedFiles):
    """A split of Flickr8k, from ``Flickr8k.token.txt``, or the table ``captions.txt`` of Kaggle's copy, and the lists
    ``Flickr_8k.trainImages.txt``, ``devImages`` and ``testImages``; or from ``dataset_flickr8k.json``. Images in
    ``Images`` or ``Flicker8k_Dataset``.

    The official token file has the captions of one image under a wrong name, ``2258277193_586949ec62.jpg.1``. This
    image is in no list.
    """

    def __init__(self, root: Path, split: str, image_size: int = 224, limit: int | None = None) -> None:
        """Read a split.

        Raises:
            ConfigError: no such split.
            DataError: a file is missing or broken.
        """
        check_split(FLICKR8K, split)
        folders = ("Images", "Flicker8k_Dataset", "Flickr8k_Dataset", "images")
        images = first_existing(root / name for name in folders) or root / folders[1]
        json = root / "dataset_flickr8k.json"
        listed = root / f"Flickr_8k.{ {'train': 'train', 'val': 'dev', 'test': 'test'}[split] }Images.txt"
        if json.is_file():
            annotation = json
            captions = karpathy(json, FLICKR8K, lambda e: images / e["filename"]).get(split, {})
            tell_which_split(split, json, captions, listed, lambda path: map(Path, _listed(path, FLICKR8K, "")))
        else:
            tokens, table = root / "Flickr8k.token.txt", root / "captions.txt"
            annotation = table if table.is_file() and not tokens.is_file() else tokens
            if annotation == table and not listed.is_file():
                raise DataError(
                    f"{listed} is missing, and {table} has no splits; Flickr8k has them in Flickr8k_text.zip, from "
                    f"{FLICKR8K.site}; or split by share: data.pairs.source=captions:{table} "
                    f"data.pairs.file.folder={images}"
                )
            names = _listed(listed, FLICKR8K, "Flickr8k_text.zip")
            found = _table(table) if annotation == table else _tokens(annotation, FLICKR8K)
            captions = _of(annotation, names, found, images)
        super().__init__(FLICKR8K, split, annotation, captions, "Flickr8k_Dataset.zip", image_size, limit)


def _listed(path: Path, source: Source, archive: str) -> list[str]:
    """File names of a split's images, each once, from a list that may omit ``.jpg``."""
    names = [line.strip() for _, line in read_lines(path, source, archive)]
    return list(dict.fromkeys(name if name.endswith(".jpg") else f"{name}.jpg" for name in names))


def _tokens(path: Path, source: Source) -> dict[str, list[str]]:
    """Captions by file name from a file of lines ``name.jpg#k<TAB>caption``."""
    captions: dict[str, list[str]] = {}
    for number, line in read_lines(path, source, "its text archive"):
        reference, tab, caption = line.partition("\t")
        name, hash_, _ = reference.rpartition("#")
        if not tab or not hash_ or re.search(r"#\d+\t", caption):  # the last: two lines in one
            raise DataError(f"{path}: line {number} is not of the form name.jpg#0<TAB>caption: {line[:60]!r}")
        captions.setdefault(name, []).append(caption)
    return captions


def _table(path: Path) -> dict[str, list[str]]:
    captions: dict[str, list[str]] = {}
    for row in read_rows(path):
        captions.setdefault(row.image, []).extend(row.captions)
    return captions


def _of(path: Path, names: list[str], captions: dict[str, list[str]], images: Path) -> dict[Path, list[str]]:
    """Captions of some images."""
    if unknown := [name for name in names if name not in captions]:
        raise DataError(
            f"{path} has no caption of {unknown[0]}, which the split lists ({counted(len(unknown), 'such image')})"
        )
    return {images / name: captions[name] for name in names}


def make(name: str, settings: DatasetSettings) -> CaptionedFiles:
    """See :mod:`gshn.data`."""
    kind, source = (Flickr8k, FLICKR8K) if name.startswith("flickr8k:") else (Flickr30K, FLICKR30K)
    return kind(folder_of(source, name), settings.split, settings.image_size, settings.limit)
