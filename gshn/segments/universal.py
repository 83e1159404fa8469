"""Segments by a panoptic segmentation network: the universal models of transformers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import Mask2FormerImageProcessorPil

from gshn.segments.labels import things_of
from gshn.segments.panoptic import Category, PanopticSegments, Segmenter, SegmenterSettings, segments_from_map
from gshn.segments.pretrained import load_network, version_of

KINDS = {"mask2former": {"learned": True, "help": "MaskFormer, Mask2Former and similar models in transformers"}}

THRESHOLD = 0.5
"""Queries below this class probability, and mask pixels below this probability, are dropped."""

OVERLAP = 0.8
"""Segments are dropped if others cover more than 1 - OVERLAP of them (Cheng et al., arXiv:2112.01527)."""


class UniversalSegmenter(Segmenter):
    """Mask2Former, MaskFormer, OneFormer or EoMT, in the format of transformers.

    Args:
        weights: A folder that ``save_pretrained`` wrote, or a name on the hub. Only safetensors are read.

    Raises:
        DataError: there is no such model, it is of another kind, or it is broken.
    """

    def __init__(self, weights: str | Path) -> None:
        self.weights = str(weights)
        self.processor, self.model = load_network("mask2former", self.weights)
        config = self.model.config
        self.is_oneformer = config.model_type == "oneformer"
        metadata = getattr(getattr(self.processor, "image_processor", self.processor), "metadata", None)  # OneFormer
        things = things_of(self.weights, config, map(int, metadata["thing_ids"]) if metadata else None)
        names = {int(label): name for label, name in config.id2label.items()}
        self.categories = tuple(Category(label + 1, names[label], label in things) for label in sorted(names))
        self._is_eomt = "eomt" in config.model_type
        # EoMT undoes its padding; the others want the same, and OneFormer's own needs torchvision.
        self._post_processor: Any = self.processor if self._is_eomt else Mask2FormerImageProcessorPil()
        self._stuff = {label for label in names if label not in things}

    def __repr__(self) -> str:
        return f"UniversalSegmenter({self.weights}: {self.model.config.model_type}, {len(self.categories)} categories)"

    @property
    def key(self) -> str:
        """See :class:`~gshn.segments.panoptic.Segmenter`."""
        return f"universal {version_of(self.weights, self.model)} {THRESHOLD} {OVERLAP}"

    def __call__(self, image: NDArray[np.uint8], annotation: PanopticSegments | None = None) -> PanopticSegments:
        """Segment an RGB image of shape (H, W, 3), uint8; ``annotation`` is not used."""
        return self.batch([image], [None])[0]

    @torch.inference_mode()
    def batch(
        self, images: Sequence[NDArray[np.uint8]], annotations: Sequence[PanopticSegments | None]
    ) -> list[PanopticSegments]:
        """Segment several images. An image has no segments if nothing is found."""
        tasks = {"task_inputs": ["panoptic"] * len(images)} if self.is_oneformer else {}
        inputs = self.processor(images=list(images), return_tensors="pt", **tasks).to(self.model.device)
        sizes = [image.shape[:2] for image in images]
        inputs.pop("patch_offsets", None)
        outputs = self.model(**inputs)
        # transformers must not fuse stuff: segments after it would get numbers that others have already.
        found = self._post_processor.post_process_panoptic_segmentation(
            outputs,
            threshold=THRESHOLD,
            mask_threshold=THRESHOLD,
            overlap_mask_area_threshold=OVERLAP,
            target_sizes=sizes,
            **({"stuff_classes": []} if self._is_eomt else {"label_ids_to_fuse": set()}),
        )
        return [self._segments(result, size) for result, size in zip(found, sizes, strict=True)]

    def _segments(self, result: dict[str, Any], size: tuple[int, ...]) -> PanopticSegments:
        numbers = result["segmentation"].cpu().numpy()
        segment_map = np.zeros(size, dtype=np.int32)
        category_of: dict[int, int] = {}
        stuff: dict[int, int] = {}
        for number, info in enumerate(result["segments_info"], start=1):
            label = int(info["label_id"])
            if label in self._stuff:
                number = stuff.setdefault(label, number)
            segment_map[numbers == info["id"]] = number
            category_of[number] = label + 1
        return segments_from_map(segment_map, category_of)


def make(name: str, settings: SegmenterSettings) -> UniversalSegmenter:
    """See :mod:`gshn.segments`.

    Raises:
        ConfigError: there are no weights.
        DataError: they cannot be used.
    """
    return UniversalSegmenter(settings.named_weights(name, " (gshn.segment --fit shapescenes makes one)"))
