import pytest
import torch

from gshn.backbones.small_conv import SmallConvNet
from gshn.graphs.region_features import COLOUR_DIM, colour_statistics, region_features
from gshn.graphs.region_features import mask_pool as pool_pixels
from gshn.graphs.scene_graph import Pixels

SIZES = [(12, 17), (6, 9), (3, 4), (1, 1)]


@pytest.fixture
def node_map():
    """Two images of 12x17: nodes 0 to 2 in the first, 3 to 5 in the second, some void; node 5 is one pixel."""
    g = torch.Generator().manual_seed(0)
    first = torch.randint(-1, 3, (1, 12, 17), generator=g)
    second = torch.where(torch.randint(0, 4, (1, 12, 17), generator=g) > 0, 3, 4)
    second[0, 11, 16] = 5
    return torch.cat([first, second])


@pytest.fixture
def maps():
    g = torch.Generator().manual_seed(1)
    return [torch.randn(2, 3, *size, dtype=torch.float64, generator=g) for size in SIZES]


def mask_pool(maps, node_map, num_nodes):
    return pool_pixels(maps, Pixels.of_map(node_map), node_map.shape[1:], num_nodes)


def slow_mask_pool(maps, node_map, num_nodes):
    """Pixel by pixel."""
    _, height, width = node_map.shape
    rows = []
    for node in range(num_nodes):
        pixels = (node_map == node).nonzero().tolist()
        row = [
            torch.stack([m[b, :, y * m.shape[2] // height, x * m.shape[3] // width] for b, y, x in pixels]).mean(0)
            for m in maps
        ]
        rows.append(torch.cat(row))
    return torch.stack(rows)


def test_mask_pool_equals_the_mean_over_pixels_with_gradients(node_map, maps):
    leaves = [m.clone().requires_grad_() for m in maps]
    oracle_leaves = [m.clone().requires_grad_() for m in maps]
    pooled, expected = mask_pool(leaves, node_map, 6), slow_mask_pool(oracle_leaves, node_map, 6)
    assert pooled.shape == (6, 12)
    torch.testing.assert_close(pooled, expected)
    weight = torch.randn(6, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    (pooled * weight).sum().backward()
    (expected * weight).sum().backward()
    for leaf, oracle in zip(leaves, oracle_leaves, strict=True):
        torch.testing.assert_close(leaf.grad, oracle.grad)


def test_mask_pool_of_a_node_without_a_pixel_is_zero(node_map, maps):
    pooled = mask_pool(maps, node_map, 7)
    torch.testing.assert_close(pooled[:6], mask_pool(maps, node_map, 6))
    assert (pooled[6] == 0).all()


def test_mask_pool_follows_the_nodes_numbering(node_map, maps):
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    renumbered = torch.where(node_map < 0, -1, order[node_map])
    torch.testing.assert_close(mask_pool(maps, renumbered, 6)[order], mask_pool(maps, node_map, 6))


def test_colour_statistics_equal_mean_and_deviation(node_map):
    images = torch.randint(0, 256, (2, 3, 12, 17), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    found = colour_statistics(images, Pixels.of_map(node_map), 6)
    for node in range(6):
        image = 0 if node < 3 else 1
        pixels = images[image][:, node_map[image] == node].double() / 255
        expected = torch.cat([pixels.mean(1), pixels.std(1, correction=0)]).float()
        torch.testing.assert_close(found[node], expected, atol=1e-6, rtol=0)


def test_region_features_reach_the_backbones_parameters(node_map):
    torch.manual_seed(0)
    backbone = SmallConvNet((8, 16))
    images = torch.randint(0, 256, (2, 3, 12, 17), dtype=torch.uint8)
    features = region_features(backbone(images), images, Pixels.of_map(node_map), 6)
    assert features.shape == (6, COLOUR_DIM + 24)
    features.square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in backbone.parameters())


def test_pixels_of_boxes_that_overlap_are_all_of_theirs(maps):
    boxes = torch.tensor([[0, 0, 17, 12], [3, 2, 5, 4], [16, 11, 1, 1], [3, 3, 2, 9]])
    image = torch.tensor([0, 0, 1, 1])
    pixels = Pixels.of_boxes(boxes, image)
    for node, (x, y, w, h) in enumerate(boxes.tolist()):
        own = pixels.node == node
        expected = {(int(image[node]), row, column) for row in range(y, y + h) for column in range(x, x + w)}
        found = list(zip(pixels.image[own].tolist(), pixels.y[own].tolist(), pixels.x[own].tolist(), strict=True))
        assert len(found) == len(expected) and set(found) == expected
    pooled = pool_pixels(maps, pixels, (12, 17), 4)
    alone = torch.full((2, 12, 17), -1)
    alone[0, 2:6, 3:8] = 0
    torch.testing.assert_close(pooled[1:2], slow_mask_pool(maps, alone, 1))
    whole = torch.zeros(1, 12, 17, dtype=torch.int64)
    torch.testing.assert_close(pooled[:1], slow_mask_pool([m[:1] for m in maps], whole, 1))


def test_bilinear_pooling_equals_an_interpolated_map(node_map, maps):
    """By torch's own interpolation to the image's size, of maps with fewer cells than pixels."""
    pooled = pool_pixels(maps, Pixels.of_map(node_map), (12, 17), 6, bilinear=True)
    fine = [torch.nn.functional.interpolate(m, (12, 17), mode="bilinear", align_corners=False) for m in maps]
    torch.testing.assert_close(pooled, slow_mask_pool(fine, node_map, 6))
    assert not torch.allclose(pooled, pool_pixels(maps, Pixels.of_map(node_map), (12, 17), 6), atol=1e-2)


@pytest.mark.parametrize("bilinear", [False, True])
def test_a_whole_image_has_the_mean_of_the_cells(bilinear):
    """However many pixels each cell holds: 17 pixels in 3 cells are 6, 6 and 5."""
    given = [torch.arange(6.0).view(2, 1, 1, 3) ** 2]
    images = torch.randint(0, 256, (2, 3, 4, 17), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    pixels = Pixels.of_boxes(torch.tensor([[0, 0, 17, 4], [0, 0, 17, 4]]), torch.tensor([0, 1]))
    whole = torch.tensor([True, True])
    features = region_features(given, images, pixels, 2, whole, bilinear)
    torch.testing.assert_close(features[:, COLOUR_DIM], torch.tensor([5 / 3, 50 / 3]))
    torch.testing.assert_close(features[:, :3], images.float().mean(dim=(2, 3)) / 255)
    assert not torch.allclose(region_features(given, images, pixels, 2)[:, COLOUR_DIM], features[:, COLOUR_DIM])
