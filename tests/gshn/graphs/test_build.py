import numpy as np
import pytest
import torch

from gshn.data.images import ImageSample
from gshn.errors import DataError
from gshn.graphs.backbones import EfficientNetLite0, SmallConvNet
from gshn.graphs.build import build_graphs
from gshn.graphs.region_features import region_features
from gshn.graphs.scene_graph import GraphParameters
from gshn.segments.ground_truth import GroundTruthSegmenter
from gshn.segments.panoptic import Category, segments_from_map

CATEGORIES = (Category(1, "thing", True),)
SEGMENTER = GroundTruthSegmenter(CATEGORIES)


@pytest.fixture(scope="module")
def backbone():
    return EfficientNetLite0()


def sample(name, height, width, n):
    rng = np.random.default_rng(n)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    stripes = np.arange(width) * (n + 1) // width  # 0 is void
    segment_map = np.tile(stripes, (height, 1))
    return ImageSample(name, image, segments_from_map(segment_map, dict.fromkeys(range(n + 1), 1)))


def test_features_are_those_of_each_image_alone(backbone):
    samples = [sample("a", 32, 48, 3), sample("b", 40, 32, 2), sample("c", 32, 48, 5)]
    graphs = build_graphs(samples, SEGMENTER, backbone, GraphParameters())
    kept = build_graphs(samples, SEGMENTER, SmallConvNet(), GraphParameters())
    assert [g.num_nodes for g in graphs] == [3, 2, 5]
    for graph, pixels, image in zip(graphs, kept, samples, strict=True):
        assert "image" not in graph and "segment_map" not in graph and "x" not in pixels
        assert torch.equal(pixels.image[0].movedim(0, 2), torch.from_numpy(image.image))
        alone = region_features(backbone, pixels.image, pixels.pixels(), pixels.num_nodes)
        torch.testing.assert_close(graph.x, alone, rtol=1e-4, atol=1e-4)


def test_errors_name_the_image(backbone):
    good = sample("good.png", 32, 32, 2)
    for bad, message in [
        (ImageSample("bad.png", good.image), "bad.png: the image has no annotated segments"),
        (ImageSample("bad.png", good.image[:20], good.panoptic), "bad.png: the image is 32x20, but has .* 32x32"),
        (sample("bad.png", 32, 8, 2), "bad.png: EfficientNet-Lite0 needs images of at least 16x16"),
    ]:
        with pytest.raises(DataError, match=message):
            build_graphs([good, bad], SEGMENTER, backbone, GraphParameters())
