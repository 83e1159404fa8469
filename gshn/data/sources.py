"""The field's data sets by name: ``coco:DIR``, ``vqa2:DIR`` and so on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gshn.config import CaptionFile
from gshn.data import coco, daquar, flickr, nlvr2, snli_ve, visual_genome, vqa2
from gshn.data.caption_file import OwnCaptions
from gshn.data.image_files import ImageFiles, Source
from gshn.data.images import ImageCollection
from gshn.errors import ConfigError

SOURCES: dict[str, tuple[Callable[..., ImageFiles], Source]] = {
    "coco": (coco.CocoCaptions, coco.SOURCE),
    "flickr30k": (flickr.Flickr30K, flickr.FLICKR30K),
    "flickr8k": (flickr.Flickr8k, flickr.FLICKR8K),
    "visual-genome": (visual_genome.VisualGenomeCaptions, visual_genome.SOURCE),
    "daquar": (daquar.DAQUAR, daquar.SOURCE),
    "vqa2": (vqa2.VQAv2, vqa2.SOURCE),
    "snli-ve": (snli_ve.SNLIVE, snli_ve.SOURCE),
    "nlvr2": (nlvr2.NLVR2, nlvr2.SOURCE),
}


def open_source(
    source: str,
    split: str,
    image_size: int = 224,
    limit: int | None = None,
    upright: bool = True,
    form: CaptionFile | None = None,
    photographs: Path | None = None,
) -> ImageFiles:
    """Open a split of a data set in its official layout, or of a file of captions.

    Args:
        source: ``name:DIR``, with a name of :data:`SOURCES`, or ``captions:FILE``.
        split: ``train``, ``val`` or ``test``.
        image_size: Longest side, pixels; larger images are scaled down to it.
        limit: Keep this many images, the first, with their texts.
        upright: Turn images and their segments as EXIF says: see :class:`~gshn.data.image_files.ImageFiles`.
        form: How the FILE of ``captions:FILE`` is read.
        photographs: Folder of the images of ``snli-ve:DIR``, where they are not in DIR.

    Raises:
        ConfigError: no such data set or split.
        DataError: a file is missing or broken.
    """
    name, colon, folder = source.partition(":")
    images: ImageFiles
    if name == "captions" and colon:
        images = OwnCaptions(Path(folder), split, image_size, limit, form)
    elif name in SOURCES and colon:
        loader, origin = SOURCES[name]
        if not Path(folder).is_dir():
            raise origin.missing(f"folder {folder}", "its official layout")
        options = {} if photographs is None else {"images": photographs}
        images = loader(Path(folder), split, image_size, limit, **options)
    else:
        raise ConfigError(
            f"data source '{source}' is not of the form name:DIR, with a name of {', '.join(SOURCES)}, or captions:FILE"
        )
    images.upright = upright
    return images


class Texts:
    """Image -> its texts, JSON-able: ``captions``, ``questions``, ``hypotheses`` or ``statements``.

    A statement is with its left image; ``image_indices`` are those of the collection, as each shard's ``index``.
    """

    def __init__(self, images: ImageCollection) -> None:
        self._captions = getattr(images, "captions", None)
        self._others: dict[str, dict[int, list[dict[str, Any]]]] = {}
        for name in ("questions", "hypotheses", "statements"):
            if hasattr(images, name):
                by_image = self._others[name] = defaultdict(list)
                for text in getattr(images, name):
                    index = text.image_indices[0] if name == "statements" else text.image_index
                    by_image[index].append(asdict(text))

    def __call__(self, index: int) -> dict[str, Any]:
        """Texts of image ``index``."""
        captions = {} if self._captions is None else {"captions": list(self._captions[index])}
        return captions | {name: by_image.get(index, []) for name, by_image in self._others.items()}
