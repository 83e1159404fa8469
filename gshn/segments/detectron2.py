"""Segments by detectron2's Panoptic FPN, or any other of its panoptic models; detectron2 is installed by the user."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gshn.errors import ConfigError, DataError
from gshn.segments.panoptic import Category, PanopticSegments, Segmenter, SegmenterSettings, segments_from_map
from neuromorphic.errors import first_line
from neuromorphic.files import file_digest

KINDS = {"detectron2": {"learned": True, "help": "its panoptic models"}}

CONFIG = "COCO-PanopticSegmentation/panoptic_fpn_R_50_3x.yaml"
"""The default model, of detectron2's model zoo."""


class Detectron2Segmenter(Segmenter):
    """A panoptic model of detectron2 (Kirillov et al., Panoptic Feature Pyramid Networks, arXiv:1901.02446).

    Args:
        weights: ``CONFIG``, or ``CONFIG:WEIGHTS``. CONFIG is a YAML file, or a name in detectron2's model zoo, whose
            weights are then taken. WEIGHTS is a file, or an address that detectron2 can read.

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
            in_zoo = not Path(name).is_file()
            path = model_zoo.get_config_file(name) if in_zoo else name
            config = get_cfg()
            try:
                config.merge_from_file(path)
            except KeyError:  # Panoptic-DeepLab has keys of its own, which its import brings
                from detectron2.projects.panoptic_deeplab import add_panoptic_deeplab_config

                config = get_cfg()
                add_panoptic_deeplab_config(config)
                config.merge_from_file(path)
            config.MODEL.WEIGHTS = file or (model_zoo.get_checkpoint_url(name) if in_zoo else config.MODEL.WEIGHTS)
            if not torch.cuda.is_available():
                config.MODEL.DEVICE = "cpu"
            self._files = [Path(file) for file in (name, config.MODEL.WEIGHTS) if Path(file).is_file()]
            self._predictor: Any = DefaultPredictor(config)
            metadata = MetadataCatalog.get(config.DATASETS.TRAIN[0])
            self._classes = _classes(metadata)
            # Models without a list of segments give each pixel category * divisor + instance.
            self._divisor = getattr(metadata, "label_divisor", None)
        except Exception as error:  # detectron2 raises errors of many types
            reason = first_line(error)
            raise DataError(
                f"detectron2 model {self.weights} cannot be used ({reason}); give CONFIG or CONFIG:WEIGHTS, CONFIG a "
                "YAML file or a name in detectron2's model zoo"
            ) from None
        # Numbered as they stand, a category that is thing and stuff once.
        self.categories: Sequence[Category] = tuple(dict.fromkeys([*self._classes.things, *self._classes.stuff]))

    def __repr__(self) -> str:
        return f"Detectron2Segmenter({self.weights}, {len(self.categories)} categories)"

    @property
    def key(self) -> str:
        """See :class:`~gshn.segments.panoptic.Segmenter`."""
        return " ".join(["detectron2", self.weights, *map(file_digest, self._files)])

    def __call__(self, image: NDArray[np.uint8], annotation: PanopticSegments | None = None) -> PanopticSegments:
        """Segment an RGB image of shape (H, W, 3), uint8; ``annotation`` is not used.

        Raises:
            DataError: the model gives no panoptic segments, or some that its metadata do not name.
        """
        found = self._predictor(image[:, :, ::-1])  # it takes BGR, and reorders it by its configuration
        if "panoptic_seg" not in found:
            raise DataError(f"detectron2 model {self.weights} gives no panoptic segments; name a panoptic one")
        panoptic, infos = found["panoptic_seg"]
        labels = panoptic.cpu().numpy()
        try:
            category_of = self._named_by_labels(labels) if infos is None else self._named_by_infos(infos)
        except (KeyError, IndexError, TypeError) as error:
            reason = f"segments without {error}" if isinstance(error, KeyError) else str(error)
            raise DataError(
                f"detectron2 model {self.weights} does not fit its data set's metadata ({reason})"
            ) from None
        segment_map = np.zeros(labels.shape, dtype=np.int32)  # 0: pixels without a segment, whose label is arbitrary
        for number, label in enumerate(category_of, start=1):
            segment_map[labels == label] = number
        return segments_from_map(segment_map, dict(enumerate(category_of.values(), start=1)))

    def _named_by_infos(self, infos: Sequence[Mapping[str, Any]]) -> dict[int, int]:
        """Category id of each label of the map, from the model's list of segments."""
        return {info["id"]: self._classes.category(info["category_id"], info["isthing"]).id for info in infos}

    def _named_by_labels(self, labels: NDArray[np.integer]) -> dict[int, int]:
        """Category id of each label of a map whose labels contain it; -1 is void."""
        if self._divisor is None:
            raise TypeError("its segments are not named, and there is no label_divisor")
        found = [label for label in np.unique(labels).tolist() if label >= 0]
        numbers = [label // self._divisor for label in found]
        return {
            label: self._classes.category(number, number in self._classes.thing_numbers).id
            for label, number in zip(found, numbers, strict=True)
        }


@dataclass(frozen=True)
class _Classes:
    """The classes of a model, as its data set's metadata list them.

    Attributes:
        things: Class of each number that the model uses for things.
        stuff: Class of each number that the model uses for stuff.
        thing_numbers: The numbers of things.
    """

    things: tuple[Category, ...]
    stuff: tuple[Category, ...]
    thing_numbers: frozenset[int]

    def category(self, number: int, isthing: bool) -> Category:
        """The category of a model's number."""
        classes = self.things if isthing else self.stuff
        if not 0 <= number < len(classes):
            raise IndexError(f"class {number} of {len(classes)} of {'things' if isthing else 'stuff'}")
        return classes[number]


def _classes(metadata: Any) -> _Classes:
    """Read a data set's metadata.

    Panoptic FPN numbers things and stuff apart; its first stuff class, "things", is where things are, and never a
    segment. Where all names of things are names of stuff too, as for Panoptic-DeepLab and Mask2Former, the stuff's list
    numbers all classes, and ``thing_dataset_id_to_contiguous_id`` says which are things.
    """
    things, stuff = list(metadata.thing_classes), list(metadata.stuff_classes)
    if not set(things) <= set(stuff):
        own = tuple(Category(number, name, True) for number, name in enumerate(things, start=1))
        others = tuple(Category(number, name, False) for number, name in enumerate(stuff, start=1 + len(things)))
        return _Classes(own, others, frozenset(range(len(things))))
    numbers = getattr(metadata, "thing_dataset_id_to_contiguous_id", None)
    are_things = set(numbers.values()) if numbers is not None else {stuff.index(name) for name in things}
    both = tuple(Category(number + 1, name, number in are_things) for number, name in enumerate(stuff))
    return _Classes(both, both, frozenset(are_things))


def make(name: str, settings: SegmenterSettings) -> Detectron2Segmenter:
    """See :mod:`gshn.segments`."""
    return Detectron2Segmenter(settings.weights)
