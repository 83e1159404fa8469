"""Compositions that training never sees, so that a test on them asks for composition and not for memory.

There are two disjoint sets of them: one to choose a design on, one to report on.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

from gshn.data.shapescenes.scene import COLOURS, SHAPES, Scene

VERSION = 2
"""Counts the changes of what is held out; part of the graph cache's key."""

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
"""A quarter of all colours with shapes, two of every colour and of every shape; 4 of the 28 pairs of shapes."""

TEST = _held_out((4, 5), 1)
"""As many others. Half of all combinations, and of those of every colour and of every shape, are left for training."""

NOUNS = frozenset((colour, shape) for colour in COLOURS for shape in SHAPES)
PAIRS = frozenset(Pair(pair) for pair in permutations(SHAPES, 2))


@dataclass(frozen=True)
class Texts:
    """What a split's texts may say.

    Attributes:
        nouns: Colours and shapes that they may name together.
        pairs: Shapes whose relation they may state.
        ask_parts: Whether questions may ask for the colour of a shape, the shape of a colour, or a number. The answer
            may complete a combination that is not among ``nouns``.
    """

    nouns: frozenset[Noun] = NOUNS
    pairs: frozenset[Pair] = PAIRS
    ask_parts: bool = True


ANY = Texts()
"""Of scenes where nothing is held out."""

KNOWN = Texts(NOUNS - DEVELOPMENT.nouns - TEST.nouns, PAIRS - DEVELOPMENT.pairs - TEST.pairs)
"""Of training, and of the splits that are like it."""

UNSAID = PAIRS - KNOWN.pairs


@dataclass(frozen=True)
class Split:
    """A split with held-out compositions.

    Attributes:
        scenes: Whose scenes it has, one of :data:`gshn.data.shapescenes.scene.SPLITS`.
        shows: Held-out nouns of which every scene shows one or more; of none where empty. No scene shows another
            held-out noun.
        texts: What its texts may say.
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
    """A split of known compositions, and its two of held-out ones."""
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
"""By name. The scenes of ``relations`` are those of ``test``; their texts differ; likewise of ``validation``."""
