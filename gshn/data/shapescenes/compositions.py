"""Held-out compositions: combinations that training never shows, so that a test on them measures generalisation.

There are two disjoint sets: one for validation, to choose a design on, and one for the test.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

from gshn.data.shapescenes.scene import COLOURS, SHAPES, Scene

VERSION = 2
"""Version of the held-out sets; part of the graph cache's key. Increase it with every change of the sets."""

Noun = tuple[str, str]
"""Colour and shape."""

Pair = frozenset[str]
"""Two shapes."""


@dataclass(frozen=True)
class HeldOut:
    """A set of held-out compositions.

    Attributes:
        nouns: Colour and shape of things that no training scene shows and no training text names.
        pairs: Shapes whose relation no training text states. Training scenes show them: language is held out.
    """

    nouns: frozenset[Noun]
    pairs: frozenset[Pair]


def _held_out(places: tuple[int, ...], first: int) -> HeldOut:
    size = len(SHAPES)
    nouns = ((colour, SHAPES[(i + j) % size]) for i, colour in enumerate(COLOURS) for j in places)
    return HeldOut(
        frozenset(nouns), frozenset(Pair((SHAPES[i], SHAPES[(i + 1) % size])) for i in range(first, size, 2))
    )


DEVELOPMENT = _held_out((0, 1), 0)
"""Validation: a quarter of all combinations of colour and shape, two of each colour and two of each shape; 4 of the 28
pairs of shapes."""

TEST = _held_out((4, 5), 1)
"""Test: the same number of other combinations and pairs. Half of all combinations, and half of those of each colour and
of each shape, are left for training."""

NOUNS = frozenset((colour, shape) for colour in COLOURS for shape in SHAPES)
PAIRS = frozenset(Pair(pair) for pair in permutations(SHAPES, 2))


@dataclass(frozen=True)
class Texts:
    """The combinations that the texts of a split may contain.

    Attributes:
        nouns: Combinations of colour and shape that they may name.
        pairs: Pairs of shapes whose relation they may state.
        ask_parts: Whether questions may ask for the colour of a shape, the shape of a colour, or a number. Together
            with its answer such a question may name a combination that is not in ``nouns``.
    """

    nouns: frozenset[Noun] = NOUNS
    pairs: frozenset[Pair] = PAIRS
    ask_parts: bool = True


ANY = Texts()
"""Texts on scenes without held-out compositions."""

KNOWN = Texts(NOUNS - DEVELOPMENT.nouns - TEST.nouns, PAIRS - DEVELOPMENT.pairs - TEST.pairs)
"""Texts of the training split, and of test splits with known compositions."""

UNSAID = PAIRS - KNOWN.pairs


@dataclass(frozen=True)
class Split:
    """A split of ShapeScenes with held-out compositions.

    Attributes:
        scenes: The split that its scenes are from, one of :data:`gshn.data.shapescenes.scene.SPLITS`.
        shows: Held-out combinations, at least one of which is in each scene. Empty: scenes have no held-out
            combination. Combinations of the other held-out set are in no scene.
        texts: Combinations that its texts may contain.
        unsaid: Pairs of shapes whose relation its captions do not state.
    """

    scenes: str
    shows: frozenset[Noun]
    texts: Texts
    unsaid: frozenset[Pair]

    def accepts(self, scene: Scene) -> bool:
        """Whether a scene belongs to it."""
        held_out = {(thing.colour, thing.shape) for thing in scene.things} - KNOWN.nouns
        return held_out <= self.shows and bool(held_out) == bool(self.shows)


def _splits(scenes: str, held_out: HeldOut, prefix: str) -> dict[str, Split]:
    """The split with known compositions, and the two with held-out ones."""
    nouns = Texts(held_out.nouns, frozenset(), ask_parts=False)
    pairs = Texts(frozenset(), held_out.pairs, ask_parts=False)
    return {
        scenes: Split(scenes, frozenset(), KNOWN, UNSAID),
        f"{prefix}attributes": Split(scenes, held_out.nouns, nouns, UNSAID),
        f"{prefix}relations": Split(scenes, frozenset(), pairs, frozenset()),
    }


SPLITS = {
    "train": Split("train", frozenset(), KNOWN, UNSAID),
    **_splits("validation", DEVELOPMENT, "validation-"),
    **_splits("test", TEST, ""),
}
"""Splits by name. ``relations`` has the scenes of ``test`` with other texts, and ``validation-relations``
those of ``validation``."""
