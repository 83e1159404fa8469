"""Flickr30K (Young et al., TACL 2014) and Flickr8k (Hodosh et al., JAIR 2013): photographs with five captions each."""

from __future__ import annotations

from pathlib import Path

from gshn.data.captions import CaptionedFiles, karpathy
from gshn.data.image_files import Source, check_split, first_existing, read_lines
from gshn.errors import DataError

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
            captions = {images / entry["filename"]: texts for entry, texts in karpathy(json, FLICKR30K, split)}
            annotation = json
        else:
            annotation = first_existing(root / name for name in ("results_20130124.token", "results.token")) or json
            if annotation == json:
                raise FLICKR30K.missing(json, "caption_datasets.zip (Karpathy), or results_20130124.token")
            names = read_lines(root / f"{split}.txt", FLICKR30K, "Flickr30k Entities' splits")
            captions = _tokens(annotation, FLICKR30K, [f"{Path(name.strip()).stem}.jpg" for name in names], images)
        super().__init__(FLICKR30K, split, annotation, captions, "flickr30k-images.tar", image_size, limit)


class Flickr8k(CaptionedFiles):
    """A split of Flickr8k, from ``Flickr8k.token.txt`` and the lists ``Flickr_8k.trainImages.txt``,
    ``devImages`` and ``testImages``, or from ``dataset_flickr8k.json``; images in ``Images`` or ``Flicker8k_Dataset``.
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
        if json.is_file():
            annotation = json
            captions = {images / entry["filename"]: texts for entry, texts in karpathy(json, FLICKR8K, split)}
        else:
            annotation = root / "Flickr8k.token.txt"
            listed = root / f"Flickr_8k.{ {'train': 'train', 'val': 'dev', 'test': 'test'}[split] }Images.txt"
            names = [name.strip() for name in read_lines(listed, FLICKR8K, "Flickr8k_text.zip")]
            captions = _tokens(annotation, FLICKR8K, names, images)
        super().__init__(FLICKR8K, split, annotation, captions, "Flickr8k_Dataset.zip", image_size, limit)


def _tokens(path: Path, source: Source, names: list[str], images: Path) -> dict[Path, list[str]]:
    """Captions of some images from a file of lines ``name.jpg#k<TAB>caption``."""
    captions: dict[str, list[str]] = {}
    for number, line in enumerate(read_lines(path, source, "its text archive"), start=1):
        reference, tab, caption = line.partition("\t")
        name, hash_, _ = reference.rpartition("#")
        if not tab or not hash_:
            raise DataError(f"{path}: line {number} is not of the form name.jpg#0<TAB>caption: {line[:60]!r}")
        captions.setdefault(name, []).append(caption)
    if unknown := [name for name in names if name not in captions]:
        raise DataError(f"{path} has no caption of {unknown[0]}, which the split lists ({len(unknown)} such images)")
    return {images / name: captions[name] for name in names}
