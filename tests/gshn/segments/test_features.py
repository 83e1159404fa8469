import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from gshn.backbones.base import FrozenBackbone
from gshn.config import load_config
from gshn.errors import ConfigError, DataError
from gshn.segments.choose import make_segmenter
from gshn.segments.features import FeatureSegmenter
from gshn.segments.superpixels import REGION


class Cells(FrozenBackbone):
    """Features of a cell: the mean of its 8 x 8 pixels, in many channels."""

    name, levels, dim, key = "cells", [8], 300, "cells"

    def __init__(self):
        super().__init__()
        self.mix = nn.Parameter(torch.randn(300, 3, generator=torch.Generator().manual_seed(0)))
        self.freeze()

    def maps(self, images):
        rows, columns = (-(-side // 8) for side in images.shape[2:])
        means = interpolate(images.float(), (rows, columns), mode="area")
        return [torch.einsum("cd,bdhw->bchw", self.mix, means)]


def picture(height, width):
    """Red on the left, a green square on blue on the right; noise on all."""
    image = np.zeros((height, width, 3), np.float64)
    image[:, : width // 2, 0] = 200
    image[:, width // 2 :, 2] = 200
    image[height // 4 : height // 2, 3 * width // 4 :] = (0, 200, 0)
    noise = np.random.default_rng(0).normal(0, 10, image.shape)
    return (image + noise).clip(0, 255).astype(np.uint8)


def test_regions_of_like_features_are_found():
    image = picture(64, 96)
    found = FeatureSegmenter(Cells(), 3)(image)
    labels = found.segment_map
    expected = np.zeros((64, 96), int)
    expected[:, 48:] = 1
    expected[16:32, 72:] = 2
    assert len(found.segments) == 3 and {s.category_id for s in found.segments} == {REGION.id}
    pairs = np.unique(np.stack([labels.ravel(), expected.ravel()]), axis=1)
    assert pairs.shape[1] == 3, "each segment is one region"


@pytest.mark.parametrize("count", [1, 4, 7, 1000])
@pytest.mark.parametrize("size", [(61, 43), (16, 90)])
def test_every_pixel_belongs_to_one_of_so_many_connected_segments(count, size):
    image = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    found = FeatureSegmenter(Cells(), count)(image)
    cells = -(-size[0] // 8) * -(-size[1] // 8)
    assert found.segment_map.shape == size and found.segment_map.min() == 1
    assert len(found.segments) == min(count, cells)
    from skimage.measure import label

    for segment in found.segments:
        assert label(found.segment_map == segment.id, connectivity=1).max() == 1
    again = FeatureSegmenter(Cells(), count).batch([image[::-1].copy(), image], [None, None])[1]
    assert np.array_equal(again.segment_map, found.segment_map)


def test_it_is_made_by_name():
    made = make_segmenter("features:efficientnet_lite0", count=5)
    assert "efficientnet-lite0" in made.key and "count=5" in made.key
    assert made.key != make_segmenter("features:efficientnet_lite0@96", count=5).key
    assert len(made(picture(64, 96)).segments) == 5
    config = load_config("photographs", ["data.pairs.segmenter=features:efficientnet_lite0@96"])
    assert config.data.pairs.segmenter == "features:efficientnet_lite0@96"
    with pytest.raises(ConfigError, match=r"needs a number of segments, such as data\.pairs\.segments=6"):
        make_segmenter("features")
    with pytest.raises(ConfigError, match="small_conv is trained with the model"):
        make_segmenter("features:small_conv", count=5)
    with pytest.raises(ConfigError, match=r"graph\.backbone.*choose one of"):
        make_segmenter("features:resnet", count=5)
    with pytest.raises(DataError, match="at least 16x16 pixels, not 8x8"):
        made(np.zeros((8, 8, 3), np.uint8))
