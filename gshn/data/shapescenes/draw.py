"""Scene -> picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gshn.data.shapescenes.scene import GRID, Scene, Thing

SUPERSAMPLING = 4
"""Drawn this much larger, then averaged down: smooth outlines."""

COLOURS = {
    "red": (214, 30, 40),
    "orange": (246, 132, 22),
    "yellow": (250, 222, 44),
    "purple": (126, 42, 170),
    "pink": (250, 128, 190),
    "black": (28, 26, 30),
    "brown": (122, 72, 34),
    "teal": (0, 142, 136),
}
"""RGB of the things' colours."""

STUFF = {
    "sky": (158, 204, 242),
    "grass": (112, 178, 84),
    "water": (52, 98, 182),
    "sand": (228, 204, 152),
    "snow": (240, 244, 248),
    "road": (128, 128, 134),
}
"""RGB of the stuff."""

ROUGHNESS = {"sky": 3, "grass": 16, "water": 4, "sand": 10, "snow": 3, "road": 7}
"""Largest deviation of a pixel's brightness from its stuff's colour."""


def second_tone(colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    """The other colour of a texture: towards white, of light colours towards black."""
    rgb = np.array(colour)
    towards = 255 if rgb.sum() < 480 else 0
    return (rgb + (towards - rgb) * 6 // 10).astype(np.uint8)


def texture_mask(thing: Thing, side: int) -> NDArray[np.bool_]:
    """Where a thing has its second tone, shape (side, side)."""
    unit = side // GRID if side >= GRID else 1
    y, x = np.ogrid[:side, :side]
    period = 6 * unit
    if thing.texture == "striped":
        return (x + y) % period >= period // 2
    if thing.texture == "dotted":
        dx, dy = x % period - period // 2, y % period - period // 2
        return dx * dx + dy * dy <= (2 * unit) ** 2
    if thing.texture == "checkered":
        return (x // (4 * unit) + y // (4 * unit)) % 2 == 0
    return np.zeros((side, side), dtype=bool)


def draw(scene: Scene, image_size: int, noise_seed: list[int]) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Draw a scene.

    Args:
        scene: What to draw.
        image_size: Width and height, pixels.
        noise_seed: Key of the roughness' randomness.

    Returns:
        RGB image, shape (image_size, image_size, 3), uint8; and the segment id of every pixel, that of the sample at
        its centre, shape (image_size, image_size), int32 (see :meth:`Scene.segment_map`).
    """
    side = image_size * SUPERSAMPLING
    segment_map = scene.segment_map(side)
    palette = np.zeros((1 + len(scene.stuff) + len(scene.things), 3), dtype=np.uint8)
    palette[1 : 1 + len(scene.stuff)] = [STUFF[s.category] for s in scene.stuff]
    palette[1 + len(scene.stuff) :] = [COLOURS[t.colour] for t in scene.things]
    canvas = palette[segment_map]
    for i, thing in enumerate(scene.things):
        if thing.texture != "plain":
            where = (segment_map == 1 + len(scene.stuff) + i) & texture_mask(thing, side)
            canvas[where] = second_tone(COLOURS[thing.colour])
    image = np.asarray(Image.fromarray(canvas).reduce(SUPERSAMPLING)).astype(np.int16)
    centre = SUPERSAMPLING // 2
    segments = segment_map[centre::SUPERSAMPLING, centre::SUPERSAMPLING]
    random = np.random.default_rng(np.random.SeedSequence(noise_seed))
    noise = random.integers(-16, 17, (image_size, image_size), dtype=np.int16)
    waves = (np.arange(image_size) * GRID // image_size % 6 < 2).astype(np.int16) * 18
    for k, stuff in enumerate(scene.stuff, start=1):
        change = noise * ROUGHNESS[stuff.category] // 16
        if stuff.category == "water":
            change = change + waves[:, None]
        image += np.where(segments == k, change, 0)[..., None].astype(np.int16)
    return image.clip(0, 255).astype(np.uint8), segments
