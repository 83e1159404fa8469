"""Structure of a scene, from which pictures, captions and texts are made.

Coordinates are integers on a grid of :data:`GRID` units a side, so that a scene is the same on every machine and at
every image size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

GRID = 96

SHAPES = ("circle", "square", "triangle", "star", "cross", "diamond", "heart", "ring")
COLOURS = ("red", "orange", "yellow", "purple", "pink", "black", "brown", "teal")
SIZES = {"small": 10, "medium": 15, "large": 21}
"""Half the width of a thing, units."""
TEXTURES = ("plain", "striped", "dotted", "checkered")
GROUNDS = ("grass", "water", "sand", "snow", "road")
STUFF = ("sky", *GROUNDS)

ROWS = ("top", "middle", "bottom")
COLUMNS = ("left", "center", "right")

MIN_VISIBLE_SHARE = 0.35
MIN_VISIBLE_UNITS = 36
MIN_STUFF_SHARE = 0.06

# Corners in thousandths of the half width, y down. Tables, because sines may differ in the last bit between machines.
_POLYGONS = {
    "square": [(-886, -886), (886, -886), (886, 886), (-886, 886)],
    "triangle": [(0, -1000), (1000, 850), (-1000, 850)],
    "diamond": [(0, -1000), (720, 0), (0, 1000), (-720, 0)],
    "star": [
        *[(0, -1000), (235, -324), (951, -309), (380, 124), (588, 809)],
        *[(0, 400), (-588, 809), (-380, 124), (-951, -309), (-235, -324)],
    ],
    "cross": [
        *[(-340, -1000), (340, -1000), (340, -340), (1000, -340), (1000, 340), (340, 340)],
        *[(340, 1000), (-340, 1000), (-340, 340), (-1000, 340), (-1000, -340), (-340, -340)],
    ],
    "heart": [
        *[(0, -420), (180, -760), (500, -900), (820, -780), (990, -470), (940, -120), (720, 240), (360, 620)],
        *[(0, 960), (-360, 620), (-720, 240), (-940, -120), (-990, -470), (-820, -780), (-500, -900), (-180, -760)],
    ],
}


@dataclass(frozen=True)
class Thing:
    """A thing in front of the stuff.

    Attributes:
        shape: One of :data:`SHAPES`, the panoptic category.
        colour: One of :data:`COLOURS`.
        size: One of :data:`SIZES`.
        texture: One of :data:`TEXTURES`.
        x: Centre, units from the left.
        y: Centre, units from the top.
    """

    shape: str
    colour: str
    size: str
    texture: str
    x: int
    y: int

    @property
    def cell(self) -> tuple[str, str]:
        """Which third of the picture the centre lies in: (one of ROWS, one of COLUMNS)."""
        return ROWS[self.y * 3 // GRID], COLUMNS[self.x * 3 // GRID]

    def mask(self, side: int) -> NDArray[np.bool_]:
        """Pixels of the whole shape, hidden ones too, on a canvas of ``side`` pixels a side, shape (side, side)."""
        canvas = Image.new("1", (side, side))
        draw = ImageDraw.Draw(canvas)
        r = SIZES[self.size]
        if self.shape in _POLYGONS:
            corners = [(self.x * 1000 + r * dx, self.y * 1000 + r * dy) for dx, dy in _POLYGONS[self.shape]]
            draw.polygon([(x * side // (GRID * 1000), y * side // (GRID * 1000)) for x, y in corners], fill=1)
        else:
            draw.ellipse(self._box(r * 1000, side), fill=1)
            if self.shape == "ring":
                draw.ellipse(self._box(r * 520, side), fill=0)
        return np.asarray(canvas)

    def _box(self, radius: int, side: int) -> tuple[int, int, int, int]:
        x, y = self.x * 1000, self.y * 1000
        left, top, right, bottom = (v * side // (GRID * 1000) for v in (x - radius, y - radius, x + radius, y + radius))
        return left, top, right - 1, bottom - 1


@dataclass(frozen=True)
class Stuff:
    """A region of the background.

    Attributes:
        category: One of :data:`STUFF`.
        position: ``top``, ``middle``, ``bottom``, ``left`` or ``right``; of a region below the sky, ``bottom left`` or
            ``bottom right``.
    """

    category: str
    position: str


@dataclass(frozen=True)
class Border:
    """A wavy border across the picture: offsets at five nodes, units, joined by straight lines.

    Attributes:
        upright: Whether it runs from top to bottom.
        at: Offsets from the top (or left) at 0, 24, 48, 72 and 96 units along.
    """

    upright: bool
    at: tuple[int, ...]

    def beyond(self, side: int) -> NDArray[np.bool_]:
        """Pixels below (or right of) the border, shape (side, side)."""
        along = np.arange(side) * 4
        node, rest = along // side, along % side
        at = np.array([*self.at, self.at[-1]])
        offsets = (at[node] * (side - rest) + at[node + 1] * rest) // GRID  # in pixels: times side, by GRID
        across = np.arange(side)
        below = across[:, None] >= offsets[None, :]
        return below.T if self.upright else below


@dataclass(frozen=True)
class Scene:
    """Things over stuff.

    Attributes:
        things: In painter's order: later ones hide earlier ones.
        stuff: Regions; region k is what lies beyond border k - 1 (region 0 is the rest).
        borders: One less than ``stuff``; a later region hides an earlier one.
        clip_to: For each border, the index of the region that its region is cut from, or -1 for the whole picture.
    """

    things: tuple[Thing, ...]
    stuff: tuple[Stuff, ...]
    borders: tuple[Border, ...]
    clip_to: tuple[int, ...]

    def stuff_map(self, side: int) -> NDArray[np.uint8]:
        """Index in ``stuff`` of every pixel, shape (side, side)."""
        out = np.zeros((side, side), dtype=np.uint8)
        for k, (border, clip) in enumerate(zip(self.borders, self.clip_to, strict=True), start=1):
            beyond = border.beyond(side)
            if clip >= 0:
                beyond = beyond & (out == clip)
            out[beyond] = k
        return out

    def segment_map(self, side: int) -> NDArray[np.uint8]:
        """Segment id of every pixel, shape (side, side): 1 + k for stuff k, 1 + len(stuff) + i for thing i."""
        out = self.stuff_map(side)
        out += 1
        for i, thing in enumerate(self.things):
            out[thing.mask(side)] = 1 + len(self.stuff) + i
        return out

    @property
    def _layers(self) -> tuple[NDArray[np.uint8], list[NDArray[np.bool_]]]:
        return _layers_of(self)

    def visible_share(self, i: int) -> float:
        """Share of thing i that no later thing hides."""
        masks = self._layers[1]
        hidden = np.logical_or.reduce([np.zeros_like(masks[i]), *masks[i + 1 :]])
        return float((masks[i] & ~hidden).sum() / masks[i].sum())

    def left_of(self, i: int, j: int) -> bool:
        """Whether thing i is clearly left of thing j: by an eighth of the picture."""
        return self.things[j].x - self.things[i].x >= GRID // 8

    def above(self, i: int, j: int) -> bool:
        """Whether thing i is clearly above thing j: by an eighth of the picture."""
        return self.things[j].y - self.things[i].y >= GRID // 8

    def overlaps(self, i: int, j: int) -> bool:
        """Whether things i and j cover a common spot."""
        masks = self._layers[1]
        return bool((masks[i] & masks[j]).any())

    def in_front_of(self, i: int, j: int) -> bool:
        """Whether thing i hides a part of thing j."""
        return i > j and self.overlaps(i, j)

    def on(self, i: int) -> str:
        """Category of the stuff behind the centre of thing i."""
        return self.stuff[self._layers[0][self.things[i].y, self.things[i].x]].category

    def content(self) -> tuple[object, ...]:
        """What the most detailed caption states, in an order that wording cannot change."""
        things = sorted((t.size, t.colour, t.texture, t.shape, *t.cell) for t in self.things)
        return (tuple(things), tuple(sorted((s.category, s.position) for s in self.stuff)))

    def digest(self) -> int:
        """A number that depends on :meth:`content` only."""
        return int.from_bytes(hashlib.blake2b(repr(self.content()).encode(), digest_size=8).digest(), "big")

    def is_legible(self) -> bool:
        """Whether every thing and every region can be seen well enough."""
        seen = self.segment_map(GRID)
        areas = np.bincount(seen.ravel(), minlength=1 + len(self.stuff) + len(self.things))[1:]
        if (areas[: len(self.stuff)] < MIN_STUFF_SHARE * GRID * GRID).any():
            return False
        things = areas[len(self.stuff) :]
        whole = [int(mask.sum()) for mask in self._layers[1]]
        return all(a >= MIN_VISIBLE_UNITS and a >= MIN_VISIBLE_SHARE * w for a, w in zip(things, whole, strict=True))


@lru_cache(maxsize=16)  # not kept on the scenes: 6,000 of them would hold 400 MB
def _layers_of(scene: Scene) -> tuple[NDArray[np.uint8], list[NDArray[np.bool_]]]:
    """Stuff map and the things' whole masks at one pixel a unit, for the scenes last asked about."""
    return scene.stuff_map(GRID), [thing.mask(GRID) for thing in scene.things]


