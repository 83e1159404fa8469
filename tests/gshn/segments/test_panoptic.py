import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from gshn.errors import DataError
from gshn.segments.panoptic import (
    Segment,
    decode_panoptic_png,
    encode_panoptic_png,
    resize,
    segments_from_map,
)

SEGMENT_MAP = np.array([[0, 7, 7, 0], [7, 7, 0, 300], [0, 0, 300, 0]], dtype=np.int32)


def test_segments_from_map_counts_area_and_box():
    found = segments_from_map(SEGMENT_MAP, {300: 2, 7: 1, 9: 1})
    assert found.segments == (Segment(7, 1, 4, (0, 0, 3, 2)), Segment(300, 2, 2, (2, 1, 2, 2)))
    assert found.segment_map.dtype == np.int32
    found.validate()


def test_segments_from_map_names_the_bad_id():
    with pytest.raises(DataError, match="segment 300 of the segment map has no category"):
        segments_from_map(SEGMENT_MAP, {7: 1})
    with pytest.raises(DataError, match="negative id -300"):
        segments_from_map(-SEGMENT_MAP, {7: 1, 300: 2})


def test_validate_names_what_is_wrong():
    good = segments_from_map(SEGMENT_MAP, {7: 1, 300: 2})
    first, second = good.segments
    for segments, message in [
        ((second, first), "ascending"),
        ((replace(first, area=5), second), "segment 7 has area 4 .* not 5"),
        ((first, replace(second, bbox=(0, 0, 1, 1))), r"segment 300 .* box \(2, 1, 2, 2\)"),
        ((first, second, Segment(301, 1, 1, (0, 0, 1, 1))), "segment 301 has no pixel"),
        ((first,), "segment 300 of the segment map has no category"),
    ]:
        with pytest.raises(DataError, match=message):
            replace(good, segments=segments).validate()
    with pytest.raises(DataError, match="int32"):
        replace(good, segment_map=SEGMENT_MAP.astype(np.int64)).validate()


def test_png_encoding_round_trip():
    ids = np.array([[0, 1, 255, 256], [65535, 65536, 2**24 - 1, 3_937_500]], dtype=np.int32)
    encoded = encode_panoptic_png(ids)
    assert encoded.dtype == np.uint8
    np.testing.assert_array_equal(encoded[0, 3], [0, 1, 0])
    np.testing.assert_array_equal(decode_panoptic_png(encoded), ids)


@pytest.mark.parametrize(("height", "width"), [(7, 5), (20, 30), (13, 11), (41, 61), (1, 1)])
def test_resize_takes_the_nearest_pixel(height, width):
    random = np.random.default_rng(height)
    segment_map = random.integers(0, 6, (20, 30)).astype(np.int32)
    segments = segments_from_map(segment_map, dict.fromkeys(range(6), 1))
    crowd = replace(segments.segments[2], iscrowd=True)
    segments = replace(segments, segments=(*segments.segments[:2], crowd, *segments.segments[3:]))
    scaled = resize(segments, height, width)
    # The old pixel that holds the centre of the new one.
    rows, columns = (
        [math.floor((i + Fraction(1, 2)) * old / new) for i in range(new)] for new, old in ((height, 20), (width, 30))
    )
    expected = np.array([[segment_map[y, x] for x in columns] for y in rows])
    assert (scaled.segment_map == expected).all()
    scaled.validate()
    assert [s.id for s in scaled.segments] == sorted(set(expected.ravel().tolist()) - {0})
    assert [s.id for s in scaled.segments if s.iscrowd] == [crowd.id for s in scaled.segments if s.id == crowd.id]
