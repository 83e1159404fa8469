"""ShapeScenes: procedural scenes of things over stuff, with exact panoptic segments, captions and structure."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from gshn.data.images import ImageSample
from gshn.data.shapescenes.captions import LEVELS, captions
from gshn.data.shapescenes.draw import draw
from gshn.data.shapescenes.scene import SHAPES, SPLITS, STUFF, Scene, Stuff, Thing, generate
from gshn.errors import ConfigError
from gshn.segments.panoptic import Category, segments_from_map

__all__ = ["LEVELS", "Scene", "ShapeScenes", "Stuff", "Thing"]

CATEGORIES = tuple(
    Category(id=number, name=name, isthing=name in SHAPES) for number, name in enumerate((*SHAPES, *STUFF), start=1)
)
_ID = {category.name: category.id for category in CATEGORIES}


class ShapeScenes:
    """The first scenes of a split, an :class:`gshn.data.images.ImageCollection`.

    Scene i is the same whatever the number of scenes, and on every machine. No two scenes, of the same split or of
    different ones, have the same content (see :meth:`Scene.content`).

    Attributes:
        scenes: Structure of every scene.
        captions: Five captions of every scene, from the most detailed to the vaguest.
    """

    categories = CATEGORIES

    def __init__(self, split: str, count: int, seed: int = 0, image_size: int = 96):
        """Generate the scenes' structure; pictures are drawn when asked for.

        Args:
            split: ``train``, ``validation`` or ``test``.
            count: Number of scenes.
            seed: Another seed, other scenes.
            image_size: Width and height, pixels.

        Raises:
            ConfigError: no such split, or a number is too small.
        """
        if split not in SPLITS:
            raise ConfigError(f"ShapeScenes has no split '{split}'; choose one of {', '.join(SPLITS)}")
        if count < 1 or seed < 0 or image_size < 48:
            raise ConfigError(
                f"ShapeScenes needs count >= 1, seed >= 0, image_size >= 48: {count}, {seed}, {image_size}"
            )
        self.split, self.seed, self.image_size = split, seed, image_size
        self.scenes: list[Scene] = generate(split, count, seed)

    def __repr__(self) -> str:
        return f"ShapeScenes({self.key}, {len(self)} scenes)"

    @property
    def key(self) -> str:
        """Everything that shapes images and segments."""
        return f"shapescenes 1 {self.split} seed={self.seed} size={self.image_size}"

    @cached_property
    def captions(self) -> list[list[str]]:
        """Captions of every scene, see :func:`gshn.data.shapescenes.captions.captions`."""
        return [captions(scene, np.random.default_rng(self._key(i, 1))) for i, scene in enumerate(self.scenes)]

    def _key(self, index: int, purpose: int) -> list[int]:
        return [self.seed, list(SPLITS).index(self.split), index, purpose]

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> ImageSample:
        """Draw scene ``index``."""
        index = range(len(self))[index]  # a negative index is no seed, and no name
        scene = self.scenes[index]
        image, segment_map = draw(scene, self.image_size, self._key(index, 2))
        names = [s.category for s in scene.stuff] + [t.shape for t in scene.things]
        category_of = {number: _ID[name] for number, name in enumerate(names, start=1)}
        return ImageSample(f"shapescenes/{self.split}/{index}", image, segments_from_map(segment_map, category_of))
