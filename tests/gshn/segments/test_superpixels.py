from pathlib import Path

import easy_vqa
import numpy as np
import pytest
from PIL import Image, ImageDraw
from scipy import ndimage

from gshn.errors import DataError
from gshn.segments.superpixels import REGION, SuperpixelParameters, SuperpixelSegmenter


def draw(size, background, things, scale=8):
    """Anti-aliased discs (x, y, radius, colour)."""
    image = Image.new("RGB", (size * scale, size * scale), background)
    for x, y, radius, colour in things:
        box = [(v * scale) for v in (x - radius, y - radius, x + radius, y + radius)]
        ImageDraw.Draw(image).ellipse(box, fill=colour)
    return np.asarray(image.resize((size, size), Image.Resampling.BOX))


def best_iou(segments, mask):
    masks = [segments.segment_map == s.id for s in segments.segments]
    return max((m & mask).sum() / (m | mask).sum() for m in masks)


def disc(size, x, y, radius):
    rows, columns = np.mgrid[:size, :size] + 0.5
    return (columns - x) ** 2 + (rows - y) ** 2 <= radius**2


def test_each_disc_is_a_segment_with_its_exact_outline():
    things = [(12, 14, 4, "red"), (30, 40, 9, "navy"), (50, 12, 6, "yellow")]
    found = SuperpixelSegmenter()(draw(64, (240, 245, 235), things))
    assert len(found.segments) == 4
    for x, y, radius, _ in things:
        assert best_iou(found, disc(64, x, y, radius)) > 0.9


def test_segments_are_connected_tile_the_image_and_are_not_tiny():
    noise = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    smooth = ndimage.gaussian_filter(noise.astype(float), (3, 3, 0))
    image = (255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)
    found = SuperpixelSegmenter()(image)
    found.validate()
    assert len(found.segments) > 3
    assert (found.segment_map > 0).all()
    for segment in found.segments:
        assert segment.area >= 8
        assert ndimage.label(found.segment_map == segment.id, np.ones((3, 3)))[1] == 1
        assert segment.category_id == REGION.id


def test_like_colours_merge():
    image = np.full((32, 32, 3), 200, dtype=np.uint8)
    image[:, 16:] = 212  # 4.5 Lab units lighter
    assert len(SuperpixelSegmenter()(image).segments) == 1
    assert len(SuperpixelSegmenter(SuperpixelParameters(merge_distance=2))(image).segments) == 2


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 2, 3), (1, 30, 3), (20, 20, 3)])
def test_plain_and_noisy_images_of_any_size_have_a_segment(shape):
    for image in (np.full(shape, 7, np.uint8), np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)):
        found = SuperpixelSegmenter()(image)
        found.validate()
        assert sum(s.area for s in found.segments) == shape[0] * shape[1]


def test_is_deterministic():
    image = np.random.default_rng(2).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    first, second = SuperpixelSegmenter()(image), SuperpixelSegmenter()(image.copy())
    np.testing.assert_array_equal(first.segment_map, second.segment_map)


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_what_is_no_rgb_image(image):
    with pytest.raises(DataError, match=r"expected an RGB image \(H, W, 3\) uint8, not"):
        SuperpixelSegmenter()(image)


def test_key_tells_parameters_apart():
    assert SuperpixelSegmenter().key != SuperpixelSegmenter(SuperpixelParameters(scale=31)).key


def test_shapes_of_easy_vqa_come_out_exactly():
    folder = Path(easy_vqa.__file__).parent / "data" / "train" / "images"
    ious = []
    for index in range(0, 4000, 40):
        image = np.asarray(Image.open(folder / f"{index}.png").convert("RGB"))
        found = SuperpixelSegmenter()(image)
        assert len(found.segments) == 2
        # The shape: pixels mixed from more of its colour, the commonest but one, than of the background's.
        colours, counts = np.unique(image.reshape(-1, 3), axis=0, return_counts=True)
        second, first = colours[counts.argsort()[-2:]].astype(float)
        ious.append(best_iou(found, (image - first) @ (second - first) > 0.5 * ((second - first) ** 2).sum()))
    assert np.mean(ious) > 0.98
    assert min(ious) > 0.8
