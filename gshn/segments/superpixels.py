"""Segments of plain images without annotation or trained weights: superpixels merged by colour."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from heapq import heapify, heappop, heappush
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from skimage.color import rgb2lab
from skimage.measure import label
from skimage.segmentation import felzenszwalb

from gshn.errors import DataError
from gshn.segments.panoptic import Category, PanopticSegments, Segmenter, SegmenterSettings, segments_from_map
from neuromorphic.execution.c_compiler import shared_library

KINDS = {"superpixels": {"help": "regions of similar colour, without training"}}

SOURCE = Path(__file__).parent / "superpixels.c"

REGION = Category(id=1, name="region", isthing=False)


@dataclass(frozen=True)
class SuperpixelParameters:
    """Parameters of :class:`SuperpixelSegmenter`.

    Attributes:
        scale: Felzenszwalb and Huttenlocher's k, for colours in [0, 1] times 255: larger gives larger superpixels.
        merge_distance: Touching segments merge whose mean colours are nearer than this, in CIE Lab units (some 2.3 is
            just noticeable). Without meaning where a number of segments is given.
        min_area: Smallest segment, as a share of the image: 8 pixels at 64 x 64, so that photographs do not fall to
            pieces.
    """

    scale: float = 30.0
    merge_distance: float = 10.0
    min_area: float = 0.002


class SuperpixelSegmenter(Segmenter):
    """Graph-based superpixels, with blurred outlines resolved, merged by colour.

    1. Superpixels (Felzenszwalb and Huttenlocher, Efficient graph-based image segmentation, IJCV 2004). Unlike SLIC's,
       their size adapts to the image, so that a thing of 30 pixels is still a superpixel.
    2. Superpixels that are tiny or nowhere three pixels thick are outlines (anti-aliasing, blur), not regions: each of
       their pixels goes to the neighbouring region of nearest mean colour, from the regions outwards.
    3. Touching regions of similar mean colour merge. If a number of segments is given, :func:`ward_merge` joins regions
       until that number is left.

    Every segment is connected (by sides or corners) and of category :data:`REGION`; every pixel belongs to one.

    Args:
        parameters: See :class:`SuperpixelParameters`.
        count: Number of segments of an image, > 0. There are fewer only if step 2 leaves fewer. None: as many as step 3
            leaves.
    """

    categories: Sequence[Category] = (REGION,)

    def __init__(self, parameters: SuperpixelParameters | None = None, count: int | None = None) -> None:
        self.parameters, self.count = parameters or SuperpixelParameters(), count

    def __repr__(self) -> str:
        return f"SuperpixelSegmenter({self.parameters}{'' if self.count is None else f', count={self.count}'})"

    @property
    def key(self) -> str:
        """See :class:`~gshn.segments.panoptic.Segmenter`."""
        exact = "" if kernels() is None else " exact costs"
        return f"{self!r} scikit-image {version('scikit-image')}{exact}"

    def __call__(self, image: NDArray[np.uint8], annotation: PanopticSegments | None = None) -> PanopticSegments:
        """Segment an RGB image.

        Args:
            image: Shape (H, W, 3), uint8.
            annotation: Not used.

        Raises:
            DataError: the image is not RGB uint8, or has no pixel.
        """
        labels = superpixels(image, self.parameters, self.count)
        return segments_from_map(labels, dict.fromkeys(range(1, labels.max() + 1), REGION.id))


def superpixels(
    image: NDArray[np.uint8],
    parameters: SuperpixelParameters,
    count: int | None = None,
    inside: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """The superpixels of :class:`SuperpixelSegmenter`, numbered 1, 2, ..., shape (H, W).

    Args:
        image: Shape (H, W, 3), uint8.
        parameters: See :class:`SuperpixelParameters`.
        count: As for :class:`SuperpixelSegmenter`; parts of ``inside`` that do not touch by sides never merge.
        inside: Pixels to divide, shape (H, W); all others get 0. None: all pixels.

    Raises:
        DataError: the image is not RGB uint8, or has no pixel.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise DataError(f"expected an RGB image (H, W, 3) uint8, not {image.shape} {image.dtype}")
    found = _oversegmented(image, parameters.scale)
    min_area = int(parameters.min_area * found.size)
    colours = image.astype(np.float64)
    if inside is None:
        labels = _grow(_regions(found, min_area), colours)
    else:
        # Cut along the outline, and into the pieces that this leaves. A part without a region is one, if not tiny.
        pieces = label(np.where(inside, found + 1, 0), background=0, connectivity=2)
        regions = np.where(inside, _regions(pieces, min_area), 0)
        parts = label(inside, connectivity=1)
        areas = np.bincount(parts.ravel())
        lacks = np.bincount(parts.ravel(), weights=(regions > 0).ravel()) == 0
        lacks &= areas >= min(min_area, areas[1:].max(initial=0))
        regions = np.where(inside & lacks[parts], regions.max() + parts, regions)
        labels = _renumbered(_grow(regions, colours, inside))
        if (tiny := inside & (labels == 0)).any():
            nearest = ndimage.distance_transform_edt(labels == 0, return_distances=False, return_indices=True)
            labels = np.where(tiny, labels[tuple(nearest)], labels)
    lab = rgb2lab(image)
    return _merge(labels, lab, parameters.merge_distance) if count is None else ward_merge(labels, lab, count)


