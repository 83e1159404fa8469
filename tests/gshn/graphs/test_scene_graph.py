import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric.data import Batch
from torch_geometric.utils import is_undirected

from gshn.data.panoptic_annotations import read_coco_panoptic
from gshn.errors import DataError
from gshn.graphs.scene_graph import EDGE_GEOMETRY, GEOMETRY, IMAGE, GraphParameters, segments_to_graph
from gshn.segments.panoptic import Category, PanopticSegments, segments_from_map

COCO = Path(__file__).parents[4] / "shared" / "data" / "coco_panoptic_sample"

CATEGORIES = (Category(10, "sky", False), Category(20, "cat", True), Category(30, "dog", True))
K1 = GraphParameters(neighbours=1)


def voronoi(n, size=48, seed=0, ids=None):
    """Random image of n segments, with some void."""
    rng = np.random.default_rng(seed)
    centres = rng.random((n, 2)) * size
    grid = np.stack(np.mgrid[:size, :size], axis=-1)
    nearest = ((grid[:, :, None] - centres) ** 2).sum(-1).argmin(-1)
    ids = np.arange(1, n + 1) if ids is None else ids
    segment_map = np.where(rng.random((size, size)) < 0.05, 0, ids[nearest])
    categories = {int(id_): CATEGORIES[i % 3].id for i, id_ in enumerate(ids)}
    return segments_from_map(segment_map, categories)


def column(table, names, name):
    return table[:, names.index(name)]


def test_a_graph_worked_by_hand():
    segment_map = np.zeros((4, 8), dtype=np.int32)
    segment_map[:, :4] = 1  # a square, left half
    segment_map[1, 5:7] = 2  # a line of two pixels, one column apart from the square
    segment_map[2, 5:7] = 3  # another, under it
    graph = segments_to_graph(segments_from_map(segment_map, {1: 10, 2: 20, 3: 30}), CATEGORIES, K1)
    assert graph.num_nodes == 3
    assert graph.category.tolist() == [0, 1, 2]
    expected = {
        "x": [0, 5 / 8, 5 / 8],
        "y": [0, 1 / 4, 2 / 4],
        "width": [1 / 2, 1 / 4, 1 / 4],
        "height": [1, 1 / 4, 1 / 4],
        "centroid_x": [2 / 8, 6 / 8, 6 / 8],
        "centroid_y": [2 / 4, 1.5 / 4, 2.5 / 4],
        "area": [1 / 2, 1 / 16, 1 / 16],
        "fill": [1, 1, 1],
        "moment_xx": [1 / 12, 1 / 6, 1 / 6],  # a rectangle of w x h: w^2 / 12 / (w h)
        "moment_xy": [0, 0, 0],
        "moment_yy": [1 / 12, 1 / 24, 1 / 24],
        "eccentricity": [0, np.sqrt(3 / 4), np.sqrt(3 / 4)],
        "isthing": [0, 1, 1],
    }
    assert tuple(expected) == GEOMETRY
    np.testing.assert_allclose(graph.geometry.numpy(), np.stack(list(expected.values()), axis=1), atol=1e-6)
    # 1 and 2 touch. Both are as far from 0, which touches neither but has both as nearest.
    assert graph.edge_index.T.tolist() == [[0, 1], [0, 2], [1, 0], [1, 2], [2, 0], [2, 1]]
    edge = dict(zip(EDGE_GEOMETRY, graph.edge_attr[0].tolist(), strict=True))
    assert edge == pytest.approx(
        {
            "dx": 0.5,
            "dy": -1 / 8,
            "distance": np.hypot(0.5, 1 / 8),
            "log_area_ratio": np.log(1 / 8),
            "box_iou": 0,
            "touching": 0,
        }
    )
    assert column(graph.edge_attr, EDGE_GEOMETRY, "touching").tolist() == [0, 0, 0, 1, 0, 1]


def test_box_iou_counts_overlap():
    segment_map = np.ones((4, 4), dtype=np.int32)
    segment_map[:2, :2] = 2
    graph = segments_to_graph(segments_from_map(segment_map, {1: 10, 2: 20}), CATEGORIES, K1)
    assert column(graph.edge_attr, EDGE_GEOMETRY, "box_iou").tolist() == [0.25, 0.25]


