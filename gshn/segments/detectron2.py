"""Segments by detectron2's Panoptic FPN, or any other of its panoptic models; detectron2 is installed by the user."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gshn.errors import ConfigError, DataError
from gshn.segments.panoptic import Category, PanopticSegments, Segmenter, segments_from_map

CONFIG = "COCO-PanopticSegmentation/panoptic_fpn_R_50_3x.yaml"
"""Model of the zoo where nothing else is named."""


class Detectron2Segmenter(Segmenter):
    """A panoptic model of detectron2 (Kirillov et al., Panoptic Feature Pyramid Networks, arXiv:1901.02446).

    Args:
        weights: ``CONFIG``, or ``CONFIG:WEIGHTS``. CONFIG is a YAML file, or a name in detectron2's model zoo, whose
            weights are then taken; WEIGHTS a file, or an address that detectron2 can read.

    Raises:
        ConfigError: detectron2 is not installed.
        DataError: the model cannot be built or read, or is not a panoptic one.
    """

    def __init__(self, weights: str | None = None) -> None:
        try:
            from detectron2 import model_zoo
            from detectron2.config import get_cfg
            from detectron2.data import MetadataCatalog
            from detectron2.engine import DefaultPredictor
        except ImportError:
            raise ConfigError(
                "segmenter detectron2 needs detectron2, which its makers ship as source: "
                "pip install 'git+https://github.com/facebookresearch/detectron2.git' --no-build-isolation"
            ) from None
        name, _, file = (weights or CONFIG).partition(":")
        self.weights = weights or CONFIG
        try:
            config = get_cfg()
            in_zoo = not Path(name).is_file()
            config.merge_from_file(model_zoo.get_config_file(name) if in_zoo else name)
            config.MODEL.WEIGHTS = file or (model_zoo.get_checkpoint_url(name) if in_zoo else config.MODEL.WEIGHTS)
            self._predictor: Any = DefaultPredictor(config)
            metadata = MetadataCatalog.get(config.DATASETS.TRAIN[0])
            things, stuff = list(metadata.thing_classes), list(metadata.stuff_classes)
        except Exception as error:  # detectron2 raises whatever suits it
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise DataError(
                f"detectron2 model {self.weights} cannot be used ({reason}); give CONFIG or CONFIG:WEIGHTS, CONFIG a "
                "YAML file or a name in detectron2's model zoo"
            ) from None
        # Panoptic FPN's first stuff class is "things": where the things are. It is never a segment.
        self._stuff_start = len(things) + 1
        self.categories: Sequence[Category] = tuple(
            Category(number, name, number < self._stuff_start) for number, name in enumerate([*things, *stuff], start=1)
        )

    def __repr__(self) -> str:
        return f"Detectron2Segmenter({self.weights}, {len(self.categories)} categories)"

    @property
    def key(self) -> str:
        """See :class:`~gshn.segments.panoptic.Segmenter`."""
        file = Path(self.weights.partition(":")[2])
        digest = hashlib.blake2b(file.read_bytes(), digest_size=16).hexdigest() if file.is_file() else ""
        return f"detectron2 {self.weights} {digest}"

    def __call__(self, image: NDArray[np.uint8], annotation: PanopticSegments | None = None) -> PanopticSegments:
        """Segment an RGB image of shape (H, W, 3), uint8; ``annotation`` is not looked at.

        Raises:
            DataError: the model gives no panoptic segments.
        """
        found = self._predictor(image[:, :, ::-1])  # it wants BGR, and turns it as its configuration says
        if "panoptic_seg" not in found:
            raise DataError(f"detectron2 model {self.weights} gives no panoptic segments; name a panoptic one")
        numbers, infos = found["panoptic_seg"]
        category_of = {
            info["id"]: info["category_id"] + (1 if info["isthing"] else self._stuff_start) for info in infos
        }
        segment_map = numbers.cpu().numpy().astype(np.int32)
        segment_map[~np.isin(segment_map, list(category_of))] = 0  # pixels of no segment
        return segments_from_map(segment_map, category_of)