def _border(random: np.random.Generator, upright: bool, around: int) -> Border:
    return Border(upright, tuple(around + int(d) for d in random.integers(-5, 6, 5)))


def _background(random: np.random.Generator) -> tuple[tuple[Stuff, ...], tuple[Border, ...], tuple[int, ...]]:
    """Sky over one or two grounds, or two grounds side by side."""
    first, second = (str(g) for g in random.permutation(GROUNDS)[:2])
    layout = int(random.integers(4))
    if layout == 0:
        horizon = int(random.integers(32, 60))
        return (Stuff("sky", "top"), Stuff(first, "bottom")), (_border(random, False, horizon),), (-1,)
    if layout == 1:
        high, low = int(random.integers(22, 34)), int(random.integers(54, 70))
        stuff = (Stuff("sky", "top"), Stuff(first, "middle"), Stuff(second, "bottom"))
        return stuff, (_border(random, False, high), _border(random, False, low)), (-1, -1)
    if layout == 2:
        horizon, middle = int(random.integers(28, 48)), int(random.integers(36, 60))
        stuff = (Stuff("sky", "top"), Stuff(first, "bottom left"), Stuff(second, "bottom right"))
        return stuff, (_border(random, False, horizon), _border(random, True, middle)), (-1, 1)
    middle = int(random.integers(36, 60))
    return (Stuff(first, "left"), Stuff(second, "right")), (_border(random, True, middle),), (-1,)