def test_moments_of_a_disc_and_a_tilted_line():
    rows, columns = np.mgrid[:101, :101] - 50
    segment_map = (rows**2 + columns**2 <= 40**2).astype(np.int32)
    disc = segments_to_graph(segments_from_map(segment_map, {1: 20}), CATEGORIES, K1).geometry
    np.testing.assert_allclose(disc[0, 8:12], [1 / (4 * np.pi), 0, 1 / (4 * np.pi), 0], atol=2e-3)
    line = segments_to_graph(segments_from_map(np.eye(50, dtype=np.int32), {1: 20}), CATEGORIES, K1).geometry
    assert column(line, GEOMETRY, "eccentricity") > 0.99
    assert column(line, GEOMETRY, "moment_xy") > 0


@pytest.mark.parametrize("seed", range(3))
def test_edges_equal_a_slow_oracle(seed):
    segments = voronoi(9, seed=seed)
    graph = segments_to_graph(segments, CATEGORIES, GraphParameters(neighbours=2))
    ids = [s.id for s in segments.segments]
    pixels = {i: set(map(tuple, np.argwhere(segments.segment_map == id_))) for i, id_ in enumerate(ids)}
    centroids = [np.mean(list(p), axis=0) for p in pixels.values()]
    touching, near = set(), set()
    for i in pixels:
        others = sorted((np.linalg.norm(centroids[i] - centroids[j]), j) for j in pixels if j != i)
        near |= {(i, j) for _, j in others[:2]} | {(j, i) for _, j in others[:2]}
        for y, x in pixels[i]:
            around = {(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)}
            touching |= {(i, j) for j in pixels if j != i and pixels[j] & around}
    assert [tuple(e) for e in graph.edge_index.T.tolist()] == sorted(touching | near)
    marked = column(graph.edge_attr, EDGE_GEOMETRY, "touching").bool()
    assert {tuple(e) for e in graph.edge_index.T[marked].tolist()} == touching


def test_edge_attributes_of_the_way_back_are_mirrored():
    graph = segments_to_graph(voronoi(8), CATEGORIES, GraphParameters())
    back = {tuple(e): a for e, a in zip(graph.edge_index.T.tolist(), graph.edge_attr, strict=True)}
    sign = torch.tensor([-1.0, -1, 1, -1, 1, 1])
    for (source, target), attributes in back.items():
        assert source != target
        torch.testing.assert_close(back[target, source], sign * attributes)


def test_permuting_segments_permutes_nodes_and_edges():
    n = 12
    order = np.random.default_rng(5).permutation(n)  # node i of the one is node order[i] of the other
    graph = segments_to_graph(voronoi(n), CATEGORIES, GraphParameters(neighbours=3))
    segments = voronoi(n)
    ids = np.concatenate([[0], order + 1])
    categories = {int(ids[s.id]): s.category_id for s in segments.segments}
    permuted = segments_from_map(ids[segments.segment_map], categories)
    other = segments_to_graph(permuted, CATEGORIES, GraphParameters(neighbours=3))
    assert torch.equal(other.geometry[order], graph.geometry)
    assert torch.equal(other.category[order], graph.category)
    edges = {tuple(e): a.tolist() for e, a in zip(graph.edge_index.T.tolist(), graph.edge_attr, strict=True)}
    expected = {(int(order[i]), int(order[j])): a for (i, j), a in edges.items()}
    assert {tuple(e): a.tolist() for e, a in zip(other.edge_index.T.tolist(), other.edge_attr, strict=True)} == expected


def test_one_segment_or_no_neighbours():
    single = segments_to_graph(segments_from_map(np.ones((3, 3), int), {1: 10}), CATEGORIES, GraphParameters())
    assert single.edge_index.shape == (2, 0) and single.edge_attr.shape == (0, 6)
    assert single.edge_index.dtype == torch.int64 and single.edge_attr.dtype == torch.float32
    apart = np.array([[1, 0, 2]])
    graph = segments_to_graph(segments_from_map(apart, {1: 10, 2: 10}), CATEGORIES, GraphParameters(neighbours=0))
    assert graph.num_edges == 0


