import json
import logging
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from torch import nn
from torch_geometric.data import Batch

from gshn.data.images import ImageSample
from gshn.errors import DataError, GSHNError
from gshn.graphs import cache
from gshn.graphs.build import build_graphs
from gshn.graphs.cache import CHUNK, cache_key, load_or_build
from gshn.graphs.scene_graph import GraphParameters
from gshn.segments.ground_truth import GroundTruthSegmenter
from gshn.segments.panoptic import Category, segments_from_map

CATEGORIES = (Category(1, "thing", True), Category(2, "stuff", False))
SEGMENTER = GroundTruthSegmenter(CATEGORIES)
PARAMETERS = GraphParameters()


class MeanBackbone(nn.Module):
    """Images halved in size."""

    dim, key, trainable = 3, "mean", False

    def forward(self, images):
        return [nn.functional.avg_pool2d(images.float(), 2)]


class TrainableBackbone(MeanBackbone):
    key, trainable = "trained", True


@dataclass
class Images:
    """Random images, of 1 to 5 stripes, that count how often they are drawn."""

    count: int = 600
    key: str = "images"
    fails_at: int = -1
    size: int = 8
    categories = CATEGORIES
    drawn: list[int] = field(default_factory=list)

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index == self.fails_at:
            raise DataError(f"image {index} is broken")
        self.drawn.append(index)
        rng = np.random.default_rng(index)
        n = index % 5 + 1
        segment_map = np.tile(np.arange(self.size) * n // self.size + 1, (self.size, 1))
        panoptic = segments_from_map(segment_map, {i: i % 2 + 1 for i in range(1, n + 1)})
        return ImageSample(f"{index}.png", rng.integers(0, 256, (self.size, self.size, 3), dtype=np.uint8), panoptic)


def load(folder, images=None, backbone=None):
    return load_or_build(
        Images() if images is None else images, SEGMENTER, backbone or MeanBackbone(), PARAMETERS, folder, "test"
    )


def assert_equal(graph, other):
    assert set(graph.keys()) == set(other.keys())
    assert graph.num_nodes == other.num_nodes
    for name, value in graph:
        if isinstance(value, torch.Tensor):
            assert value.dtype == other[name].dtype
            torch.testing.assert_close(value, other[name], rtol=1e-3 if name == "x" else 0, atol=0)


@pytest.mark.parametrize("backbone", [MeanBackbone(), TrainableBackbone()])
def test_built_and_loaded_graphs_are_those_of_the_images(tmp_path, backbone):
    images = Images(300)
    built = load(tmp_path, images, backbone)
    expected = build_graphs([images[i] for i in range(300)], SEGMENTER, backbone, PARAMETERS)
    drawn = len(images.drawn)
    loaded = load(tmp_path, images, backbone)
    assert len(images.drawn) == drawn, "nothing is drawn again"
    assert len(built) == len(loaded) == 300
    for index in (0, 3, 4, 255, 256, 299):
        assert_equal(built[index], expected[index])
        assert_equal(loaded[index], expected[index])
    assert_equal(loaded[-1], expected[299])
    with pytest.raises(IndexError, match="graph 300 of 300"):
        loaded[300]
    assert "300 graphs, 900 nodes" in repr(loaded)


@pytest.mark.parametrize("backbone", [MeanBackbone(), TrainableBackbone()])
def test_batch_equals_pyg_s(tmp_path, backbone):
    graphs = load(tmp_path, Images(12), backbone)
    for indices in ([3, 0, 0, 11, 4], [0], [5, 10]):  # graphs 0, 5 and 10 have no edge
        batch, expected = graphs.batch(indices), Batch.from_data_list([graphs[i] for i in indices])
        assert_equal(batch, expected)
        assert batch.num_graphs == expected.num_graphs == len(indices)
        if backbone.trainable:
            assert torch.equal(batch.node_map(), expected.node_map())


def test_images_without_edges(tmp_path):
    class Single(Images):
        def __getitem__(self, index):
            return super().__getitem__(0)

    load(tmp_path, Single(3))
    assert load(tmp_path, Single(3))[1].edge_index.shape == (2, 0)


def test_a_killed_build_goes_on_at_the_missing_chunk(tmp_path):
    broken = Images(fails_at=300)
    with pytest.raises(DataError, match="image 300 is broken"):
        load(tmp_path, broken)
    images = Images()
    graphs = load(tmp_path, images)
    assert images.drawn == list(range(CHUNK, 600))
    fresh = load(tmp_path / "other")
    assert_equal(graphs.batch(range(600)), fresh.batch(range(600)))


@pytest.mark.parametrize("damage", [lambda b: b[:-100], lambda b: b"", lambda b: b[:-7] + b"x" * 7])
def test_a_broken_chunk_is_rebuilt(tmp_path, caplog, damage):
    expected = load(tmp_path)
    path = sorted(tmp_path.glob("*/*.safetensors"))[1]
    path.write_bytes(damage(path.read_bytes()))
    images = Images()
    with caplog.at_level(logging.WARNING):
        graphs = load(tmp_path, images)
    assert f"{path} is broken and will be rebuilt" in caplog.text
    assert images.drawn == list(range(CHUNK, 2 * CHUNK))
    assert_equal(graphs.batch(range(600)), expected.batch(range(600)))
    assert not [p for p in path.parent.iterdir() if p.suffix not in {".safetensors", ".json"}], "nothing is left over"


def test_key_tells_apart_all_that_shapes_the_graphs(monkeypatch):
    def key(images=None, segmenter=SEGMENTER, backbone=None, parameters=PARAMETERS):
        return json.dumps(cache_key(images or Images(), segmenter, backbone or MeanBackbone(), parameters))

    other_backbone = MeanBackbone()
    other_backbone.key = "median"
    keys = [
        key(),
        key(images=Images(key="other")),
        key(images=Images(count=5)),
        key(segmenter=GroundTruthSegmenter(CATEGORIES[::-1])),
        key(backbone=other_backbone),
        key(backbone=TrainableBackbone()),
        key(parameters=GraphParameters(neighbours=3)),
        key(parameters=GraphParameters(max_segments=3)),
    ]
    monkeypatch.setattr(cache, "VERSION", 0)
    keys.append(key())
    assert len(set(keys)) == len(keys)


def test_manifest_says_the_key_in_words(tmp_path):
    load(tmp_path, Images(3))
    (manifest,) = tmp_path.glob("*/manifest.json")
    content = json.loads(manifest.read_text())
    assert content["collection"] == "images" and content["parameters"]["neighbours"] == 4


def test_what_cannot_be_cached(tmp_path):
    with pytest.raises(DataError, match="test: there are no images"):
        load(tmp_path, Images(0))

    class Odd(Images):
        def __getitem__(self, index):
            self.size = 10 if index == 70 else 8
            return super().__getitem__(index)

    with pytest.raises(DataError, match=r"70.png: a trainable backbone needs images of one size, not \(10, 10, 3\)"):
        load(tmp_path, Odd(100), TrainableBackbone())
    (tmp_path / "file").write_text("")
    with pytest.raises(GSHNError, match="cannot be written to"):
        load(tmp_path / "file" / "cache", Images(3))
