"""COCO (Lin et al., arXiv:1405.0312): photographs with five captions each and panoptic segments."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from gshn.data.captions import CaptionedFiles, joined, karpathy, tell_which_split
from gshn.data.image_files import as_text, check_split, each, first_existing, folder_of, read_json, section
from gshn.data.images import DatasetSettings, ImageSample
from gshn.data.panoptic_annotations import COCO as SOURCE
from gshn.data.panoptic_annotations import PanopticAnnotations
from gshn.errors import DataError, tell
from gshn.segments.panoptic import resize

KINDS = {"coco:DIR": {"help": "COCO, captions and panoptic segments"}}

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
        self._panoptic: PanopticAnnotations | None = None
        annotations = root / "annotations"
        by_karpathy = first_existing((root / "dataset_coco.json", annotations / "dataset_coco.json"))
        if by_karpathy is not None:
            annotation = by_karpathy
            folder_of = cache(lambda name: _image_folder(root, name))
            splits = karpathy(by_karpathy, SOURCE, lambda e: folder_of(e.get("filepath", "")) / e["filename"])
            captions = splits.get(split, {})
            part = "val" if split == "test" else split
            for other in [annotations / f"captions_{part}{year}.json" for year in YEARS]:
                tell_which_split(split, by_karpathy, captions, other, lambda path: _captions(path, root)[0])
            ids: dict[Path, int] = {}
        else:
            part = "val" if split == "test" else split
            names = [annotations / f"captions_{part}{year}.json" for year in YEARS]
            annotation = first_existing(names) or names[0]
            year = annotation.stem[-4:]
            captions, ids = _captions(annotation, _image_folder(root, f"{part}{year}"))
            if split == "test":
                tell(f"{annotation}: val is taken for test, whose captions are not public")
            self._panoptic = _panoptic(root, f"panoptic_{part}{year}")
        super().__init__(SOURCE, split, annotation, captions, "train2017.zip or val2017.zip", image_size, limit)
        if self._panoptic is not None:
            self.categories = self._panoptic.categories
            self._ids = [ids[path] for path in self.paths]
            self._panoptic.check(dict(zip(self._ids, self.paths, strict=True)))

    def __getitem__(self, index: int) -> ImageSample:
        """Read image ``index``, with its segments where it is annotated.

        Raises:
            DataError: the image or its annotation is broken, their sizes differ, or a category is not in the
                vocabulary.
        """
        sample = super().__getitem__(index)
        if self._panoptic is None:
            return sample
        segments = self._panoptic.read(self._ids[index], self.paths[index], self.upright)
        if segments is None:
            return sample
        return ImageSample(sample.name, sample.image, resize(segments, *sample.image.shape[:2]))

    def files(self, index: int) -> Sequence[Path]:
        """The image and, where it is annotated, its segments."""
        png = None if self._panoptic is None else self._panoptic.png_of(self._ids[index])
        return (self.paths[index], *(() if png is None else (png,)))

    @property
    def key(self) -> str:
        """Key of images and segments: see :class:`gshn.data.images.ImageCollection`."""
        return super().key + (f" panoptic={self._panoptic.digest(self._ids)}" if self._panoptic else "")


def _image_folder(root: Path, name: str) -> Path:
    return first_existing((root / name, root / "images" / name, root / "images")) or root / name


def _panoptic(root: Path, name: str) -> PanopticAnnotations | None:
    path = root / "annotations" / f"{name}.json"
    folders = [root / "annotations" / name, root / name, root / "panoptic"]
    return PanopticAnnotations(path, folders) if path.is_file() else None


def _captions(path: Path, folder: Path) -> tuple[dict[Path, list[str]], dict[Path, int]]:
    """Captions and ``image_id`` of each image."""
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
    captioned = joined((file, captions[number]) for number, file in file_of.items())
    return captioned, {file: number for number, file in reversed(file_of.items())}


def make(name: str, settings: DatasetSettings) -> CocoCaptions:
    """See :mod:`gshn.data`."""
    folder = folder_of(SOURCE, name)
    return CocoCaptions(folder, settings.split, settings.image_size, settings.limit)
