"""Panoptic quality of a segmenter, by hotcoco's COCO-compatible implementation."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from hotcoco.panoptic import PanopticEval
from PIL import Image
from tqdm import tqdm

from gshn.data.images import ImageCollection
from gshn.errors import DataError
from gshn.segments.panoptic import (
    Category,
    PanopticSegments,
    Segmenter,
    coco_annotation,
    coco_categories,
    encode_panoptic_png,
)
from neuromorphic.files import writing

ANY = Category(id=1, name="any", isthing=True)
"""The one category of the class-agnostic figures."""


@dataclass(frozen=True)
class PanopticQuality:
    """PQ = SQ RQ (Kirillov et al., Panoptic Segmentation, arXiv:1801.00868), as fractions, mean over categories.

    Attributes:
        pq: Panoptic quality.
        sq: Segmentation quality: mean IoU of the matched segments.
        rq: Recognition quality: F1 of matching, a match being an IoU above 1/2 in the same category.
        categories: Number of categories that occur.
    """

    pq: float
    sq: float
    rq: float
    categories: int


def panoptic_quality(segmenter: Segmenter, images: ImageCollection, batch_size: int = 32) -> dict[str, PanopticQuality]:
    """Panoptic quality of a segmenter on annotated images.

    Args:
        segmenter: Its categories are matched with the images' by name.
        images: Images with annotated segments.
        batch_size: Images that the segmenter may take together.

    Returns:
        ``all``, ``things`` and ``stuff``, where the vocabularies have a name in common; and ``any category``, where
        only the segments' outlines count.

    Raises:
        DataError: an image is not annotated.
    """
    true: list[PanopticSegments] = []
    found: list[PanopticSegments] = []
    bar = tqdm(total=len(images), desc="segment", unit=" images", leave=False)
    for start in range(0, len(images), batch_size):
        samples = [images[i] for i in range(start, min(start + batch_size, len(images)))]
        for sample in samples:
            if sample.panoptic is None:
                raise DataError(f"{sample.name} has no annotated segments to measure panoptic quality by")
            true.append(sample.panoptic)
        found += segmenter.batch([s.image for s in samples], [s.panoptic for s in samples])
        bar.update(len(samples))
    bar.close()
    ids = {category.name: category.id for category in images.categories}
    translate = {c.id: ids[c.name] for c in segmenter.categories if c.name in ids}
    figures: dict[str, PanopticQuality] = {}
    if translate:
        figures |= _evaluate(true, [_translated(segments, translate) for segments in found], images.categories)
    to_any = dict.fromkeys((c.id for c in (*images.categories, *segmenter.categories)), ANY.id)
    outlines_true, outlines_found = ([_translated(s, to_any) for s in part] for part in (true, found))
    figures["any category"] = _evaluate(outlines_true, outlines_found, [ANY])["all"]
    return figures


def _translated(segments: PanopticSegments, translate: dict[int, int]) -> PanopticSegments:
    """The same segments with other category ids; void where a category has none."""
    kept = [replace(s, category_id=translate[s.category_id]) for s in segments.segments if s.category_id in translate]
    in_kept = np.isin(segments.segment_map, [s.id for s in kept])
    return PanopticSegments(np.where(in_kept, segments.segment_map, 0), tuple(kept))


def _evaluate(
    true: Sequence[PanopticSegments], found: Sequence[PanopticSegments], categories: Sequence[Category]
) -> dict[str, PanopticQuality]:
    with tempfile.TemporaryDirectory() as folder:
        with writing(Path(folder), "make room, or let TMPDIR name another place"):
            files = [
                write_coco_panoptic(Path(folder) / name, part, categories)
                for name, part in (("true", true), ("found", found))
            ]
        evaluation = PanopticEval(*map(str, files))
        evaluation.evaluate()
        results = evaluation.results()
    names = {"all": "All", "things": "Things", "stuff": "Stuff"}
    return {
        name: PanopticQuality(part["pq"], part["sq"], part["rq"], part["n"])
        for name, part in ((name, results[key]) for name, key in names.items())
    }


def write_coco_panoptic(stem: Path, segments: Sequence[PanopticSegments], categories: Sequence[Category]) -> Path:
    """Write ``<stem>.json`` and, in the folder ``<stem>``, a PNG for each image; returns the JSON's path."""
    stem.mkdir(parents=True)
    images, annotations = [], []
    for number, item in enumerate(segments):
        name = f"{number:09d}.png"
        Image.fromarray(encode_panoptic_png(item.segment_map)).save(stem / name)
        height, width = item.segment_map.shape
        images.append({"id": number, "file_name": f"{number:09d}.jpg", "height": height, "width": width})
        annotations.append(coco_annotation(item, number, name))
    path = stem.with_suffix(".json")
    path.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": coco_categories(categories)})
    )
    return path
