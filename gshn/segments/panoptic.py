"""Panoptic segments of an image, in the terms of COCO's panoptic format.

A panoptic segmentation gives every pixel one segment id (0 is void), and every segment a category that is a *thing*
(countable) or *stuff* (a region). Format: https://cocodataset.org/#format-data, "Panoptic Segmentation".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from gshn.errors import ConfigError, DataError

LARGEST_ID = 2**24 - 1
"""Largest segment id that a panoptic PNG can hold."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The transposition for each EXIF orientation, as in :func:`PIL.ImageOps.exif_transpose`."""


@dataclass(frozen=True)
class Category:
    """A category: COCO's ``id``, ``name`` and ``isthing``."""

    id: int
    name: str
    isthing: bool


@dataclass(frozen=True)
class Segment:
    """One segment: COCO's ``segments_info`` entry.

    Attributes:
        id: Value of the segment's pixels in the segment map, > 0.
        category_id: Id of its :class:`Category`.
        area: Number of visible pixels.
        bbox: (x, y, width, height) of the visible pixels, in pixels.
        iscrowd: Whether the segment groups several things (COCO).
    """

    id: int
    category_id: int
    area: int
    bbox: tuple[int, int, int, int]
    iscrowd: bool = False


@dataclass(frozen=True)
class PanopticSegments:
    """Segments of one image.

    Attributes:
        segment_map: Segment id of every pixel, shape (H, W), int32; 0 is void.
        segments: The segments, in order of their ids; every id occurs in the map and the other way round.
    """

    segment_map: NDArray[np.int32]
    segments: tuple[Segment, ...]

    def __repr__(self) -> str:
        height, width = self.segment_map.shape
        return f"PanopticSegments({len(self.segments)} segments, {width}x{height})"

    def validate(self) -> None:
        """Check that the attributes are consistent.

        Raises:
            DataError: the map is not an (H, W) int32 array, ids are not ascending and positive, ids of map and segments
                differ, or an area or box is not that of the pixels.
        """
        if self.segment_map.ndim != 2 or self.segment_map.dtype != np.int32:
            raise DataError(f"segment map must be (H, W) int32, not {self.segment_map.shape} {self.segment_map.dtype}")
        ids = [segment.id for segment in self.segments]
        if ids != sorted(set(ids)) or (ids and ids[0] <= 0):
            raise DataError(f"segment ids must be positive and ascending, not {ids}")
        expected = segments_from_map(self.segment_map, {segment.id: segment.category_id for segment in self.segments})
        if unseen := set(ids) - {segment.id for segment in expected.segments}:
            raise DataError(f"segment {min(unseen)} has no pixel in the segment map")
        for segment, seen in zip(self.segments, expected.segments, strict=True):
            if (segment.area, segment.bbox) != (seen.area, seen.bbox):
                raise DataError(
                    f"segment {segment.id} has area {seen.area} and box {seen.bbox} in the segment map, "
                    f"not {segment.area} and {segment.bbox}"
                )


@dataclass(frozen=True)
class SegmenterSettings:
    """Settings of a segmenter in the configuration.

    Attributes:
        weights: Weights of a learned segmenter: a folder, or a name on the hub.
        categories: Vocabulary of the annotated segments; empty if the data set has none.
        count: Number of superpixels or feature regions. None: superpixels merge by the distance of their colours alone.
        fill: Whether superpixels fill the background of a semantic segmenter.
    """

    weights: str | None = None
    categories: Sequence[Category] = ()
    count: int | None = None
    fill: bool = True

    def named_weights(self, name: str, more: str = "") -> str:
        """The weights.

        Raises:
            ConfigError: there are none.
        """
        if self.weights is None:
            raise ConfigError(f"segmenter {name} needs weights: a folder{more}, or a name on the hub")
        return self.weights


class Segmenter(Protocol):
    """Image -> panoptic segments."""

    categories: Sequence[Category]
    """The vocabulary that the segments' ``category_id`` come from."""

    @property
    def key(self) -> str:
        """All that determines the result, as text: part of the graph cache's key."""
        ...

    def __call__(self, image: NDArray[np.uint8], annotation: PanopticSegments | None = None) -> PanopticSegments:
        """Segment an RGB image.

        Args:
            image: Shape (H, W, 3), uint8.
            annotation: The image's annotated segments, where the collection has them; only the ground-truth segmenter
                uses them.

        Returns:
            The segments; there may be none.

        Raises:
            DataError: the image cannot be segmented.
        """
        ...

    def batch(
        self, images: Sequence[NDArray[np.uint8]], annotations: Sequence[PanopticSegments | None]
    ) -> list[PanopticSegments]:
        """Segment several images, RGB of shape (H, W, 3), uint8. Networks override this, to compute them together."""
        return [self(image, annotation) for image, annotation in zip(images, annotations, strict=True)]


