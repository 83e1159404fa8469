import numpy as np
import pytest
import torch

from gshn.backbones.efficientnet_lite import EfficientNetLite
from gshn.backbones.small_conv import SmallConvNet
from gshn.data.images import ImageSample
from gshn.errors import DataError
from gshn.graphs.build import build_graphs, try_to_build_graphs
from gshn.graphs.region_features import region_features
from gshn.graphs.scene_graph import GraphParameters
from gshn.segments.grid import GridSegmenter
from gshn.segments.ground_truth import GroundTruthSegmenter
from gshn.segments.panoptic import Category, segments_from_map
from gshn.segments.superpixels import SuperpixelSegmenter

CATEGORIES = (Category(1, "thing", True),)
SEGMENTER = GroundTruthSegmenter(CATEGORIES)


@pytest.fixture(scope="module")
def backbone():
    return EfficientNetLite()


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
        alone = region_features(backbone(pixels.image), pixels.image, pixels.pixels(), pixels.num_nodes)
        torch.testing.assert_close(graph.x, alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("regions", ["masks", "boxes"])
@pytest.mark.parametrize(
    "segmenter",
    [SuperpixelSegmenter(), GridSegmenter(6), GridSegmenter(1)],
    ids=["superpixels", "36 patches", "1 patch"],
)
@pytest.mark.parametrize("size", [(16, 16), (16, 300), (1, 1), (1, 9), (9, 1)], ids=str)
def test_images_without_content(backbone, size, segmenter, regions):
    """One colour, one segment, one pixel: everything is finite, and an edge needs two nodes."""
    first, last = (ImageSample(str(v), np.full((*size, 3), v, dtype=np.uint8)) for v in (0, 255))
    noise = ImageSample("noise", np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8))
    backbones = [SmallConvNet(), *([backbone] if min(size) >= 16 else [])]
    for own in backbones:
        graphs = build_graphs([first, noise, last], segmenter, own, GraphParameters(regions=regions))
        if not own.trainable:
            alone = [
                build_graphs([s], segmenter, own, GraphParameters(regions=regions))[0] for s in (first, noise, last)
            ]
            for graph, other in zip(graphs, alone, strict=True):
                torch.testing.assert_close(graph.x, other.x, rtol=1e-4, atol=1e-4)
        for graph in graphs:
            assert graph.num_nodes >= 1 and (graph.num_edges > 0) == (graph.num_nodes > 1)
            assert all(torch.isfinite(value).all() for _, value in graph if torch.is_tensor(value))
        if isinstance(segmenter, SuperpixelSegmenter):
            assert graphs[0].num_nodes == graphs[2].num_nodes == 1


def test_an_image_in_which_there_is_nothing_does_not_cost_the_others():
    void = ImageSample("void", np.zeros((32, 32, 3), dtype=np.uint8), segments_from_map(np.zeros((32, 32), int), {}))
    found = try_to_build_graphs([void, sample("good", 32, 32, 2), void], SEGMENTER, SmallConvNet(), GraphParameters())
    assert [isinstance(result, DataError) for result in found] == [True, False, True]
    assert "void: the image has no segment" in str(found[0]) and found[1].num_nodes == 2


def test_errors_name_the_image(backbone):
    good = sample("good.png", 32, 32, 2)
    for bad, message in [
        (ImageSample("bad.png", good.image), "bad.png: the image has no annotated segments"),
        (ImageSample("bad.png", good.image[:20], good.panoptic), "bad.png: the image is 32x20, but has .* 32x32"),
        (sample("bad.png", 32, 8, 2), "bad.png: efficientnet_lite0 needs images of at least 16x16"),
    ]:
        with pytest.raises(DataError, match=message):
            build_graphs([good, bad], SEGMENTER, backbone, GraphParameters())