def test_the_largest_segments_are_kept(caplog):
    segments = voronoi(10)
    with caplog.at_level(logging.WARNING):
        graph = segments_to_graph(segments, CATEGORIES, GraphParameters(max_segments=4))
    assert "10 segments, 6 dropped" in caplog.text
    kept = sorted(segments.segments, key=lambda s: -s.area)[:4]
    kept = sorted(kept, key=lambda s: s.id)
    assert graph.num_nodes == 4
    np.testing.assert_allclose(column(graph.geometry, GEOMETRY, "area"), [s.area / 48**2 for s in kept], rtol=1e-6)
    for node, segment in enumerate(kept):
        assert ((graph.segment_map[0] == node).numpy() == (segments.segment_map == segment.id)).all()
    assert (graph.segment_map == -1).sum() == 48**2 - sum(s.area for s in kept)


def test_what_cannot_be_a_graph():
    good = voronoi(3)
    with pytest.raises(DataError, match=r"the image has no segment; graph\.whole_image=true makes"):
        segments_to_graph(PanopticSegments(good.segment_map, ()), CATEGORIES, K1)
    with pytest.raises(DataError, match="segment 2 has category 20, not one of the vocabulary's"):
        segments_to_graph(good, CATEGORIES[:1], K1)
    empty = replace(good, segment_map=np.where(good.segment_map == 2, 0, good.segment_map))
    with pytest.raises(DataError, match=r"segment 2 .* has no pixel"):
        segments_to_graph(empty, CATEGORIES, K1)


def test_batches_keep_pixels_apart():
    graphs = [segments_to_graph(voronoi(n, seed=n), CATEGORIES, K1) for n in (5, 1, 7)]
    batch = Batch.from_data_list(graphs)
    assert batch.num_nodes == 13 and batch.num_graphs == 3
    pixels = batch.pixels()
    for i, (graph, start) in enumerate(zip(graphs, (0, 5, 6), strict=True)):
        own, alone = pixels.image == i, graph.pixels()
        assert torch.equal(pixels.node[own], alone.node + start)
        assert torch.equal(pixels.y[own], alone.y) and torch.equal(pixels.x[own], alone.x)
        assert torch.equal(graph.segment_map[0][alone.y, alone.x].long(), alone.node)
    for graph, back in zip(graphs, batch.to_data_list(), strict=True):
        assert all(torch.equal(graph[name], back[name]) for name in graph.keys() if name != "num_nodes")  # noqa: SIM118


BOXES = GraphParameters(neighbours=1, regions="boxes")


def test_boxes_of_rectangles_are_as_their_masks():
    segment_map = np.zeros((12, 16), dtype=np.int32)
    segment_map[:, :5], segment_map[:7, 5:], segment_map[9:, 6:10] = 1, 2, 3
    segments = segments_from_map(segment_map, {1: 10, 2: 20, 3: 30})
    masks, boxes = (segments_to_graph(segments, CATEGORIES, p) for p in (K1, BOXES))
    for name in ("category", "geometry", "edge_index", "edge_attr"):
        torch.testing.assert_close(boxes[name], masks[name])
    assert "segment_map" not in boxes


def test_boxes_own_what_lies_in_them():
    segment_map = np.ones((12, 16), dtype=np.int32)
    segment_map[3:6, 4:9] = 2
    segment_map[3, 4] = 3
    segments = segments_from_map(segment_map, {1: 10, 2: 20, 3: 30})
    graph = segments_to_graph(segments, CATEGORIES, BOXES)
    areas = column(graph.geometry, GEOMETRY, "area") * 12 * 16
    assert areas.tolist() == pytest.approx([12 * 16, 15, 1])
    assert column(graph.geometry, GEOMETRY, "fill").tolist() == [1, 1, 1]
    assert graph.num_edges == 6 and (column(graph.edge_attr, EDGE_GEOMETRY, "touching") == 1).all()
    graph.image = torch.zeros(1, 3, 12, 16, dtype=torch.uint8)
    counts = torch.bincount(graph.pixels().node)
    assert counts.tolist() == [12 * 16, 15, 1]
    both = Batch.from_data_list([graph, graph]).pixels()
    assert torch.equal(torch.bincount(both.image), torch.tensor([208, 208]))
    assert both.node.max() == 5


