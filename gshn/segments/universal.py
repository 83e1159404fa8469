"""Segments by a trained network: the universal segmentation models of transformers."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForUniversalSegmentation,
    AutoProcessor,
    Mask2FormerImageProcessorPil,
)
from transformers.utils import logging as transformers_logging

from gshn.errors import DataError
from gshn.segments.panoptic import Category, PanopticSegments, Segmenter, segments_from_map

logger = logging.getLogger(__name__)

THRESHOLD = 0.5
"""Queries below this class probability, and mask pixels below this probability, are dropped."""

OVERLAP = 0.8
"""Segments of which other segments cover more than 1 - OVERLAP are dropped (Cheng et al., arXiv:2112.01527)."""

_FIRST_ARE_THINGS = {133: 80}
"""Labels of COCO panoptic: things come first. Cityscapes has them last, ADE20K mixed."""


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Without the progress bars and warnings of transformers: that backbones other than Swin are not tried, say."""
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


class UniversalSegmenter(Segmenter):
    """Mask2Former, MaskFormer, OneFormer or EoMT, in the format of transformers.

    Args:
        weights: A folder that ``save_pretrained`` wrote, or a name on the hub. Only safetensors are read.

    Raises:
        DataError: there is no such model, it is of another kind, or it is broken.
    """

    def __init__(self, weights: str | Path) -> None:
        self.weights = str(weights)
        mend = "name a folder with config.json, preprocessor_config.json and model.safetensors, or a model on the hub"
        try:
            with quiet_transformers():
                config = AutoConfig.from_pretrained(self.weights)
                self.is_oneformer = config.model_type == "oneformer"
                processors = AutoProcessor if self.is_oneformer else AutoImageProcessor
                self.processor: Any = processors.from_pretrained(self.weights, backend="pil")
                self.model: Any = AutoModelForUniversalSegmentation.from_pretrained(self.weights, use_safetensors=True)
        except Exception as error:  # transformers and the hub raise whatever suits them
            reason = str(error).strip().splitlines()[0]
            raise DataError(f"segmenter weights {self.weights} cannot be used ({reason}); {mend}") from None
        self.model.eval().requires_grad_(False)
        self.model.to("cuda" if torch.cuda.is_available() else "cpu")
        names = {int(label): name for label, name in config.id2label.items()}
        things = self._things(len(names))
        self.categories = tuple(Category(label + 1, names[label], label in things) for label in sorted(names))
        self._is_eomt = "eomt" in self.model.config.model_type
        # EoMT undoes its padding; the others want the same, and OneFormer's own needs torchvision.
        self._post_processor: Any = self.processor if self._is_eomt else Mask2FormerImageProcessorPil()
        self._stuff = {label for label in names if label not in things}

    def __repr__(self) -> str:
        return f"UniversalSegmenter({self.weights}: {self.model.config.model_type}, {len(self.categories)} categories)"

    def _things(self, labels: int) -> set[int]:
        """Labels of things, which transformers has no common place for."""
        config = self.model.config
        image_processor = getattr(self.processor, "image_processor", self.processor)
        if (own := getattr(config, "thing_labels", None)) is not None:
            return set(own)
        if metadata := getattr(image_processor, "metadata", None):  # OneFormer
            return {int(label) for label in metadata["thing_ids"]}
        if labels in _FIRST_ARE_THINGS:
            return set(range(_FIRST_ARE_THINGS[labels]))
        logger.warning(
            "%s does not say which of its %d labels are things: all are taken for things", self.weights, labels
        )
        return set(range(labels))

    @property
    def key(self) -> str:
        """See :class:`~gshn.segments.panoptic.Segmenter`."""
        folder = Path(self.weights)
        if folder.is_dir():
            digest = hashlib.blake2b(digest_size=16)
            for path in sorted(path for path in folder.iterdir() if path.suffix in (".json", ".safetensors")):
                digest.update(path.name.encode() + path.read_bytes())
            version = digest.hexdigest()
        else:
            version = f"{self.weights}@{getattr(self.model.config, '_commit_hash', None)}"
        return f"universal {version} {THRESHOLD} {OVERLAP}"

    def __call__(self, image: NDArray[np.uint8], annotation: PanopticSegments | None = None) -> PanopticSegments:
        """Segment an RGB image of shape (H, W, 3), uint8; ``annotation`` is not looked at."""
        return self.batch([image], [None])[0]

    @torch.inference_mode()
    def batch(
        self, images: Sequence[NDArray[np.uint8]], annotations: Sequence[PanopticSegments | None]
    ) -> list[PanopticSegments]:
        """Segment several images; one in which nothing is found gets no segment."""
        tasks = {"task_inputs": ["panoptic"] * len(images)} if self.is_oneformer else {}
        inputs = self.processor(images=list(images), return_tensors="pt", **tasks).to(self.model.device)
        sizes = [image.shape[:2] for image in images]
        inputs.pop("patch_offsets", None)
        outputs = self.model(**inputs)
        # Nothing is fused there: where stuff is, later segments get numbers that others have already.
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
