"""COCO (Lin et al., arXiv:1405.0312): photographs with five captions each and panoptic segments."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from gshn.data.captions import CaptionedFiles, joined, karpathy, tell_which_split
from gshn.data.image_files import Source, as_text, check_split, each, first_existing, read_json, section, tell
from gshn.data.images import ImageSample
from gshn.errors import DataError
from gshn.segments.panoptic import Category, read_coco_panoptic, resize

SOURCE = Source("COCO", "cocodataset.org/#download")
YEARS = ("2017", "2014")


class CocoCaptions(CaptionedFiles):
    """A split of COCO with captions and, where the files are there, panoptic segments.

    Layouts: ``annotations/captions_train2017.json``, ``train2017/*.jpg`` (or ``images/train2017``, or ``images``),
    ``annotations/panoptic_train2017.json`` with PNGs in ``annotations/panoptic_train2017`` (or ``panoptic_train2017``,
    or ``panoptic``); the same of 2014, which has no panoptic segments. ``dataset_coco.json`` (Karpathy's split, 2014),
    where present, says which images a split has. Without it, ``test``, whose captions are not public, is ``val``.
    """

    def __init__(self, root: Path, split: str, image_size: int = 224, limit: int | None = None) -> None:
        """Read a split.

        Raises:
            ConfigError: no such split.
            DataError: a file is missing or broken.
        """
        check_split(SOURCE, split)
        annotations = root / "annotations"
        by_karpathy = first_existing((root / "dataset_coco.json", annotations / "dataset_coco.json"))
        if by_karpathy is not None:
            annotation = by_karpathy
            folder_of = cache(lambda name: _image_folder(root, name))
            splits = karpathy(by_karpathy, SOURCE, lambda e: folder_of(e.get("filepath", "")) / e["filename"])
            captions = splits.get(split, {})
            part = "val" if split == "test" else split
            for other in [annotations / f"captions_{part}{year}.json" for year in YEARS]:
                tell_which_split(split, by_karpathy, captions, other, lambda path: _captions(path, root))
            self._panoptic: dict[str, dict[str, Any]] = {}
            self._panoptic_folder = root
        else:
            part = "val" if split == "test" else split
            names = [annotations / f"captions_{part}{year}.json" for year in YEARS]
            annotation = first_existing(names) or names[0]
            year = annotation.stem[-4:]
            captions = _captions(annotation, _image_folder(root, f"{part}{year}"))
            if split == "test":
                tell(f"{annotation}: val is taken for test, whose captions are not public")
            self._read_panoptic(root, f"panoptic_{part}{year}")
        super().__init__(SOURCE, split, annotation, captions, "train2017.zip or val2017.zip", image_size, limit)

    def _read_panoptic(self, root: Path, name: str) -> None:
        self._panoptic, self._panoptic_folder = {}, root
        path = root / "annotations" / f"{name}.json"
        if not path.is_file():
            return
        content = read_json(path, SOURCE, "panoptic_annotations_trainval2017.zip")
        self.categories = tuple(
            each(
                path,
                "categories",
                section(path, content, "categories"),
                lambda c: Category(int(c["id"]), c["name"], bool(c["isthing"])),
            )
        )
        entries = each(
            path,
            "annotations",
            section(path, content, "annotations"),
            lambda e: (Path(e["file_name"]), e["segments_info"]),
        )
        self._panoptic = {file.stem: {"file": file.name, "segments": segments} for file, segments in entries}
        folders = [root / "annotations" / name, root / name, root / "panoptic"]
        found = first_existing(folders)
        if found is None:
            raise SOURCE.missing(folders[0], "panoptic_annotations_trainval2017.zip, as a zip of its own")
        self._panoptic_folder = found

    def __getitem__(self, index: int) -> ImageSample:
        """Read image ``index``, with its segments where it is annotated.

        Raises:
            DataError: the image or its annotation is broken, or has a category that the vocabulary has not.
        """
        sample = super().__getitem__(index)
        entry = self._panoptic.get(self.paths[index].stem)
        if entry is None:
            return sample
        segments = read_coco_panoptic(self._panoptic_folder / entry["file"], entry["segments"])
        known = {category.id for category in self.categories}
        for segment in segments.segments:
            if segment.category_id not in known:
                raise DataError(
                    f"{sample.name}: segment {segment.id} has category {segment.category_id}, which the annotation "
                    "does not list"
                )
        height, width = sample.image.shape[:2]
        return ImageSample(sample.name, sample.image, resize(segments, height, width))

    @property
    def key(self) -> str:
        """Of images and segments."""
        return super().key + (f" panoptic={len(self._panoptic)}" if self._panoptic else "")


def _image_folder(root: Path, name: str) -> Path:
    return first_existing((root / name, root / "images" / name, root / "images")) or root / name


def _captions(path: Path, folder: Path) -> dict[Path, list[str]]:
    content = read_json(path, SOURCE, "annotations_trainval2017.zip")
    images = each(path, "images", section(path, content, "images"), lambda e: (int(e["id"]), folder / e["file_name"]))
    texts = each(
        path,
        "annotations",
        section(path, content, "annotations"),
        lambda e: (int(e["image_id"]), as_text(e["caption"])),
    )
    file_of: dict[int, Path] = {}
    for number, file in images:
        if file_of.setdefault(number, file) != file:
            raise DataError(
                f"{path}: images {file_of[number].name} and {file.name} have one id, {number}; get it again"
            )
    captions: dict[int, list[str]] = {number: [] for number in file_of}
    for number, text in texts:
        if number not in captions:
            raise DataError(f"{path}: a caption is of image {number}, which the file does not list")
        captions[number].append(text)
    return joined((file, captions[number]) for number, file in file_of.items())
