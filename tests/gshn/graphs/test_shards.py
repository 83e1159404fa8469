import io
import json
import logging
import os
import signal
import subprocess
import sys
import tarfile
import threading
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from disk import full_disk
from torch import nn
from torch_geometric.data import Batch

from gshn.data.images import ImageSample
from gshn.errors import DataError
from gshn.graphs.build import build_graphs
from gshn.graphs.scene_graph import GraphParameters
from gshn.graphs.shards import write
from gshn.graphs.shards.files import read_shard, to_dataset, whole_samples
from gshn.graphs.shards.index import load_all, load_or_build, read_index, write_index
from gshn.graphs.shards.stream import ShardStream, StreamedGraphs
from gshn.graphs.shards.write import SHARD, Recipe, write_shards
from gshn.segments.ground_truth import GroundTruthSegmenter
from gshn.segments.panoptic import Category, segments_from_map
from neuromorphic import files
from neuromorphic.errors import UserError
from neuromorphic.files import Lock

CATEGORIES = (Category(1, "thing", True), Category(2, "stuff", False))
SEGMENTER = GroundTruthSegmenter(CATEGORIES)
PARAMETERS = GraphParameters()


class MeanBackbone(nn.Module):
    """Images halved in size."""

    dim, key, trainable, device = 3, "mean", False, torch.device("cpu")

    def forward(self, images):
        return [nn.functional.avg_pool2d(images.float(), 2)]


class TrainableBackbone(MeanBackbone):
    key, trainable = "trained", True


@dataclass(eq=False)
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

    def files(self, index):
        return ()

    def __getitem__(self, index):
        if index == self.fails_at:
            raise DataError(f"image {index} is broken")
        self.drawn.append(index)
        rng = np.random.default_rng(index)
        n = index % 5 + 1
        segment_map = np.tile(np.arange(self.size) * n // self.size + 1, (self.size, 1))
        panoptic = segments_from_map(segment_map, {i: i % 2 + 1 for i in range(1, n + 1)})
        return ImageSample(f"{index}.png", rng.integers(0, 256, (self.size, self.size, 3), dtype=np.uint8), panoptic)


def load(folder, images=None, backbone=None, parameters=PARAMETERS):
    return load_or_build(recipe(images, backbone, parameters), folder, "test")[0]


def recipe(images=None, backbone=None, parameters=PARAMETERS):
    return Recipe(Images() if images is None else images, SEGMENTER, backbone or MeanBackbone(), parameters)


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
            assert all(map(torch.equal, batch.pixels(), expected.pixels()))


@pytest.mark.parametrize("backbone", [MeanBackbone(), TrainableBackbone()])
def test_nodes_for_whole_images_are_stored(tmp_path, backbone):
    images = Images(6)
    graphs = load(tmp_path, images, backbone, GraphParameters(whole_image=True))
    batch, expected = graphs.batch([3, 0, 5]), Batch.from_data_list([graphs[i] for i in (3, 0, 5)])
    assert_equal(batch, expected)
    assert batch.whole.nonzero().squeeze(1).tolist() == batch.ptr[:-1].tolist()
    assert batch.category[batch.whole].tolist() == [len(CATEGORIES)] * 3
    if backbone.trainable:
        assert all(map(torch.equal, batch.pixels(), expected.pixels()))
        assert torch.bincount(batch.pixels().node)[batch.whole].tolist() == [64] * 3
    assert [c.name for c in read_index(next(tmp_path.glob("*/"))).categories] == ["thing", "stuff", "image"]


def test_the_key_of_a_default_is_that_of_older_caches():
    assert recipe().key["parameters"] == {"neighbours": 4, "max_segments": 64, "regions": "masks"}
    assert len(recipe().key["categories"]) == 2


def test_images_without_edges(tmp_path):
    class Single(Images):
        def __getitem__(self, index):
            return super().__getitem__(0)

    load(tmp_path, Single(3))
    assert load(tmp_path, Single(3))[1].edge_index.shape == (2, 0)


def test_a_build_that_stopped_goes_on_after_the_last_image(tmp_path):
    broken = Images(fails_at=300)
    with pytest.raises(DataError, match="image 300 is broken"):
        load(tmp_path, broken)
    images = Images()
    graphs = load(tmp_path, images)
    assert images.drawn == list(range(300, 600))
    fresh = load(tmp_path / "other")
    assert_equal(graphs.batch(range(600)), fresh.batch(range(600)))


@pytest.mark.parametrize("damage", [lambda b: b[:-100], lambda b: b"", lambda b: b[:-7] + b"x" * 7])
def test_a_broken_shard_is_rebuilt(tmp_path, caplog, damage):
    expected = load(tmp_path)
    path = sorted(tmp_path.glob("*/*.tar"))[1]
    path.write_bytes(damage(path.read_bytes()))
    images = Images()
    with caplog.at_level(logging.WARNING):
        graphs = load(tmp_path, images)
    assert f"{path} is broken and will be rebuilt" in caplog.text
    assert images.drawn == list(range(SHARD, 2 * SHARD))
    assert_equal(graphs.batch(range(600)), expected.batch(range(600)))
    assert not [p for p in path.parent.iterdir() if p.suffix not in {".tar", ".json"}], "nothing is left over"


def test_key_tells_apart_all_that_shapes_the_graphs(monkeypatch):
    def key(images=None, segmenter=SEGMENTER, backbone=None, parameters=PARAMETERS):
        return json.dumps(Recipe(images or Images(), segmenter, backbone or MeanBackbone(), parameters).key)

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
        key(parameters=GraphParameters(regions="boxes")),
        key(parameters=GraphParameters(whole_image=True)),
        key(parameters=GraphParameters(pooling="bilinear")),
    ]
    monkeypatch.setattr(write, "VERSION", 0)
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
    with pytest.raises(UserError, match="cannot be written to"):
        load(tmp_path / "file" / "cache", Images(3))


