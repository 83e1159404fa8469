"""ShapeScenes: procedural scenes of things over stuff, with exact panoptic segments, captions and structure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from gshn.data.images import DatasetSettings, ImageSample
from gshn.data.shapescenes import compositions, tasks
from gshn.data.shapescenes.captions import LEVELS, captions
from gshn.data.shapescenes.draw import draw
from gshn.data.shapescenes.scene import SHAPES, SPLITS, STUFF, Scene, Stuff, Thing, generate
from gshn.data.texts import Hypothesis, Question, Statement
from gshn.errors import ConfigError
from gshn.segments.panoptic import Category, segments_from_map

__all__ = ["LEVELS", "Scene", "ShapeScenes", "Stuff", "Thing"]

KINDS = {
    "shapescenes": {"drawn": True, "help": "drawn scenes, with captions and the texts of every task"},
    "shapescenes-compositions": {"drawn": True, "help": "the same, with combinations held out"},
}

CATEGORIES = tuple(
    Category(id=number, name=name, isthing=name in SHAPES) for number, name in enumerate((*SHAPES, *STUFF), start=1)
)
_ID = {category.name: category.id for category in CATEGORIES}


class ShapeScenes:
    """The first scenes of a split, an :class:`gshn.data.images.ImageCollection`.

    Scene i is the same whatever the number of scenes, and on every machine. No two scenes, of the same split or of
    different ones, have the same content (see :meth:`Scene.content`).

    With ``held_out``, training scenes and training texts lack some combinations. Two more splits for development and
    two more for the test have them: see :mod:`gshn.data.shapescenes.compositions`.

    Attributes:
        scenes: Structure of every scene.
        captions: Five captions of every scene, from the most detailed to the vaguest.
    """

    categories = CATEGORIES
    packaged = True

    def __init__(self, split: str, count: int, seed: int = 0, image_size: int = 96, held_out: bool = False):
        """Generate the scenes' structure; pictures are drawn when asked for.

        Args:
            split: ``train``, ``validation`` or ``test``; with ``held_out`` one of
                :data:`gshn.data.shapescenes.compositions.SPLITS`.
            count: Number of scenes.
            seed: Seed of the scenes.
            image_size: Width and height, pixels.
            held_out: Whether compositions are held out.

        Raises:
            ConfigError: no such split, or a number is too small.
        """
        splits = compositions.SPLITS if held_out else SPLITS
        if split not in splits:
            raise ConfigError(f"ShapeScenes has no split '{split}'; choose one of {', '.join(splits)}")
        if count < 1 or seed < 0 or image_size < 48:
            raise ConfigError(
                f"ShapeScenes needs count >= 1, seed >= 0, image_size >= 48: {count}, {seed}, {image_size}"
            )
        self.split, self.seed, self.image_size, self.held_out = split, seed, image_size, held_out
        self._texts, self._unsaid = compositions.ANY, frozenset[compositions.Pair]()
        if held_out:
            own = compositions.SPLITS[split]
            self._texts, self._unsaid = own.texts, own.unsaid
            same = [name for name, s in compositions.SPLITS.items() if (s.scenes, s.shows) == (own.scenes, own.shows)]
            # 20 and not 10: the scenes of an earlier version, on which designs were chosen, are not these.
            self._number = 20 + list(compositions.SPLITS).index(same[0])
            self.scenes: tuple[Scene, ...] = generate(own.scenes, count, (seed, self._number), own.accepts)
        else:
            self._number = list(SPLITS).index(split)
            self.scenes = generate(split, count, (seed, self._number))

    def __repr__(self) -> str:
        return f"ShapeScenes({self.key}, {len(self)} scenes)"

    @property
    def key(self) -> str:
        """All that determines images and segments."""
        scenes = f"compositions {compositions.VERSION} {self._number}" if self.held_out else self.split
        return f"shapescenes 1 {scenes} seed={self.seed} size={self.image_size}"

    @cached_property
    def captions(self) -> list[list[str]]:
        """Captions of every scene, see :func:`gshn.data.shapescenes.captions.captions`."""
        return [captions(s, np.random.default_rng(self._key(i, 1)), self._unsaid) for i, s in enumerate(self.scenes)]

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


def make(name: str, settings: DatasetSettings) -> ShapeScenes:
    """See :mod:`gshn.data`; one scene, where nothing says how many."""
    # Scenes do not depend on the run's seed: all runs are compared on the same ones.
    split = {"val": "validation"}.get(settings.split, settings.split)
    held_out = name == "shapescenes-compositions"
    return ShapeScenes(split, settings.limit or 1, image_size=settings.image_size, held_out=held_out)
