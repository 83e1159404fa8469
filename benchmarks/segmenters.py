"""What each segmenter makes of photographs, and the time that it takes, on one thread.

    python -m benchmarks.segmenters --annotations JSON [--images DIR] [--limit N] [--weights W]

``--annotations`` is a COCO panoptic JSON in COCO's layout, or with folders ``panoptic`` and ``images`` beside its own;
without it ``--images`` are segmented, and what needs it is left out. Photographs are scaled to 224 pixels along the
longer side. ``ms`` is processor time for each, all of the segmenter, without reading. ``right`` is the share of the
annotated pixels whose segment is mostly of the annotated segment that they belong to: what a classifier of segments
could reach (achievable segmentation accuracy; Liu et al., Entropy rate superpixel segmentation, CVPR 2011). It grows
with the number of segments: compare rows that have as many. ``IoU`` is the best that any found segment reaches, mean
over annotated segments of at least 1 % of the area.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from gshn.data.files import list_images, read_image
from gshn.data.image_files import first_existing
from gshn.data.panoptic_annotations import PanopticAnnotations
from gshn.segments.choose import make_segmenter
from gshn.segments.grid import GridSegmenter
from gshn.segments.panoptic import Segmenter, resize

SIDE = 224
"""Longer side of the photographs, pixels."""


def agreement(found: NDArray[np.int32], truth: NDArray[np.int32]) -> tuple[float, float]:
    """``right`` and ``IoU`` of a segment map, both shapes (H, W); 0 is void."""
    _, rows = np.unique(found, return_inverse=True)
    ids, columns = np.unique(truth, return_inverse=True)
    table = np.zeros((rows.max() + 1, len(ids)))
    np.add.at(table, (rows.ravel(), columns.ravel()), 1)
    whole = table.sum(axis=1)
    table = table[:, ids > 0]
    areas = table.sum(axis=0)
    iou = (table / (whole[:, None] + areas - table)).max(axis=0)
    return float(table.max(axis=1).sum() / table.sum()), float(iou[areas >= 0.01 * truth.size].mean())


def main() -> None:
    """Time the segmenters in turn, and print a line for each."""
    parser = argparse.ArgumentParser("python -m benchmarks.segmenters", description=__doc__)
    parser.add_argument("--images", type=Path, help="folder of photographs (default: COCO's, or images)")
    parser.add_argument("--annotations", type=Path, help="COCO panoptic JSON")
    parser.add_argument("--limit", type=int, help="photographs, the first")
    parser.add_argument("--weights", help="of segmenter semantic")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    json_path: Path | None = arguments.annotations
    if json_path is None and arguments.images is None:
        parser.error("give --annotations or --images")
    folder = arguments.images
    if folder is None:
        root = json_path.parent.parent
        folder = first_existing([root / json_path.stem.rpartition("_")[2], root / "images"]) or root / "images"
    paths = list_images(folder)[0][: arguments.limit]
    images = [read_image(path, SIDE, True) for path in paths]
    truths: Sequence[NDArray[np.int32] | None] = [None] * len(images)
    if json_path is not None:
        annotations = PanopticAnnotations(json_path, [json_path.with_suffix(""), json_path.parent.parent / "panoptic"])
        numbers = annotations.ids_of(paths)
        stored = [annotations.read(numbers[path], path) for path in paths]
        truths = [s and resize(s, *i.shape[:2]).segment_map for s, i in zip(stored, images, strict=True)]
    segmenters: dict[str, Segmenter] = {
        "patches, 3 x 3": GridSegmenter(3),
        "superpixels": make_segmenter("superpixels"),
        "superpixels, 12": make_segmenter("superpixels", count=12),
    }
    if arguments.weights is not None:
        segmenters["semantic"] = make_segmenter("semantic", arguments.weights)
        segmenters["semantic, 12"] = make_segmenter("semantic", arguments.weights, count=12)
    table = Table("segmenter", "ms", "segments", "right, %", "IoU, %", title=f"{len(images)} photographs of {folder}")
    for name, segmenter in segmenters.items():
        segmenter(images[0])
        begun = time.process_time()
        found = [segmenter(image) for image in images]
        spent = 1000 * (time.process_time() - begun) / len(images)
        scores = [agreement(f.segment_map, t) for f, t in zip(found, truths, strict=True) if t is not None]
        right, iou = (f"{100 * value:.1f}" for value in np.mean(scores, axis=0)) if scores else ("", "")
        table.add_row(name, f"{spent:.0f}", f"{np.mean([len(f.segments) for f in found]):.1f}", right, iou)
    Console().print(table)


if __name__ == "__main__":
    main()
