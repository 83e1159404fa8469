"""Segments by a semantic segmentation network of transformers, which gives every pixel a class."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from gshn.segments.labels import BACKGROUND, MIN_AREA, divided, things_of
from gshn.segments.panoptic import Category, PanopticSegments, Segmenter, SegmenterSettings, segments_from_map
from gshn.segments.pretrained import load_network, version_of
from gshn.segments.superpixels import REGION, SuperpixelParameters, SuperpixelSegmenter, superpixels

KINDS = {"semantic": {"learned": True, "help": "semantic segmentation of transformers, superpixels in its background"}}

TOGETHER = 8
"""Largest number of images in one pass of the network: 64 of 513 x 513 pixels would need gigabytes."""


class SemanticSegmenter(Segmenter):
    """SegFormer, BEiT, DPT, UperNet, DeepLabv3 (MobileNet, MobileViT), in the format of transformers.

    1. The network gives every pixel its most likely label. Its own image processor prepares the image, except that the
       image is not cropped and keeps its aspect ratio.
    2. Each connected component of a thing's label is a segment, and so is all of a stuff's label. Smaller ones than
       :data:`~gshn.segments.labels.MIN_AREA` join the nearest (:func:`~gshn.segments.labels.divided`).
    3. Where the network has a background label, its pixels are divided into superpixels of category ``region``, or left
       void.

    Things that touch and have the same label are one segment: such a network does not tell them apart. Which labels are
    things, and which is the background: :mod:`gshn.segments.labels`.

    Args:
        weights: A folder that ``save_pretrained`` wrote, or a name on the hub. Only safetensors are read.
        count: Number of superpixels that a whole image would have: the background gets its share of them by area, at
            most so many that there are ``count`` segments in all, at least one for each of its parts. None: as many as
            :class:`~gshn.segments.superpixels.SuperpixelSegmenter` finds.
        fill: Whether superpixels fill the background.

    Raises:
        DataError: there is no such model, it is of another kind, or it is broken.
    """

    def __init__(self, weights: str | Path, count: int | None = None, fill: bool = True) -> None:
        self.weights, self.count, self.fill = str(weights), count, fill
        self.processor, self.model = load_network("semantic", self.weights)
        for cut in ("do_center_crop", "do_crop"):
            if getattr(self.processor, cut, None):
                setattr(self.processor, cut, False)
        names = {int(label): name for label, name in self.model.config.id2label.items()}
        self._things = things_of(self.weights, self.model.config)
        self._background = [label for label, name in names.items() if name.strip().casefold() in BACKGROUND]
        found = [Category(k + 1, names[k], k in self._things) for k in sorted(names) if k not in self._background]
        self._region = Category(len(names) + 1, REGION.name, REGION.isthing)
        self.categories = (*found, self._region) if self._background and fill else tuple(found)

    def __repr__(self) -> str:
        return f"SemanticSegmenter({self.weights}: {self.model.config.model_type}, {len(self.categories)} categories)"

    @property
    def key(self) -> str:
        """See :class:`~gshn.segments.panoptic.Segmenter`."""
        own = f"semantic {version_of(self.weights, self.model)} {MIN_AREA} {sorted(self._things)}"
        return f"{own} {SuperpixelSegmenter(count=self.count).key if self.fill else 'void'}"

    def __call__(self, image: NDArray[np.uint8], annotation: PanopticSegments | None = None) -> PanopticSegments:
        """Segment an RGB image of shape (H, W, 3), uint8; ``annotation`` is not used."""
        return self.batch([image], [None])[0]

    def batch(
        self, images: Sequence[NDArray[np.uint8]], annotations: Sequence[PanopticSegments | None]
    ) -> list[PanopticSegments]:
        """Segment several images. An image has no segments if nothing is found and nothing is filled."""
        labels = self._labels(images)
        return [self._segments(image, own) for image, own in zip(images, labels, strict=True)]

    @torch.inference_mode()
    def _labels(self, images: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.int64]]:
        """The most likely label of every pixel of each image, shapes (H, W)."""
        prepared = [self._prepare(image) for image in images]
        alike: dict[torch.Size, list[int]] = defaultdict(list)  # Where processors keep shapes, images differ in theirs.
        for index, pixels in enumerate(prepared):
            alike[pixels.shape].append(index)
        found: dict[int, NDArray[np.int64]] = {}
        batches = [(s, alike[s][k : k + TOGETHER]) for s in alike for k in range(0, len(alike[s]), TOGETHER)]
        for shape, indices in batches:
            logits = self.model(pixel_values=torch.stack([prepared[i] for i in indices]).to(self.model.device)).logits
            for index, own in zip(indices, logits, strict=True):
                height, width = images[index].shape[:2]
                found[index] = upsampled(own, shape[1:], self._extent(height, width), (height, width))
        return [found[index] for index in range(len(images))]

    def _prepare(self, image: NDArray[np.uint8], padding: NDArray[np.uint8] | None = None, **how: Any) -> Tensor:
        """The network's input, shape (3, h, w).

        Where the image processor scales to a fixed width and height, the image is padded to that shape first: networks
        are trained on things of their own shape.

        Args:
            image: Shape (H, W, 3), uint8.
            padding: Colour of the padding. None: the mean that the processor subtracts.
            how: Options of the image processor that differ from its defaults.
        """
        own, (height, width) = self.processor, image.shape[:2]
        size = own.size
        if own.do_resize and size.height and size.width and not getattr(own, "keep_aspect_ratio", False):
            scale = max(height / size.height, width / size.width)
            canvas = np.empty(
                (max(height, round(scale * size.height)), max(width, round(scale * size.width)), 3), np.uint8
            )
            canvas[:] = self._padding if padding is None else padding
            canvas[:height, :width] = image
            image = canvas
        pixels: Tensor = own(images=image, return_tensors="pt", **how)["pixel_values"][0]
        return pixels

    @property
    def _padding(self) -> NDArray[np.uint8]:
        mean = self.processor.image_mean if self.processor.do_normalize else None
        return np.round(255 * np.array(mean or [0.5] * 3)).astype(np.uint8)

    @cache  # noqa: B019 (a segmenter lives as long as the run)
    def _extent(self, height: int, width: int) -> tuple[slice, slice]:
        """Rows and columns of an image of this size in the network's input; the rest is padding."""
        white, black = np.full((height, width, 3), 255, dtype=np.uint8), np.zeros(3, dtype=np.uint8)
        brightness = self._prepare(white, black, do_normalize=False, do_rescale=False)[0]
        seen = brightness > brightness.max() / 2
        rows, columns = (torch.nonzero(seen.any(dim=axis)).flatten().tolist() for axis in (1, 0))
        return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)

    def _segments(self, image: NDArray[np.uint8], labels: NDArray[np.int64]) -> PanopticSegments:
        """Segments of an image whose pixels have these labels."""
        segment_map, label_of = divided(labels, self._things, self._background)
        category_of = {segment: label + 1 for segment, label in label_of.items()}
        outside = segment_map == 0
        if self.fill and outside.any():
            regions = superpixels(image, SuperpixelParameters(), self._left(len(category_of), outside), inside=outside)
            above = int(segment_map.max())
            segment_map[outside] = regions[outside] + above
            category_of |= dict.fromkeys(range(above + 1, above + int(regions.max()) + 1), self._region.id)
        return segments_from_map(segment_map, category_of)

    def _left(self, found: int, outside: NDArray[np.bool_]) -> int | None:
        """Number of superpixels for the background of an image, given the number of its other segments."""
        if self.count is None:
            return None
        return max(1, min(self.count - found, round(self.count * outside.mean())))