def _one_of(random: np.random.Generator, names: Sequence[str]) -> str:
    # What Generator.choice draws, which makes an array of the names first and takes four times as long.
    return names[int(random.integers(len(names)))]


def _candidates(random: np.random.Generator) -> Iterator[Scene]:
    while True:
        things = []
        for _ in range(int(random.integers(2, 6))):
            size = _one_of(random, tuple(SIZES))
            r = SIZES[size]
            x, y = (int(v) for v in random.integers(r + 1, GRID - r, 2))
            shape, colour, texture = (_one_of(random, names) for names in (SHAPES, COLOURS, TEXTURES))
            things.append(Thing(shape, colour, size, texture, x, y))
        yield Scene(tuple(things), *_background(random))


SPLITS = {"train": range(2, 10), "validation": range(1, 2), "test": range(1)}
"""Remainders of :meth:`Scene.digest` by 10 that belong to each split: no content is in two splits."""


@lru_cache(maxsize=8)  # a run asks for the same scenes once for every task and split that has texts on them
def generate(
    split: str, count: int, key: tuple[int, ...], accept: Callable[[Scene], bool] | None = None
) -> tuple[Scene, ...]:
    """The first ``count`` scenes of a split, no two with the same content.

    Args:
        split: One of :data:`SPLITS`.
        count: Number of scenes.
        key: Seed.
        accept: A further condition on scenes; None: no condition.
    """
    scenes: list[Scene] = []
    taken: set[int] = set()
    for index in range(count):
        random = np.random.default_rng(np.random.SeedSequence([*key, index]))
        for scene in _candidates(random):
            if accept is not None and not accept(scene):
                continue
            digest = scene.digest()
            if digest % 10 in SPLITS[split] and digest not in taken and scene.is_legible():
                taken.add(digest)
                scenes.append(scene)
                break
    return tuple(scenes)
