"""Scene -> captions, from the most detailed to the vaguest."""

from __future__ import annotations

from collections import Counter
from itertools import combinations

import numpy as np

from gshn.data.shapescenes.compositions import Pair
from gshn.data.shapescenes.scene import Scene, Thing

NUMBERS = ("no", "one", "two", "three", "four", "five")
LEVELS = 5


def describe(thing: Thing) -> str:
    """Size, colour, texture (unless plain) and shape."""
    texture = "" if thing.texture == "plain" else f"{thing.texture} "
    return f"{thing.size} {thing.colour} {texture}{thing.shape}"


def place(thing: Thing) -> str:
    """Which of the nine cells of the picture: ``top left``, ``left``, ``center``, ``bottom`` and so on."""
    row, column = thing.cell
    words = [word for word in (row if row != "middle" else "", column if column != "center" else "") if word]
    return " ".join(words) or "center"


def listing(parts: list[str]) -> str:
    """Join with commas and ``and``."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def article(noun: str) -> str:
    """The noun with ``a`` or ``an``."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def plural(shape: str) -> str:
    """More than one of a shape."""
    return f"{shape}es" if shape == "cross" else f"{shape}s"


def captions(scene: Scene, random: np.random.Generator, unsaid: frozenset[Pair] = frozenset()) -> list[str]:
    """Five captions; ``random`` varies the wording only. The relation of two shapes in ``unsaid`` is not stated.

    0. Every thing with size, colour, texture, shape and place, every stuff with its position: what
       :meth:`Scene.content` says, so that it fits no other scene.
    1. Every thing with colour and shape, and what it is on.
    2. How two of the things lie to each other.
    3. How many of which shapes.
    4. How many things, on what.
    """
    order = [int(i) for i in random.permutation(len(scene.things))]
    things = [scene.things[i] for i in order]
    located = listing([f"{article(describe(t))} at {place(t)}" for t in things])
    ground = listing([f"{s.category} at {s.position}" for s in scene.stuff])
    detailed = f"{ground}, with {located}" if random.integers(2) else f"{located}; {ground}"

    coloured = listing(
        [f"{article(f'{scene.things[i].colour} {scene.things[i].shape}')} on {scene.on(i)}" for i in order]
    )

    shapes = [thing.shape for thing in scene.things]
    pairs = [(i, j) for i, j in combinations(order, 2) if Pair((shapes[i], shapes[j])) not in unsaid]
    i, j = pairs[0] if pairs else order[:2]
    if not pairs:
        relation = "and"
    elif scene.in_front_of(i, j):
        relation = "in front of"
    elif scene.in_front_of(j, i):
        relation = "behind"
    elif scene.left_of(i, j) or scene.left_of(j, i):
        relation = "left of" if scene.left_of(i, j) else "right of"
    elif scene.above(i, j) or scene.above(j, i):
        relation = "above" if scene.above(i, j) else "below"
    else:
        relation = "next to"
    a, b = (article(f"{scene.things[k].colour} {scene.things[k].shape}") for k in (i, j))
    related = f"{a} {relation} {b}"

    counts = Counter(t.shape for t in things)
    counted = listing([article(s) if n == 1 else f"{NUMBERS[n]} {plural(s)}" for s, n in counts.items()])

    surfaces = listing([str(name) for name in random.permutation([s.category for s in scene.stuff])])
    noun = str(random.choice(["shapes", "things", "figures"]))
    vague = f"{NUMBERS[len(things)]} {noun} on {surfaces}"
    return [detailed, coloured, related, counted, vague]