def upsampled(
    logits: Tensor, size: Sequence[int], extent: Sequence[slice], image_size: Sequence[int]
) -> NDArray[np.int64]:
    """The most likely label of every pixel of an image, shape (H, W).

    Args:
        logits: Shape (C, h, w).
        size: Height and width of the network's input.
        extent: Rows and columns of the image in it.
        image_size: Height and width of the image.
    """
    # A network whose outputs are a whole number of pixels apart, the first and the last on the input's border, as
    # DeepLab's at 16 k + 1 pixels, is upsampled as it was trained.
    aligned = all(own > 1 and (whole - 1) % (own - 1) == 0 for whole, own in zip(size, logits.shape[1:], strict=True))
    canvas, cut = [], []
    for whole, part, pixels in zip(size, extent, image_size, strict=True):
        scale = pixels / (part.stop - part.start)
        start = round(scale * part.start)
        canvas.append(max(round(scale * whole), start + pixels))
        cut.append(slice(start, start + pixels))
    scores = interpolate(logits[None].float(), tuple(canvas), mode="bilinear", align_corners=aligned)
    labels: NDArray[np.int64] = scores[0, :, cut[0], cut[1]].argmax(dim=0).cpu().numpy()
    return labels


def make(name: str, settings: SegmenterSettings) -> SemanticSegmenter:
    """See :mod:`gshn.segments`.

    Raises:
        ConfigError: there are no weights.
        DataError: they cannot be used.
    """
    return SemanticSegmenter(settings.named_weights(name), settings.count, settings.fill)
