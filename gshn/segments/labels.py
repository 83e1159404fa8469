"""Labels of pixels: which of a network's are things and which are background, and the segments of a map of labels."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label as label_components

from gshn.errors import tell

MIN_AREA = 0.005
"""Smallest segment, as a share of the image: 16 x 16 pixels at 224 x 224. A network of stride 16 has five positions
there at an input of 513 x 513, and one or two at 257 x 257. Smaller segments are noise of outlines."""

BACKGROUND = ("background", "void", "unlabeled", "unlabelled")
"""Names of the background label, in upper or lower case."""


@dataclass(frozen=True)
class LabelSet:
    """A public label set.

    Attributes:
        size: Number of labels.
        some: Some of the names, which distinguish it from other sets of the same size.
        things: The labels that are things.
    """

    size: int
    some: Mapping[int, str]
    things: frozenset[int]


# fmt: off
_ADE20K_STUFF = frozenset([
    0, 1, 2, 3, 4, 5, 6, 9, 11, 13, 16, 17, 21, 25, 26, 28, 29, 34, 40, 46, 48, 51, 52, 54, 59, 60, 61, 63, 68, 77, 79,
    84, 91, 94, 96, 99, 100, 101, 105, 106, 109, 113, 114, 117, 122, 128, 131, 140, 141, 145,
])
# fmt: on

LABEL_SETS = {
    "Pascal VOC": LabelSet(21, {0: "background", 15: "person"}, frozenset(range(1, 21))),
    "Cityscapes": LabelSet(19, {0: "road", 11: "person", 18: "bicycle"}, frozenset(range(11, 19))),
    "ADE20K": LabelSet(150, {0: "wall", 12: "person", 149: "flag"}, frozenset(range(150)) - _ADE20K_STUFF),
    "COCO panoptic": LabelSet(133, {0: "person", 79: "toothbrush"}, frozenset(range(80))),
    "COCO-Stuff": LabelSet(171, {0: "person", 79: "toothbrush"}, frozenset(range(80))),
    "COCO-Stuff, with the numbers that COCO left out": LabelSet(
        182, {0: "person", 89: "toothbrush"}, frozenset(range(91))
    ),
}
"""Label sets whose things are known. ADE20K's are those of its panoptic task, 100 of 150 (Zhou et al., IJCV 2019)."""


def things_of(weights: str, config: Any, others: Iterable[int] | None = None) -> set[int]:
    """The labels of a network that are things, which transformers does not record.

    The first of these that exists decides: ``thing_labels`` in config.json (a list of labels, which a user may add),
    ``others``, a label set of :data:`LABEL_SETS`. Otherwise all labels but :data:`BACKGROUND` are things, with a
    warning.

    Args:
        weights: Folder or name of the network, for messages.
        config: Its configuration, with ``id2label``.
        others: Labels of things from the network's other files, if there are any.
    """
    if (own := getattr(config, "thing_labels", None)) is not None:
        return {int(label) for label in own}
    if others is not None:
        return set(others)
    names = {int(label): name.strip().casefold() for label, name in config.id2label.items()}
    for known in LABEL_SETS.values():
        if len(names) == known.size and all(names.get(label) == name for label, name in known.some.items()):
            return set(known.things)
    tell(
        f"{weights} does not say which of its {len(names)} labels are things: all are taken for things; "
        "thing_labels in its config.json can list them"
    )
    return {label for label, name in names.items() if name not in BACKGROUND}


def divided(
    labels: NDArray[np.integer], things: Collection[int], background: Collection[int]
) -> tuple[NDArray[np.int64], dict[int, int]]:
    """Divide a map of labels into segments.

    Each connected component (by sides or corners) of a thing's label is a segment, and so is all of a stuff's label,
    and each component of the background. What is smaller than :data:`MIN_AREA` joins the nearest of the others, pixel
    by pixel. If all are smaller, the largest stays.

    Args:
        labels: Label of every pixel, shape (H, W).
        things: The labels that are things.
        background: The labels that are background.

    Returns:
        Segment id of every pixel, shape (H, W), 0 in the background; and the label of each id.
    """
    behind = np.isin(labels, list(background))
    # Parts of one value: components of things and of the background, and stuff wherever it is.
    single = np.isin(labels, list(things)) | behind
    values = np.where(behind, 0, labels.astype(np.int64) + 1)
    parts = label_components(np.where(single, values, -1), background=-1, connectivity=2)
    parts = np.where(single, parts, parts.max() + values)
    _, first, parts, areas = np.unique(parts, return_index=True, return_inverse=True, return_counts=True)
    parts = parts.reshape(labels.shape)
    kept = areas >= min(MIN_AREA * labels.size, areas.max())
    if not kept.all():
        nearest = ndimage.distance_transform_edt(~kept[parts], return_distances=False, return_indices=True)
        parts = parts[tuple(nearest)]
    value_of = {int(part) + 1: int(values.flat[first[part]]) for part in np.flatnonzero(kept)}
    segment_map = parts.astype(np.int64) + 1
    segment_map[np.isin(segment_map, [part for part, value in value_of.items() if value == 0])] = 0
    return segment_map, {part: value - 1 for part, value in value_of.items() if value}
