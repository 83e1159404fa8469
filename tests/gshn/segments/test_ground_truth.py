import numpy as np
import pytest

from gshn.errors import DataError
from gshn.segments.ground_truth import GroundTruthSegmenter
from gshn.segments.panoptic import Category, PanopticSegments, segments_from_map

CATEGORIES = (Category(1, "cat", True), Category(5, "sky", False))
IMAGE = np.zeros((2, 3, 3), dtype=np.uint8)


def test_returns_the_annotation():
    annotation = segments_from_map(np.array([[1, 1, 2], [1, 0, 2]]), {1: 1, 2: 5})
    segmenter = GroundTruthSegmenter(CATEGORIES)
    assert segmenter(IMAGE, annotation) is annotation
    assert tuple(segmenter.categories) == CATEGORIES


def test_a_missing_annotation_is_told_and_an_empty_one_is_none():
    with pytest.raises(DataError, match="no annotated segments"):
        GroundTruthSegmenter(CATEGORIES)(IMAGE)
    empty = PanopticSegments(np.zeros((2, 3), dtype=np.int32), ())
    assert GroundTruthSegmenter(CATEGORIES)(IMAGE, empty) is empty


def test_key_tells_vocabularies_apart():
    keys = {
        GroundTruthSegmenter(c).key
        for c in (CATEGORIES, CATEGORIES[::-1], CATEGORIES[:1], (Category(1, "cat", False), CATEGORIES[1]))
    }
    assert len(keys) == 4