class Unreliable(Images):
    """Some images cannot be read."""

    def __getitem__(self, index):
        if index in (3, 40):
            raise DataError(f"image {index}.png is broken")
        return super().__getitem__(index)


def annotate(index):
    return {"captions": [f"image {index}", "an image"]}


def tars(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.tar")}


def test_shards_do_not_depend_on_who_writes_them(tmp_path):
    write_shards(recipe(Images(100)), tmp_path / "one", "test", shard_size=16, annotate=annotate)
    for rank in (2, 0, 1):
        write_shards(recipe(Images(100)), tmp_path / "three", "test", 16, rank, 3, annotate=annotate)
    assert len(tars(tmp_path / "one")) == 7 and tars(tmp_path / "one") == tars(tmp_path / "three")
    index = write_index(tmp_path / "three")
    assert len(index) == 100 and index.graphs["00006.tar"] == 4 and not index.broken
    names = [stored.annotation["name"] for stored in ShardStream(index)]
    assert names == [f"{i}.png" for i in range(100)]


def test_broken_images_are_listed_and_the_others_kept(tmp_path, caplog):
    write_shards(recipe(Unreliable(50)), tmp_path, "test", shard_size=20)
    assert "image 3.png is broken; it is left out" in caplog.text
    index = write_index(tmp_path)
    assert len(index) == 48
    assert [(entry["index"], entry["reason"]) for entry in index.broken] == [
        (3, "image 3.png is broken"),
        (40, "image 40.png is broken"),
    ]
    graphs, stored = load_all(index)
    assert len(graphs) == 48 and [s["index"] for s in stored] == [i for i in range(50) if i not in (3, 40)]


def test_many_broken_images_are_counted(tmp_path, caplog):
    class Half(Images):
        def __getitem__(self, index):
            if index % 2:
                raise DataError(f"image {index}.png is broken")
            return super().__getitem__(index)

    write_shards(recipe(Half(50)), tmp_path, "test")
    assert len(caplog.records) == 11 and "00000.tar: 25 of 50 images are left out in all; " in caplog.text
    assert len(write_index(tmp_path).broken) == 25


@pytest.mark.parametrize("backbone", [MeanBackbone(), TrainableBackbone()], ids=["frozen", "trainable"])
def test_the_first_image_may_be_broken_too(tmp_path, backbone):
    write_shards(recipe(Images(70, fails_at=0), backbone), tmp_path, "test")
    index = write_index(tmp_path)
    assert len(index) == 69 and [entry["index"] for entry in index.broken] == [0]


def test_one_image_that_gives_no_graph_does_not_cost_its_batch(tmp_path):
    class NoSegments(Images):
        def __getitem__(self, index):
            sample = super().__getitem__(index)
            return ImageSample(sample.name, sample.image) if index == 5 else sample

    write_shards(recipe(NoSegments(20)), tmp_path, "test")
    (entry,) = write_index(tmp_path).broken
    assert entry["name"] == "5.png" and "5.png: the image has no annotated segments" in entry["reason"]


@pytest.mark.parametrize("cut", [0, 1, 511, 700, 5000, -1, -512, -1500])
def test_a_shard_cut_anywhere_goes_on(tmp_path, cut):
    write_shards(recipe(Images(30)), tmp_path / "whole", "test", annotate=annotate)
    whole = (tmp_path / "whole" / "00000.tar").read_bytes()
    folder = tmp_path / "cut"
    with pytest.raises(DataError):
        write_shards(recipe(Images(30, fails_at=0)), folder, "test", strict=True, annotate=annotate)
    (folder / "00000.tar.partial").write_bytes(whole[:cut])
    images = Images(30)
    write_shards(recipe(images), folder, "test", annotate=annotate)
    assert [s.annotation["index"] for s in read_shard(folder / "00000.tar")] == list(range(30))
    assert [s.tensors["x"].tolist() for s in read_shard(folder / "00000.tar")] == [
        s.tensors["x"].tolist() for s in read_shard(tmp_path / "whole" / "00000.tar")
    ]
    assert len(write_index(folder)) == 30
    assert cut != -1 or images.drawn == [], "what was whole is not made again"


def test_whole_samples_of_a_tar_cut_at_any_byte(tmp_path):
    write_shards(recipe(Images(6)), tmp_path, "test")
    whole = (tmp_path / "00000.tar").read_bytes()
    with tarfile.open(tmp_path / "00000.tar") as tar:
        members = [m for m in tar.getmembers() if m.name.endswith("safetensors")]
    ends = {int(m.name[:9]): m.offset_data + (m.size + 511) // 512 * 512 for m in members}
    edges = {end + d for end in ends.values() for d in (-513, -512, -1, 0, 1)}
    for cut in sorted(edges | set(range(0, len(whole), 101))):
        held, end = whole_samples(io.BytesIO(whole[:cut]))
        assert held == {index for index, last in ends.items() if last <= cut}, cut
        assert end == max((ends[index] for index in held), default=0)


def test_a_killed_process_loses_nothing(tmp_path):
    script = """
import os, signal, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
import test_shards as t

class Deadly(t.Images):
    def __getitem__(self, index):
        if index == 150:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)

t.write_shards(t.recipe(Deadly(200)), Path(sys.argv[1]), "test", shard_size=180)
"""
    here = Path(__file__).parent
    run = subprocess.run([sys.executable, "-c", script, str(tmp_path), str(here), str(here.parents[1])], check=False)
    assert run.returncode == -signal.SIGKILL
    images = Images(200)
    write_shards(recipe(images), tmp_path, "test", shard_size=180)
    assert images.drawn[-50:] == list(range(150, 200))
    assert len(images.drawn) <= 50 + 64 + 64, "at most the batch that was being made, and what was not yet on disk"
    index = write_index(tmp_path)
    assert [s.annotation["index"] for s in ShardStream(index)] == list(range(200))


def test_a_full_disk_is_one_clear_line_and_the_run_goes_on_later(tmp_path):
    message = r"00000.tar.partial cannot be written .*make room and run the same command"
    with full_disk(60_000), pytest.raises(UserError, match=message):
        write_shards(recipe(Images(100)), tmp_path, "test")
    images = Images(100)
    write_shards(recipe(images), tmp_path, "test")
    assert images.drawn[0] > 0, "what fitted is kept"
    assert len(write_index(tmp_path)) == 100


def test_two_processes_cannot_write_one_shard(tmp_path):
    write_shards(recipe(Images(3)), tmp_path, "test")
    (tmp_path / "00000.tar").rename(tmp_path / "00000.tar.partial")
    with (
        Lock(tmp_path / "00000.lock", "a shard"),
        pytest.raises(UserError, match=rf"00000.tar is being written by process {os.getpid()} on .*its own rank"),
    ):
        write_shards(recipe(Images(3)), tmp_path, "test")


def test_two_processes_begin_the_same_folder_with_other_images(tmp_path, monkeypatch):
    def overtaken(*arguments, **options):
        monkeypatch.undo()
        write_shards(recipe(Images(3, "other")), tmp_path, "test")
        files.write_atomically(*arguments, **options)

    monkeypatch.setattr(write, "write_atomically", overtaken)
    with pytest.raises(DataError, match="holds shards that differ in collection; choose another folder"):
        write_shards(recipe(Images(3)), tmp_path, "test")
    assert len(write_index(tmp_path)) == 3


def test_two_processes_find_a_cache_empty(tmp_path, monkeypatch):
    """One builds, the other waits for it and builds nothing."""
    begun, go_on, found = threading.Event(), threading.Event(), {}

    class Slow(Images):
        def __getitem__(self, index):
            begun.set()
            assert go_on.wait(60)
            return super().__getitem__(index)

    first, second = Slow(5), Images(5)

    def build(images):
        try:
            found[images] = len(load(tmp_path, images))
        finally:
            go_on.set()

    monkeypatch.setattr(files.warnings, "warn", lambda *_, **__: go_on.set())
    threads = [threading.Thread(target=build, args=(images,)) for images in (first, second)]
    threads[0].start()
    assert begun.wait(60)
    threads[1].start()
    for thread in threads:
        thread.join()
    assert found == {first: 5, second: 5}
    assert len(first.drawn) == 5 and second.drawn == []
    (folder,) = tmp_path.iterdir()
    with Lock(folder.with_suffix(".lock"), "the cache"):
        assert len(load(tmp_path, Images(5))) == 5, "a whole cache is read without a lock"


def test_two_processes_finish_the_same_shard(tmp_path, monkeypatch):
    """The second to come finds it whole, and does not touch it."""

    def overtaken(*arguments):
        monkeypatch.undo()
        write_shards(recipe(Images(3)), tmp_path, "test")
        return Lock(*arguments)

    monkeypatch.setattr(write, "Lock", overtaken)
    late = Images(3)
    write_shards(recipe(late), tmp_path, "test")
    assert late.drawn == []
    write_shards(recipe(Images(3)), tmp_path / "other", "test")
    assert tars(tmp_path) == tars(tmp_path / "other")


@pytest.mark.parametrize(
    "name", ["{a,b}", "{1..3}", "a::b", "pipe:cat x", "a?b#c", "50%", "*", "[x]", "a b", "$HOME", "${x}", "~"]
)
def test_a_folders_name_means_nothing(tmp_path, name):
    folder = tmp_path / name
    write_shards(recipe(Images(5)), folder, "test", shard_size=2, annotate=annotate)
    stream = ShardStream(write_index(folder))
    assert [stored.annotation["index"] for stored in stream] == list(range(5))
    assert stream.fetch([4])[0].annotation["captions"][0] == "image 4"
    assert len(load(folder / "cache", Images(4))) == len(load(folder / "cache", Images(4))) == 4


def test_more_processes_than_shards(tmp_path):
    for rank in range(5):
        write_shards(recipe(Images(7)), tmp_path, "test", 5, rank, 5, annotate=annotate)
    assert len(write_index(tmp_path)) == 7


def test_what_the_folder_must_be(tmp_path):
    write_shards(recipe(Images(30)), tmp_path, "test", shard_size=10)
    with pytest.raises(DataError, match="holds shards that differ in images; choose another folder"):
        write_shards(recipe(Images(31)), tmp_path, "test", shard_size=10)
    with pytest.raises(DataError, match=r"has no index\.json"):
        read_index(tmp_path)
    lost = (tmp_path / "00001.tar").read_bytes()
    (tmp_path / "00001.tar").unlink()
    with pytest.raises(DataError, match=r"shard 00001.tar is missing; run gshn.preprocess again"):
        write_index(tmp_path)
    (tmp_path / "00001.tar").write_bytes(lost[: len(lost) // 2])
    with pytest.raises(DataError, match=r"00001.tar holds . graphs, its list says 10 of 10 images"):
        write_index(tmp_path)
    (tmp_path / "00001.tar").write_bytes((tmp_path / "00000.tar").read_bytes())
    with pytest.raises(DataError, match=r"00001.tar holds 10 graphs"):
        write_index(tmp_path)


def test_streaming_gives_every_graph_once_and_holds_few(tmp_path):
    write_shards(recipe(Images(95)), tmp_path, "test", shard_size=10, annotate=annotate)
    stream = ShardStream(write_index(tmp_path), group=2)
    everything, _ = load_all(stream.index)
    order = stream.order(np.random.default_rng(0))
    assert sorted(order) == list(range(95))
    assert (order != stream.order(np.random.default_rng(1))).any()
    for start in range(0, 95, 10):
        indices = order[start : start + 10].tolist()
        stored = stream.fetch(indices)
        assert [s.annotation["captions"][0] for s in stored] == [f"image {i}" for i in indices]
        assert_equal(to_dataset(stored).batch(range(len(indices))), everything.batch(indices))
        assert len(stream._held) <= 4
    reads = [k // 10 for k in order.tolist()]
    assert all(len(set(reads[i : i + 20])) <= 4 for i in range(0, 75, 5)), "neighbours lie in few shards"


def test_items_are_shuffled_within_groups_of_shards(tmp_path):
    write_shards(recipe(Images(95)), tmp_path, "test", shard_size=10)
    stream = ShardStream(write_index(tmp_path), group=2)
    graphs = np.repeat(np.arange(95), 3)[::-1]
    order = stream.order_of(graphs, np.random.default_rng(0))
    assert sorted(order) == list(range(3 * 95))
    shards = (graphs[order] // 10).tolist()
    assert all(len(set(shards[i : i + 30])) <= 4 for i in range(255)), "neighbours lie in few shards"
    assert (np.diff(graphs[order][:20]) != 0).any(), "items on one graph do not stand together"
    assert (order != stream.order_of(graphs, np.random.default_rng(1))).any()


def test_streamed_graphs_are_those_in_memory(tmp_path):
    write_shards(recipe(Images(35)), tmp_path, "test", shard_size=10)
    index = write_index(tmp_path)
    positions = torch.arange(len(CATEGORIES)).flip(0) + 3
    streamed, held = StreamedGraphs(ShardStream(index), positions), load_all(index)[0].with_categories(positions)
    assert len(streamed) == 35
    assert_equal(streamed.batch([34, 3, 11, 3]), held.batch([34, 3, 11, 3]))
    for own, expected in zip(streamed.moments, held.moments, strict=True):
        torch.testing.assert_close(own, expected)


def test_what_is_stored_beside_graphs_is_read_without_them(tmp_path, monkeypatch):
    write_shards(recipe(Images(35)), tmp_path, "test", shard_size=10, annotate=annotate)
    write_index(tmp_path)
    stored = [own.annotation for own in ShardStream(read_index(tmp_path, 12))]
    monkeypatch.setattr("gshn.graphs.shards.index.read_shard", None)
    assert read_index(tmp_path, 20).annotations[:12] == [
        {k: v for k, v in own.items() if k != "content"} for own in stored
    ]
    assert len(read_index(tmp_path, 20).annotations) == 20


def test_moments_are_those_of_whole_images_where_there_are_such(tmp_path):
    graphs = load(tmp_path, Images(6), parameters=GraphParameters(whole_image=True))
    index = read_index(next(tmp_path.glob("*/")))
    whole = torch.cat([graphs[i].x[:1] for i in range(6)])
    for own, expected in zip((index.mean, index.square), (whole.mean(dim=0), whole.square().mean(dim=0)), strict=True):
        torch.testing.assert_close(own.float(), expected)
    assert all(map(torch.equal, graphs.moments, (whole.mean(dim=0), whole.square().mean(dim=0))))
    some = read_index(next(tmp_path.glob("*/")), 2)
    torch.testing.assert_close(some.mean.float(), whole[:2].mean(dim=0))


def test_moments_are_those_of_all_nodes(tmp_path):
    write_shards(recipe(Unreliable(50)), tmp_path, "test", shard_size=20)
    index = write_index(tmp_path)
    graphs, _ = load_all(index)
    mean, square = graphs.moments
    assert torch.equal(mean, graphs.x.mean(dim=0)) and torch.equal(square, graphs.x.square().mean(dim=0))
    torch.testing.assert_close(index.mean.float(), mean)
    torch.testing.assert_close(index.square.float(), square)
    assert index.categories == CATEGORIES


def test_a_broken_shard_is_named(tmp_path):
    write_shards(recipe(Images(30)), tmp_path, "test")
    path = tmp_path / "00000.tar"
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataError, match=r"shard .*00000.tar is broken .*delete it and run gshn.preprocess again"):
        list(read_shard(path))