def segments_from_map(segment_map: NDArray[np.integer], category_of: Mapping[int, int]) -> PanopticSegments:
    """Make segments of a segment map. Areas and boxes are computed from its pixels.

    Args:
        segment_map: Segment id of every pixel, shape (H, W); 0 is void.
        category_of: Category id of each segment id. Ids without a pixel (hidden things) are left out.

    Raises:
        DataError: an id is negative or has no category.
    """
    ids, inverse = np.unique(segment_map, return_inverse=True)
    labels = inverse.reshape(segment_map.shape) + 1  # find_objects takes 0 as background
    areas = np.bincount(labels.ravel(), minlength=len(ids) + 1)[1:]
    segments = []
    for id_, area, box in zip(ids.tolist(), areas.tolist(), ndimage.find_objects(labels), strict=True):
        if id_ == 0:
            continue
        if id_ < 0:
            raise DataError(f"segment map holds the negative id {id_}")
        if id_ not in category_of:
            raise DataError(f"segment {id_} of the segment map has no category")
        rows, columns = box
        bbox = (columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
        segments.append(Segment(id_, category_of[id_], area, bbox))
    return PanopticSegments(segment_map.astype(np.int32, copy=False), tuple(segments))


def decode_panoptic_png(rgb: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Segment map of a COCO panoptic PNG: id = R + 256 G + 65536 B, shape (H, W, 3) -> (H, W)."""
    return rgb.astype(np.int32) @ np.array([1, 256, 65536], dtype=np.int32)


def encode_panoptic_png(segment_map: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Inverse of :func:`decode_panoptic_png`, shape (H, W) -> (H, W, 3).

    Raises:
        DataError: an id is negative or above :data:`LARGEST_ID`.
    """
    if segment_map.size and not 0 <= segment_map.min() <= segment_map.max() <= LARGEST_ID:
        raise DataError(f"segment ids {segment_map.min()} to {segment_map.max()}: a PNG holds 0 to {LARGEST_ID}")
    return (segment_map[..., None] >> np.array([0, 8, 16])).astype(np.uint8)


def resize(segments: PanopticSegments, height: int, width: int) -> PanopticSegments:
    """Scale segments to another size of the image, by nearest neighbours.

    Segments that lose all their pixels are left out.
    """
    if segments.segment_map.shape == (height, width):
        return segments
    old_height, old_width = segments.segment_map.shape
    rows = (2 * np.arange(height) + 1) * old_height // (2 * height)
    columns = (2 * np.arange(width) + 1) * old_width // (2 * width)
    return _moved(segments, segments.segment_map[np.ix_(rows, columns)])


def turn(segments: PanopticSegments, orientation: int) -> PanopticSegments:
    """Turn segments as an EXIF orientation (1 to 8) turns the image."""
    if orientation not in _TURNS:
        return segments
    turned = Image.fromarray(segments.segment_map).transpose(_TURNS[orientation])
    return _moved(segments, np.asarray(turned, dtype=np.int32))


def _moved(segments: PanopticSegments, segment_map: NDArray[np.int32]) -> PanopticSegments:
    """The segments that still have pixels in a map made from theirs."""
    found = segments_from_map(segment_map, {s.id: s.category_id for s in segments.segments})
    crowds = {s.id for s in segments.segments if s.iscrowd}
    return replace(found, segments=tuple(replace(s, iscrowd=s.id in crowds) for s in found.segments))


def coco_categories(categories: Sequence[Category]) -> list[dict[str, Any]]:
    """A vocabulary as the ``categories`` of a COCO panoptic JSON."""
    return [{"id": c.id, "name": c.name, "isthing": int(c.isthing), "supercategory": ""} for c in categories]


def coco_annotation(segments: PanopticSegments, image_id: int, file_name: str) -> dict[str, Any]:
    """Segments as an entry of a COCO panoptic JSON's ``annotations``; ``file_name`` is the PNG's."""
    info = [
        {"id": s.id, "category_id": s.category_id, "area": s.area, "bbox": list(s.bbox), "iscrowd": int(s.iscrowd)}
        for s in segments.segments
    ]
    return {"image_id": image_id, "file_name": file_name, "segments_info": info}