@cache
def kernels() -> ctypes.CDLL | None:
    """The loops in C; None if there is no C compiler, or the library cannot be loaded."""
    try:
        return shared_library("superpixels", SOURCE.read_text())
    except (OSError, RuntimeError, subprocess.CalledProcessError):  # no home folder, for example
        return None


def _oversegmented(image: NDArray[np.uint8], scale: float) -> NDArray[np.int64]:
    """Felzenszwalb and Huttenlocher's superpixels, without blur or least size, numbered 0, 1, ..., shape (H, W).

    Every pixel is a tree at first. Edges between neighbouring pixels, in eight directions, are taken by ascending cost,
    the Euclidean distance of the two colours. The trees A and B of an edge's pixels join if cost < Int(A) + scale / |A|
    and cost < Int(B) + scale / |B|, where Int is the largest cost within a tree, and |A| its number of pixels.

    The order of edges of equal cost does not matter: a tree that joins at a cost takes all further edges of this cost.
    In C squares of costs are integers, so that a cost that equals a limit is refused, as it should be. Without a
    compiler, scikit-image's ``felzenszwalb`` leaves that to rounding, so that some regions differ.
    """
    if (own := kernels()) is None:
        return felzenszwalb(image, scale=scale, sigma=0, min_size=1)
    height, width = image.shape[:2]
    image = np.ascontiguousarray(image)
    labels = np.empty((height, width), dtype=np.int64)
    # Names, which keep the arrays until C is done with them.
    ends, order = np.empty(3 * 255**2 + 2, np.int32), np.empty(4 * labels.size, np.int32)
    parent, area, inside = np.empty(labels.size, np.int32), np.empty(labels.size, np.int32), np.empty(labels.size)
    own.oversegment(
        *(_address(image), ctypes.c_int64(height), ctypes.c_int64(width), ctypes.c_double(scale)),
        *(_address(ends), _address(order), _address(parent), _address(area), _address(inside), _address(labels)),
    )
    return labels


