"""Images in files with captions: what COCO, Flickr30K, Flickr8k and Visual Genome become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gshn.data.image_files import ImageFiles, Source, each, present, read_json, section


class CaptionedFiles(ImageFiles):
    """Images in files, with captions.

    Attributes:
        captions: Captions of every image.

    Args:
        source: The data set.
        split: Its split.
        annotation: The file that the captions come from.
        captions: Captions of each image, by its path.
        archive: What holds the images, for error messages.
        image_size: Longest side, pixels.
        limit: Keep this many images, the first.
    """

    def __init__(
        self,
        source: Source,
        split: str,
        annotation: Path,
        captions: Mapping[Path, Sequence[str]],
        archive: str,
        image_size: int,
        limit: int | None,
    ) -> None:
        there = present(annotation, list(captions), source, archive)
        kept = [path for path, found in zip(captions, there, strict=True) if found and captions[path]][:limit]
        super().__init__(f"{source.name} {split}", kept, image_size)
        self.captions = [[caption.strip() for caption in captions[path]] for path in kept]


def karpathy(path: Path, source: Source, split: str) -> list[tuple[dict[str, Any], list[str]]]:
    """Entries of a split of Karpathy and Fei-Fei's JSON (arXiv:1412.2306), with their sentences.

    COCO's ``restval`` counts as ``train``.
    """
    splits = {split, "restval"} if split == "train" else {split}
    images = section(path, read_json(path, source, "caption_datasets.zip"), "images")
    entries = each(
        path, "images", images, lambda entry: (entry, entry["split"], [s["raw"] for s in entry["sentences"]])
    )
    return [(entry, sentences) for entry, in_split, sentences in entries if in_split in splits]
