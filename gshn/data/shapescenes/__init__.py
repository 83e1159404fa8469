"""ShapeScenes: procedural scenes of things over stuff, with exact panoptic segments, captions and structure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from gshn.data.images import ImageSample
from gshn.data.shapescenes import tasks
from gshn.data.shapescenes.captions import LEVELS, captions
from gshn.data.shapescenes.compositions import (
    HELD_OUT_OF_EACH,
    has_held_out_attributes,
    has_only_known_attributes,
)
from gshn.data.shapescenes.draw import draw
from gshn.data.shapescenes.scene import SHAPES, SPLITS, STUFF, Scene, Stuff, Thing, generate
from gshn.data.texts import Hypothesis, Question, Statement
from gshn.errors import ConfigError
from gshn.segments.panoptic import Category, segments_from_map

__all__ = ["LEVELS", "Scene", "ShapeScenes", "Stuff", "Thing"]

COMPOSITIONAL = {
    "train": ("train", False),
    "validation": ("validation", False),
    "test": ("test", False),
    "attributes": ("test", True),
    "relations": ("test", False),
}
"""Splits with held-out compositions: which remainders of the digest (see SPLITS), and whether scenes have held-out
attributes. The scenes of ``relations`` are those of ``test``; their texts differ."""

CATEGORIES = tuple(
    Category(id=number, name=name, isthing=name in SHAPES) for number, name in enumerate((*SHAPES, *STUFF), start=1)
)
_ID = {category.name: category.id for category in CATEGORIES}


class ShapeScenes:
    """The first scenes of a split, an :class:`gshn.data.images.ImageCollection`.

    Scene i is the same whatever the number of scenes, and on every machine. No two scenes, of the same split or of
    different ones, have the same content (see :meth:`Scene.content`).

    With ``held_out``, training scenes and training texts lack some combinations, and two more test splits have them:
    see :mod:`gshn.data.shapescenes.compositions`.

    Attributes:
        scenes: Structure of every scene.
        captions: Five captions of every scene, from the most detailed to the vaguest.
    """

    categories = CATEGORIES

    def __init__(self, split: str, count: int, seed: int = 0, image_size: int = 96, held_out: bool = False):
        """Generate the scenes' structure; pictures are drawn when asked for.

        Args:
            split: ``train``, ``validation`` or ``test``; with ``held_out`` also ``attributes`` or ``relations``.
            count: Number of scenes.
            seed: Another seed, other scenes.
            image_size: Width and height, pixels.
            held_out: Whether compositions are held out.

        Raises:
            ConfigError: no such split, or a number is too small.
        """
        splits = COMPOSITIONAL if held_out else SPLITS
        if split not in splits:
            raise ConfigError(f"ShapeScenes has no split '{split}'; choose one of {', '.join(splits)}")
        if count < 1 or seed < 0 or image_size < 48:
            raise ConfigError(
                f"ShapeScenes needs count >= 1, seed >= 0, image_size >= 48: {count}, {seed}, {image_size}"
            )
        self.split, self.seed, self.image_size, self.held_out = split, seed, image_size, held_out
        self._scene_split, attributes = COMPOSITIONAL[split]
        self._number = list(COMPOSITIONAL).index("attributes" if attributes else self._scene_split) + 10 * held_out
        accept = (has_held_out_attributes if attributes else has_only_known_attributes) if held_out else None
        self.scenes: tuple[Scene, ...] = generate(self._scene_split, count, (seed, self._number), accept)

    def __repr__(self) -> str:
        return f"ShapeScenes({self.key}, {len(self)} scenes)"

    @property
    def key(self) -> str:
        """Everything that shapes images and segments."""
        scenes = f"compositions {HELD_OUT_OF_EACH} {self._number}" if self.held_out else self.split
        return f"shapescenes 1 {scenes} seed={self.seed} size={self.image_size}"

    @cached_property
    def captions(self) -> list[list[str]]:
        """Captions of every scene, see :func:`gshn.data.shapescenes.captions.captions`."""
        held_out = self.held_out and self.split != "relations"
        return [captions(s, np.random.default_rng(self._key(i, 1)), held_out) for i, s in enumerate(self.scenes)]

    @cached_property
    def questions(self) -> list[Question]:
        """Questions on the scenes, see :mod:`gshn.data.shapescenes.tasks`."""
        return tasks.questions(self.scenes, self._texts, np.random.default_rng(self._key(0, 3)))

    @cached_property
    def hypotheses(self) -> list[Hypothesis]:
        """Hypotheses on the scenes."""
        return tasks.hypotheses(self.scenes, self._texts, np.random.default_rng(self._key(0, 4)))

    @cached_property
    def statements(self) -> list[Statement]:
        """Statements on pairs of the scenes."""
        return tasks.statements(self.scenes, self._texts, np.random.default_rng(self._key(0, 5)))

    @property
    def _texts(self) -> str | None:
        return self.split if self.held_out else None

    def _key(self, index: int, purpose: int) -> list[int]:
        return [self.seed, self._number, index, purpose]

    def __len__(self) -> int:
        return len(self.scenes)

    def files(self, index: int) -> Sequence[Path]:
        """None: a scene is drawn."""
        return ()

    def __getitem__(self, index: int) -> ImageSample:
        """Draw scene ``index``."""
        index = range(len(self))[index]  # a negative index is no seed, and no name
        scene = self.scenes[index]
        image, segment_map = draw(scene, self.image_size, self._key(index, 2))
        names = [s.category for s in scene.stuff] + [t.shape for t in scene.things]
        category_of = {number: _ID[name] for number, name in enumerate(names, start=1)}
        return ImageSample(f"shapescenes/{self.split}/{index}", image, segments_from_map(segment_map, category_of))
