"""Combinations that training never sees, so that a test on them asks for composition and not for memory."""

from __future__ import annotations

from gshn.data.shapescenes.scene import COLOURS, SHAPES, Scene

HELD_OUT_OF_EACH = 4

HELD_OUT_ATTRIBUTES = frozenset(
    (colour, SHAPES[(i + j) % len(SHAPES)]) for i, colour in enumerate(COLOURS) for j in range(HELD_OUT_OF_EACH)
)
"""Colour and shape of things that no training scene shows and no training text names: half of all combinations, and of
those of every colour and of every shape, so that each is well known from others."""

HELD_OUT_RELATIONS = frozenset(frozenset(SHAPES[i : i + 2]) for i in range(0, len(SHAPES), 2))
"""Pairs of shapes whose relation no training text states. Training scenes show them: language is held out."""


def has_held_out_attributes(scene: Scene) -> bool:
    """Whether a thing of the scene has a held-out combination of colour and shape."""
    return any((thing.colour, thing.shape) in HELD_OUT_ATTRIBUTES for thing in scene.things)


def has_only_known_attributes(scene: Scene) -> bool:
    """Whether no thing of the scene has such a combination."""
    return not has_held_out_attributes(scene)


def is_held_out_relation(first: str, second: str) -> bool:
    """Whether the relation of two shapes is held out."""
    return frozenset((first, second)) in HELD_OUT_RELATIONS
