import numpy as np
import pytest

from gshn.data.images import ImageSample
from gshn.data.shapescenes import ShapeScenes
from gshn.errors import DataError
from gshn.evaluation.panoptic import panoptic_quality
from gshn.segments.grid import GridSegmenter
from gshn.segments.ground_truth import GroundTruthSegmenter
from gshn.segments.panoptic import Category, Segmenter, segments_from_map
from gshn.segments.superpixels import SuperpixelSegmenter

CATEGORIES = (Category(5, "cat", True), Category(7, "sky", False))


class Images:
    """Two images of 10 x 10: a cat of 6 x 6 under the sky, and the sky alone."""

    categories = CATEGORIES
    key = "images"

    def __len__(self):
        return 2

    def __getitem__(self, index):
        segment_map = np.full((10, 10), 2)
        if index == 0:
            segment_map[:6, :6] = 1
        panoptic = segments_from_map(segment_map, {1: 5, 2: 7})
        return ImageSample(f"{index}.png", np.full((10, 10, 3), index, dtype=np.uint8), panoptic)


class Fixed(Segmenter):
    """Finds in image 0 a cat of 6 x 5 and the sky; in image 1 the sky, and a small thing of category ``extra``."""

    key = "fixed"

    def __init__(self, extra):
        # Its ids are the other way round: categories are matched by name.
        self.categories = (Category(1, "sky", False), Category(2, "cat", True), Category(3, extra, True))

    def __call__(self, image, annotation=None):
        segment_map = np.full((10, 10), 1)
        if image[0, 0, 0] == 0:
            segment_map[:6, :5] = 2
        else:
            segment_map[9, 9] = 3
        return segments_from_map(segment_map, {1: 1, 2: 2, 3: 3})


def test_worked_by_hand():
    figures = panoptic_quality(Fixed("cat"), Images())
    # Cat: one match of IoU 30 / 36, one false positive. Sky: two matches, 64 / 70 and 99 / 100.
    cat, sky = (30 / 36) / (1 + 0.5), (64 / 70 + 0.99) / 2
    assert figures["things"].pq == pytest.approx(cat) and figures["things"].rq == pytest.approx(1 / 1.5)
    assert figures["stuff"].pq == figures["stuff"].sq == pytest.approx(sky)
    assert figures["all"].pq == pytest.approx((cat + sky) / 2) and figures["all"].categories == 2
    every = (30 / 36 + 64 / 70 + 0.99) / (3 + 0.5)
    assert figures["any category"].pq == pytest.approx(every)


def test_categories_without_a_name_in_common_are_left_out():
    figures = panoptic_quality(Fixed("dog"), Images())
    assert figures["things"].pq == pytest.approx(30 / 36), "the dog is no cat, and no false one"
    assert set(panoptic_quality(GridSegmenter(1), Images())) == {"any category"}


def test_ground_truth_is_perfect_and_superpixels_are_not():
    scenes = ShapeScenes("test", 6)
    truth = panoptic_quality(GroundTruthSegmenter(scenes.categories), scenes)
    assert all(part.pq == part.sq == part.rq == 1 for part in truth.values())
    found = panoptic_quality(SuperpixelSegmenter(), scenes)["any category"]
    assert 0.3 < found.pq < 1 and found.pq <= found.sq


def test_images_without_annotation():
    class Plain(Images):
        def __getitem__(self, index):
            return ImageSample("plain.png", super().__getitem__(index).image)

    with pytest.raises(DataError, match=r"plain.png has no annotated segments to measure panoptic quality by"):
        panoptic_quality(GridSegmenter(2), Plain())
