"""Tell which labels of a segmentation network are things, and which are background. transformers does not record it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gshn.errors import tell

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
    """The labels of a network that are things.

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
