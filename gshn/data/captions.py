"""Images in files with captions: what COCO, Flickr30K, Flickr8k and Visual Genome become."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gshn.data.image_files import SPLITS, ImageFiles, Source, as_text, each, present, read_json, section
from gshn.errors import DataError, tell
from neuromorphic.errors import counted


class CaptionedFiles(ImageFiles):
    """Images in files, with captions.

    Attributes:
        captions: Captions of every image.

    Args:
        source: The data set.
        split: Its split.
        annotation: The file that the captions come from.
        captions: Captions by path of the image.
        archive: Archive that contains the images, for error messages.
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
        texts = {path: [c.strip() for c in own if c.strip()] for path, own in captions.items()}
        if empty := sum(map(len, captions.values())) - sum(map(len, texts.values())):
            what = counted(empty, f"empty caption of {split} is", f"empty captions of {split} are")
            tell(f"{annotation}: {what} left out")
        if silent := sum(not own for own in texts.values()):
            of = f"of {split} without a caption"
            tell(f"{annotation}: {counted(silent, f'image {of} is', f'images {of} are')} left out")
        kept = [path for path, found in zip(texts, there, strict=True) if found and texts[path]][:limit]
        super().__init__(f"{source.name} {split}", kept, image_size)
        self.captions = [texts[path] for path in kept]


def joined(rows: Iterable[tuple[Path, Iterable[str]]]) -> dict[Path, list[str]]:
    """Captions by image, in the order of the file. All rows of an image are joined."""
    captions: dict[Path, list[str]] = {}
    for image, texts in rows:
        captions.setdefault(image, []).extend(texts)
    return captions


def karpathy(path: Path, source: Source, image: Callable[[dict[str, Any]], Path]) -> dict[str, dict[Path, list[str]]]:
    """Captions by split and image of Karpathy and Fei-Fei's JSON (arXiv:1412.2306).

    COCO's ``restval`` counts as ``train``.

    Args:
        path: The file.
        source: The data set.
        image: Entry -> path of its image.

    Raises:
        DataError: the file is broken, or has an image in two splits.
    """
    content = section(path, read_json(path, source, "caption_datasets.zip"), "images")
    entries = each(
        path,
        "images",
        content,
        lambda e: (
            [as_text(s["raw"]) for s in e["sentences"]],
            {"restval": "train"}.get(e["split"], e["split"]),
            image(e),
        ),
    )
    split_of: dict[Path, str] = {}
    for _, split, file in entries:
        if split not in SPLITS:
            raise DataError(
                f"{path}: {file.name} is in the split {split!r:.40}, which is none of {', '.join(SPLITS)}, restval"
            )
        if split_of.setdefault(file, split) != split:
            raise DataError(f"{path}: {file.name} is in {split_of[file]} and in {split}; an image belongs to one split")
    return {
        split: joined((file, texts) for texts, own, file in entries if own == split) for split in set(split_of.values())
    }


def tell_which_split(
    split: str, used: Path, images: Iterable[Path], other: Path, named: Callable[[Path], Iterable[Path]]
) -> None:
    """Give a notice if two files define a split differently. It says which one is used.

    Args:
        split: The split.
        used: The file that is used.
        images: Its images of the split.
        other: The other file; it may be absent.
        named: Reads the images of the split from ``other``.
    """
    if not other.is_file():
        return
    names = {path.name for path in images}
    try:
        others = {path.name for path in named(other)}
    except DataError:  # It is not needed.
        return
    if names != others:
        tell(
            f"{used} says which images are {split}: {len(names)}; {other} names {len(others)}, {len(names & others)} "
            "of them the same, and is not used: move away the one that is wrong"
        )
