"""Scene -> picture."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gshn.data.shapescenes.scene import GRID, Scene

SUPERSAMPLING = 4
"""Scenes are drawn larger by this factor and averaged down, for smooth outlines."""

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


def second_tone(colour: tuple[int, int, int]) -> tuple[int, int, int]:
    """The other colour of a texture: towards white, of light colours towards black."""
    towards = 255 if sum(colour) < 480 else 0
    red, green, blue = (channel + (towards - channel) * 6 // 10 for channel in colour)
    return red, green, blue


@lru_cache
def texture_mask(texture: str, side: int) -> NDArray[np.bool_]:
    """True where things of a texture have their second tone, shape (side, side), bool."""
    unit = side // GRID if side >= GRID else 1
    y, x = np.ogrid[:side, :side]
    period = 6 * unit
    if texture == "striped":
        return (x + y) % period >= period // 2
    if texture == "dotted":
        dx, dy = x % period - period // 2, y % period - period // 2
        return dx * dx + dy * dy <= (2 * unit) ** 2
    if texture == "checkered":
        return (x // (4 * unit) + y // (4 * unit)) % 2 == 0
    return np.zeros((side, side), dtype=bool)


def draw(scene: Scene, image_size: int, noise_seed: list[int]) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Draw a scene.

    Args:
        scene: What to draw.
        image_size: Width and height, pixels.
        noise_seed: Seed of the noise in the brightness of stuff.

    Returns:
        RGB image, shape (image_size, image_size, 3), uint8; and the segment id of every pixel, that of the sample at
        its centre, shape (image_size, image_size), int32 (see :meth:`Scene.segment_map`).
    """
    side = image_size * SUPERSAMPLING
    segment_map = scene.segment_map(side)
    palette = [(0, 0, 0), *(STUFF[s.category] for s in scene.stuff), *(COLOURS[t.colour] for t in scene.things)]
    tones = segment_map.astype(np.uint8)  # indices into the palette
    for number, thing in enumerate(scene.things, start=1 + len(scene.stuff)):
        if thing.texture != "plain":
            tones[(tones == number) & texture_mask(thing.texture, side)] = len(palette)
            palette.append(second_tone(COLOURS[thing.colour]))
    canvas = Image.fromarray(tones, "P")
    canvas.putpalette([channel for colour in palette for channel in colour])
    image = np.asarray(canvas.convert("RGB").reduce(SUPERSAMPLING)).astype(np.int16)
    centre = SUPERSAMPLING // 2
    segments = segment_map[centre::SUPERSAMPLING, centre::SUPERSAMPLING].astype(np.int32)
    random = np.random.default_rng(np.random.SeedSequence(noise_seed))
    noise = random.integers(-16, 17, (image_size, image_size), dtype=np.int16)
    waves = (np.arange(image_size) * GRID // image_size % 6 < 2).astype(np.int16) * 18
    for k, stuff in enumerate(scene.stuff, start=1):
        change = noise * ROUGHNESS[stuff.category] // 16
        if stuff.category == "water":
            change = change + waves[:, None]
        image += np.where(segments == k, change, 0)[..., None].astype(np.int16)
    return image.clip(0, 255).astype(np.uint8), segments
