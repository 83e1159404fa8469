import numpy as np
import pytest

from gshn.segments.grid import GridSegmenter


@pytest.mark.parametrize(("height", "width", "side"), [(12, 12, 3), (11, 17, 4), (2, 9, 5), (96, 96, 6)])
def test_patches_tile_the_image_evenly(height, width, side):
    segments = GridSegmenter(side)(np.zeros((height, width, 3), dtype=np.uint8))
    segments.validate()
    assert len(segments.segments) == min(side, height) * min(side, width)
    boxes = np.array([segment.bbox for segment in segments.segments])
    assert all(segment.area == w * h for segment, (_, _, w, h) in zip(segments.segments, boxes, strict=True))
    assert np.ptp(boxes[:, 2]) <= 1 and np.ptp(boxes[:, 3]) <= 1
    assert boxes[:, 2:].prod(axis=1).sum() == height * width
