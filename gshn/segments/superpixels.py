"""Segments of plain images without annotation or trained weights: superpixels merged by colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from skimage.color import rgb2lab
from skimage.segmentation import felzenszwalb

from gshn.errors import DataError
from gshn.segments.panoptic import Category, PanopticSegments, Segmenter, segments_from_map

REGION = Category(id=1, name="region", isthing=False)


@dataclass(frozen=True)
class SuperpixelParameters:
    """Parameters of :class:`SuperpixelSegmenter`.

    Attributes:
        scale: Felzenszwalb and Huttenlocher's k, for colours in [0, 1] times 255: larger gives larger superpixels.
        merge_distance: Touching segments merge whose mean colours are nearer than this, in CIE Lab units (some 2.3 is
            just noticeable).
        min_area: Smallest segment, as a share of the image: 8 pixels at 64 x 64, so that photographs do not fall to
            pieces.
    """

    scale: float = 30.0
    merge_distance: float = 10.0
    min_area: float = 0.002


class SuperpixelSegmenter(Segmenter):
    """Graph-based superpixels, with blurred outlines resolved, merged by colour.

    1. Superpixels (Felzenszwalb and Huttenlocher, Efficient graph-based image segmentation, IJCV 2004). Unlike SLIC's,
       their size adapts to the image, so that a thing of 30 pixels still is one.
    2. Superpixels that are tiny or nowhere three pixels thick are outlines (anti-aliasing, blur), not regions: each of
       their pixels goes to the neighbouring region of nearest mean colour, from the regions outwards.
    3. Touching regions of like mean colour merge.

    Every segment is connected (by sides or corners) and of category :data:`REGION`; every pixel belongs to one.

    Args:
        parameters: See :class:`SuperpixelParameters`.
    """

    categories: Sequence[Category] = (REGION,)

    def __init__(self, parameters: SuperpixelParameters | None = None) -> None:
        self.parameters = parameters or SuperpixelParameters()

    def __repr__(self) -> str:
        return f"SuperpixelSegmenter({self.parameters})"

    @property
    def key(self) -> str:
        """See :class:`~gshn.segments.panoptic.Segmenter`."""
        return f"{self!r} scikit-image {version('scikit-image')}"

    def __call__(self, image: NDArray[np.uint8], annotation: PanopticSegments | None = None) -> PanopticSegments:
        """Segment an RGB image.

        Args:
            image: Shape (H, W, 3), uint8.
            annotation: Not looked at.

        Raises:
            DataError: the image is not RGB uint8, or has no pixel.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
            raise DataError(f"expected an RGB image (H, W, 3) uint8, not {image.shape} {image.dtype}")
        p = self.parameters
        superpixels = felzenszwalb(image, scale=p.scale, sigma=0, min_size=1)
        labels = _grow(_regions(superpixels, int(p.min_area * superpixels.size)), image.astype(np.float64))
        labels = _merge(labels, rgb2lab(image), p.merge_distance)
        return segments_from_map(labels, dict.fromkeys(range(1, labels.max() + 1), REGION.id))


def _neighbours(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Labels above, below, left and right of every pixel, shape (4, H, W); a pixel's own label beyond the image."""
    padded = np.pad(labels, 1, mode="edge")
    return np.stack([padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]])


def _regions(superpixels: NDArray[np.int64], min_area: int) -> NDArray[np.int64]:
    """Number the superpixels of ``min_area`` pixels with an interior pixel 1, 2, ...; the others become 0."""
    interior = (_neighbours(superpixels) == superpixels).all(axis=0)
    area = np.bincount(superpixels.ravel())
    is_region = (np.bincount(superpixels.ravel(), weights=interior.ravel()) > 0) & (area >= min_area)
    if not is_region.any():
        is_region[area.argmax()] = True
    return np.where(is_region, is_region.cumsum(), 0)[superpixels]


def _mean_colours(labels: NDArray[np.int64], colours: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean colour of each label, shape (max label + 1, 3)."""
    flat = labels.ravel()
    sums = [np.bincount(flat, weights=channel.ravel()) for channel in np.moveaxis(colours, 2, 0)]
    return np.stack(sums, axis=1) / np.maximum(np.bincount(flat), 1)[:, None]


def _grow(labels: NDArray[np.int64], colours: NDArray[np.float64]) -> NDArray[np.int64]:
    """Give the pixels labelled 0 to the touching region of nearest mean colour, layer by layer.

    Colours are RGB: an anti-aliased pixel is a mix in RGB, and so goes to the side that covers more than half of it.
    """
    means = _mean_colours(labels, colours)
    labels = labels.copy()
    while True:
        rows, columns = np.nonzero((labels == 0) & (_neighbours(labels) > 0).any(axis=0))
        if not rows.size:
            return labels
        candidates = _neighbours(labels)[:, rows, columns]
        distance = ((colours[rows, columns] - means[candidates]) ** 2).sum(axis=-1)
        distance[candidates == 0] = np.inf
        labels[rows, columns] = candidates[distance.argmin(axis=0), np.arange(rows.size)]


def _merge(labels: NDArray[np.int64], colours: NDArray[np.float64], distance: float) -> NDArray[np.int64]:
    """Merge touching labels whose mean colours are nearer than ``distance``, until there are none."""
    while True:
        means = _mean_colours(labels, colours)
        first = np.concatenate([labels[:, :-1].ravel(), labels[:-1].ravel()])
        second = np.concatenate([labels[:, 1:].ravel(), labels[1:].ravel()])
        like = (first != second) & (np.linalg.norm(means[first] - means[second], axis=1) < distance)
        if not like.any():
            return labels
        links = coo_array((like[like], (first[like], second[like])), shape=(len(means), len(means)))
        # Label 0 has no pixel and so stays a component of its own, the first: labels still begin at 1.
        labels = connected_components(links, directed=False)[1].astype(np.int64)[labels]