@pytest.mark.skipif(not COCO.is_dir(), reason="the COCO panoptic sample is not here")
def test_coco_images_become_graphs():
    annotations = json.loads((COCO / "annotations" / "panoptic_val2017.json").read_text())["annotations"]
    for annotation in annotations:
        info = annotation["segments_info"]
        segments = read_coco_panoptic(COCO / "panoptic" / annotation["file_name"], info)
        ids = sorted({entry["category_id"] for entry in info})
        graph = segments_to_graph(segments, [Category(i, str(i), i < 92) for i in ids], GraphParameters())
        assert graph.num_nodes == len(info)
        assert graph.geometry.isfinite().all() and graph.edge_attr.isfinite().all()
        assert [ids[c] for c in graph.category] == [s.category_id for s in segments.segments]
        assert not graph.has_self_loops() and is_undirected(graph.edge_index) and graph.is_coalesced()


@pytest.mark.parametrize("regions", ["masks", "boxes"])
def test_a_node_for_the_whole_image_leaves_the_others_as_they_are(regions):
    segments = voronoi(7)
    without = GraphParameters(neighbours=2, max_segments=5, regions=regions)
    plain = segments_to_graph(segments, CATEGORIES, without)
    graph = segments_to_graph(segments, CATEGORIES, replace(without, whole_image=True))
    assert graph.num_nodes == 6 and graph.whole.tolist() == [True] + 5 * [False]
    assert replace(without, whole_image=True).categories(CATEGORIES)[graph.category[0]] == IMAGE
    assert torch.equal(graph.category[1:], plain.category) and torch.equal(graph.geometry[1:], plain.geometry)
    whole = dict(zip(GEOMETRY, graph.geometry[0].tolist(), strict=True))
    moments = {"moment_xx": 1 / 12, "moment_xy": 0, "moment_yy": 1 / 12, "eccentricity": 0}
    box = {"x": 0, "y": 0, "width": 1, "height": 1, "centroid_x": 0.5, "centroid_y": 0.5, "area": 1, "fill": 1}
    assert whole == pytest.approx({**box, **moments, "isthing": 0})
    source, target = graph.edge_index
    to_others = (source > 0) & (target > 0)
    assert torch.equal(graph.edge_index[:, to_others] - 1, plain.edge_index)
    assert torch.equal(graph.edge_attr[to_others], plain.edge_attr)
    assert target[source == 0].tolist() == source[target == 0].tolist() == [1, 2, 3, 4, 5]
    np.testing.assert_allclose(
        column(graph.edge_attr[source == 0], EDGE_GEOMETRY, "log_area_ratio").numpy(),
        np.log(column(plain.geometry, GEOMETRY, "area").numpy()),
        rtol=1e-5,
    )
    assert (column(graph.edge_attr[~to_others], EDGE_GEOMETRY, "touching") == 1).all()
    if regions == "masks":
        assert torch.equal(graph.segment_map, torch.where(plain.segment_map < 0, -1, plain.segment_map + 1))


@pytest.mark.parametrize("regions", ["masks", "boxes"])
def test_an_image_without_segments_is_a_node_of_its_own(regions):
    nothing = PanopticSegments(np.zeros((4, 8), dtype=np.int32), ())
    graph = segments_to_graph(nothing, CATEGORIES, GraphParameters(regions=regions, whole_image=True))
    assert (graph.num_nodes, graph.num_edges, graph.category.tolist()) == (1, 0, [3])
    graph.image = torch.zeros(1, 3, 4, 8, dtype=torch.uint8)
    batch = Batch.from_data_list([graph, graph])
    assert torch.bincount(batch.pixels().node).tolist() == [32, 32]