def _address(array: NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


def ward_merge(labels: NDArray[np.int64], colours: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Merge touching regions, two at a time, until ``count`` are left or none touch.

    The two regions with the least cost are merged. The cost is the increase of the squared distances of pixels to their
    region's mean colour: cost(a, b) = |a| |b| / (|a| + |b|) ||mean_a - mean_b||^2, where |a| is the area of a. Large
    regions stay apart at smaller differences than small ones, so small specks do not use up the ``count`` regions.
    Source: Ward, Hierarchical grouping to optimize an objective function, J. Am. Stat. Assoc. 58 (1963), here among
    touching regions only.

    Args:
        labels: Regions 1, 2, ..., each with a pixel, shape (H, W); 0 is none, and stays none.
        colours: Shape (H, W, C).
        count: Number of regions that are left, > 0.

    Returns:
        Regions 1, 2, ..., shape (H, W).
    """
    area: list[float] = np.bincount(labels.ravel()).tolist()
    mean: list[list[float]] = _mean_colours(labels, colours).tolist()
    first, second = _borders(labels)
    codes = np.unique(np.minimum(first, second) * len(area) + np.maximum(first, second))
    pairs: list[tuple[int, int]] = [divmod(code, len(area)) for code in codes.tolist()]
    touching: list[set[int]] = [set() for _ in area]
    for a, b in pairs:
        touching[a].add(b)
        touching[b].add(a)

    def cost(a: int, b: int) -> float:
        apart = sum((x - y) ** 2 for x, y in zip(mean[a], mean[b], strict=True))
        return area[a] * area[b] / (area[a] + area[b]) * apart

    queue = [(cost(a, b), a, b) for a, b in pairs]
    heapify(queue)
    into = list(range(len(area)))
    left = len(area) - 1
    while left > count and queue:
        _, a, b = heappop(queue)
        if into[a] != a or into[b] != b:
            continue  # one of them has merged since
        merged, whole = len(area), area[a] + area[b]
        mean.append([(area[a] * x + area[b] * y) / whole for x, y in zip(mean[a], mean[b], strict=True)])
        area.append(whole)
        into[a] = into[b] = merged
        into.append(merged)
        touching.append((touching[a] | touching[b]) - {a, b})
        for other in touching[merged]:
            touching[other] = (touching[other] - {a, b}) | {merged}
            heappush(queue, (cost(other, merged), other, merged))
        left -= 1
    for region in reversed(range(len(into))):  # later regions hold earlier ones
        into[region] = into[into[region]]
    return _renumbered(np.array(into)[labels])


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


def _sums(labels: NDArray[np.int64], colours: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of the colours of each label's pixels, shape (max label + 1, 3)."""
    flat = labels.ravel()
    return np.stack([np.bincount(flat, weights=channel.ravel()) for channel in np.moveaxis(colours, 2, 0)], axis=1)


def _mean_colours(labels: NDArray[np.int64], colours: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean colour of each label, shape (max label + 1, 3)."""
    return _sums(labels, colours) / np.maximum(np.bincount(labels.ravel()), 1)[:, None]


def _renumbered(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Labels above 0 numbered 1, 2, ... in their order; 0 stays."""
    used = np.unique(labels)
    return np.searchsorted(used[used > 0], labels, side="left") + (labels > 0)


def _grow(
    labels: NDArray[np.int64], colours: NDArray[np.float64], inside: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """Give the pixels labelled 0, of those ``inside``, to the touching region of nearest mean colour, layer by layer.

    Colours are RGB: an anti-aliased pixel is a mix in RGB, and so goes to the side that covers more than half of it.
    """
    means = _mean_colours(labels, colours)
    padded = np.pad(labels, 1)
    flat, columns = padded.ravel(), padded.shape[1]
    unlabelled = np.flatnonzero(np.pad((labels == 0) & (True if inside is None else inside), 1))
    if (own := kernels()) is not None:
        colours, means, chosen = np.ascontiguousarray(colours), np.ascontiguousarray(means), np.empty_like(unlabelled)
        own.grow(
            *(_address(padded), _address(colours), _address(means), ctypes.c_int64(columns)),
            *(_address(unlabelled), ctypes.c_int64(unlabelled.size), _address(chosen)),
        )
        return padded[1:-1, 1:-1]
    flat_colours = np.pad(colours, ((1, 1), (1, 1), (0, 0))).reshape(-1, colours.shape[2])
    while True:
        candidates = flat[unlabelled + np.array([[-columns], [columns], [-1], [1]])]
        reached = (candidates > 0).any(axis=0)
        if not reached.any():
            return padded[1:-1, 1:-1]
        candidates, pixels = candidates[:, reached], unlabelled[reached]
        distance = ((flat_colours[pixels] - means[candidates]) ** 2).sum(axis=-1)
        distance[candidates == 0] = np.inf
        flat[pixels] = candidates[distance.argmin(axis=0), np.arange(pixels.size)]
        unlabelled = unlabelled[~reached]


def _borders(labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Labels on both sides of every border between two regions, pixel by pixel, shapes (P,); 0 is no region."""
    first = np.concatenate([labels[:, :-1].ravel(), labels[:-1].ravel()])
    second = np.concatenate([labels[:, 1:].ravel(), labels[1:].ravel()])
    border = (first != second) & (first > 0) & (second > 0)
    return first[border], second[border]


def _merge(labels: NDArray[np.int64], colours: NDArray[np.float64], distance: float) -> NDArray[np.int64]:
    """Merge touching labels whose mean colours are nearer than ``distance``, until there are none."""
    first, second = _borders(labels)
    sums = _sums(labels, colours)
    area: NDArray[np.floating | np.integer] = np.bincount(labels.ravel())
    into = np.arange(len(area))
    while True:
        means = sums / np.maximum(area, 1)[:, None]
        like = np.linalg.norm(means[first] - means[second], axis=1) < distance
        if not like.any():
            return into[labels]
        links = coo_array((first[like], (first[like], second[like])), shape=(len(area), len(area)))
        # Label 0 merges with none and so stays a component of its own, the first: labels still begin at 1.
        merged = connected_components(links, directed=False)[1].astype(np.int64)
        sums = np.stack([np.bincount(merged, weights=channel) for channel in sums.T], axis=1)
        area = np.bincount(merged, weights=area)
        into, first, second = merged[into], merged[first], merged[second]
        first, second = first[apart := first != second], second[apart]


def make(name: str, settings: SegmenterSettings) -> SuperpixelSegmenter:
    """See :mod:`gshn.segments`."""
    return SuperpixelSegmenter(count=settings.count)
