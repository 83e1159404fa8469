"""A configuration and the shards that it names agree, or one line says where they do not."""

import json
import shutil

import numpy as np
import official
import pytest
import torch
from helpers import tiny_config, tiny_model

from gshn import explain, preprocess
from gshn.config import load_config
from gshn.data.sources import open_source
from gshn.errors import ConfigError, DataError
from gshn.graphs.shards.index import load_all, read_index
from gshn.graphs.shards.stream import ShardStream
from gshn.model import Vocabulary
from gshn.training.corpora import Corpora
from gshn.training.loop import Trainer
from neuromorphic.errors import UserError

MADE_WITH = ["graph.neighbours=2", "graph.regions=boxes"]


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Shards of six photographs to train on, in two shards, and four to test on; without a split ``val``."""
    root = tmp_path_factory.mktemp("shards")
    coco = root / "coco"
    for split, count in (("train", 6), ("val", 4)):
        official.coco(coco, split, count)
    write(root / "made", f"coco:{coco}", "train", "test", "--image-size", 48, "--shard-size", 3, *MADE_WITH)
    return root / "made"


def write(out, source, *arguments):
    arguments = ("--data", source, "--segmenter", "superpixels", "--out", out, "--split", *arguments)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["gshn.preprocess", *map(str, arguments)])
        preprocess.main()


def corpora(shards, *overrides, config="default"):
    return Corpora(load_config(config, [f"data.pairs.source=shards:{shards}", "finetune.tasks=[]", *overrides]))


@pytest.mark.parametrize("config", ["default", "photographs"])
def test_a_configuration_takes_from_shards_what_they_were_made_with(shards, config):
    data = corpora(shards, config=config).config
    pairs, graph = data.data.pairs, data.graph
    assert (pairs.image_size, pairs.segmenter, pairs.weights, pairs.train, pairs.test) == (
        48,
        "superpixels",
        *3 * [None],
    )
    assert (graph.neighbours, graph.regions, graph.max_segments) == (2, "boxes", 64)


def test_explain_builds_the_graph_that_training_had(shards):
    data = corpora(shards)
    graphs, _ = load_all(read_index(shards / "test"))
    images = open_source(f"coco:{shards.parent / 'coco'}", "test", data.config.data.pairs.image_size)
    (graph,), _ = data.graphs_of([images[1]], data.segmenter_of(images))
    assert graph.num_nodes == graphs[1].num_nodes
    assert torch.equal(graph.edge_index, graphs[1].edge_index)
    torch.testing.assert_close(graph.x, graphs[1].x, rtol=1e-3, atol=1e-3)  # float16 there


@pytest.mark.parametrize(
    ("override", "found"),
    [
        ("data.pairs.image_size=96", "'data.pairs.image_size' is 96: .* were made with 48"),
        ("data.pairs.segmenter=ground-truth", "'data.pairs.segmenter' is 'ground-truth': .* 'superpixels'"),
        ("data.pairs.weights=w", "'data.pairs.weights' is 'w': .* None"),
        ("data.pairs.segments=5", "'data.pairs.segments' is 5: .* None"),
        ("data.pairs.fill=false", "'data.pairs.fill' is False: .* True"),
        ("graph.backbone=small_conv", "'graph.backbone' is 'small_conv': .* 'efficientnet_lite0'"),
        ("graph.neighbours=4", "'graph.neighbours' is 4: .* 2"),
        ("graph.max_segments=3", "'graph.max_segments' is 3: .* 64"),
        ("graph.regions=masks", "'graph.regions' is 'masks': .* 'boxes'"),
        ("graph.patches=8", "'graph.patches' is 8: .* 6"),
        ("graph.levels=[16]", r"'graph.levels' is \[16\]: .* None"),
        ("graph.pooling=bilinear", "'graph.pooling' is 'bilinear': .* 'cells'"),
        ("graph.whole_image=true", "'graph.whole_image' is True: .* False"),
        ("graph.precision=bfloat16", "'graph.precision' is 'bfloat16': .* 'float32'"),
        ("graph.mirror=true", "'graph.mirror' is True: .* False"),
        ("graph.tune=last:1", "'graph.tune' is 'last:1': .* 'none'"),
        ("data.upright=false", "'data.upright' is False: .* True"),
        ("data.show=texts", "'data.show' is 'texts': shards are read as they are"),
    ],
)
def test_what_shards_are_not_is_refused_by_name(shards, override, found):
    data = corpora(shards, override)
    for use in (lambda: data.pairs, lambda: data.test_pairs):
        with pytest.raises(ConfigError, match=found):
            use()


def test_shards_from_before_a_setting_were_made_with_its_default(shards, tmp_path):
    shutil.copytree(shards / "train", tmp_path / "train")
    manifest = json.loads((tmp_path / "train" / "manifest.json").read_text())
    later = ("graph.levels", "graph.pooling", "graph.whole_image", "graph.precision", "graph.mirror", "graph.tune")
    for setting in later:
        del manifest["settings"][setting]
    (tmp_path / "train" / "manifest.json").write_text(json.dumps(manifest))
    assert len(corpora(tmp_path).pairs) == 6
    with pytest.raises(ConfigError, match=r"'graph.whole_image' is True: .* False"):
        _ = corpora(tmp_path, "graph.whole_image=true").pairs
    with pytest.raises(ConfigError, match=r"'graph.precision' is 'bfloat16': .* 'float32'"):
        _ = corpora(tmp_path, "graph.precision=bfloat16").pairs


def test_splits_that_were_made_otherwise_are_refused(shards, tmp_path):
    shutil.copytree(shards / "train", tmp_path / "train")
    write(tmp_path, f"coco:{shards.parent / 'coco'}", "test", "--image-size", 60, *MADE_WITH)
    with pytest.raises(ConfigError, match=r"'data.pairs.image_size' is 48: the graphs in .*test were made with 60"):
        corpora(tmp_path).check_test()


@pytest.mark.parametrize("limit", [1, 3, 4, 6, 99])
def test_numbers_of_images_are_obeyed(shards, limit):
    data = corpora(shards, f"data.pairs.train={limit}", f"data.pairs.test={limit}")
    kept = min(limit, 6)
    assert len(data.pairs) == kept and len(data.test_pairs) == min(limit, 4)
    captions = [texts[0] for texts in data.pairs.captions()]
    assert captions == [f"A cat on grass, {i}-0." for i in range(1, kept + 1)]
    first, everything = (read_index(shards / "train", n) for n in (limit, None))
    graphs, _ = load_all(first)
    mean, square = graphs.moments
    torch.testing.assert_close(first.mean.float(), mean)
    torch.testing.assert_close(first.square.float(), square)
    assert len(graphs) == kept and len(everything) == 6
    order = ShardStream(first).order(np.random.default_rng(0))
    assert sorted(order) == list(range(kept))


def test_photographs_that_are_left_out(shards, tmp_path, caplog):
    names = official.write(tmp_path / "leave.txt", "000000000001.jpg\n000000000005\n000000000009.jpg\n")
    data = corpora(shards, f"data.pairs.leave_out={names}", "data.pairs.train=5")
    kept = [f"A cat on grass, {i}-0." for i in (2, 3, 4)]
    assert [texts[0] for texts in data.pairs.captions()] == kept and len(data.pairs) == 3
    order = data.pairs.order(np.random.default_rng(0)).tolist()
    assert sorted(order) == [0, 1, 2]
    graphs, captions, _ = data.pairs.fetch(order)
    assert [texts[0] for texts in captions] == [kept[place] for place in order]
    torch.testing.assert_close(data.pairs.moments[0], graphs.x.mean(dim=0))
    torch.testing.assert_close(data.pairs.moments[1], graphs.x.square().mean(dim=0))
    assert [path[-5:] for path in data.training_pictures()[0].names] == ["2.jpg", "3.jpg", "4.jpg"]  # of the first 5
    assert f"{names}: 1 of 3 names matches no training image, e.g. 000000000009.jpg" in caplog.text
    assert len(data.test_pairs) == 4
    official.write(names, "\n".join(f"{i:012d}" for i in range(7)))
    with pytest.raises(DataError, match=r"leave.txt has all images of .*train: none is left to train on"):
        _ = corpora(shards, f"data.pairs.leave_out={names}").pairs


@pytest.mark.parametrize(("there", "missing"), [("train", "test"), ("test", "train")])
def test_a_run_needs_its_splits_at_the_start(shards, tmp_path, there, missing):
    shutil.copytree(shards / there, tmp_path / "shards" / there)
    config = corpora(tmp_path / "shards").config
    with pytest.raises(DataError, match=f"has no split '{missing}'; make it with gshn.preprocess --split {missing}"):
        Trainer(config, tmp_path / "run", resume=False)
    assert list((tmp_path / "run").iterdir()) == []


def test_a_split_alone_can_be_evaluated(shards, tmp_path):
    (tmp_path / "val").symlink_to(shards / "test")
    trained = Corpora(corpora(tmp_path).config, Vocabulary(["region"], {}, [], 0))
    assert len(trained.test_pairs_of("val")) == 4


def test_shards_without_captions_are_named(tmp_path):
    root = official.vqa2(tmp_path / "vqa")
    write(tmp_path / "made", f"vqa2:{root}", "train")
    with pytest.raises(DataError, match=r"made/train holds questions, where data.pairs.source needs captions"):
        _ = corpora(tmp_path / "made").pairs


def test_a_tasks_test_texts_are_needed_at_the_start(tmp_path):
    root = official.snli_ve(tmp_path / "snli", "train")
    missing = ["finetune.tasks=[entailment]", f"data.hypotheses.source=snli-ve:{root}"]
    # One scene has no pair of scenes to make a statement on.
    settings = ("source=shapescenes", "image_size=48", "segmenter=ground-truth", "train=64", "test=1")
    without = ["finetune.tasks=[nlvr2]", *(f"data.statements.{setting}" for setting in settings)]
    for overrides, said in (
        (missing, r"snli_ve_test.jsonl is missing"),
        (without, r"shapescenes: no statements on the 1 test image; raise data.statements.test"),
    ):
        with pytest.raises(UserError, match=said):
            Trainer(load_config("smoke", overrides), tmp_path / "run", resume=False)
        assert list((tmp_path / "run").iterdir()) == []


def test_explain_takes_the_checkpoints_segmenter(monkeypatch, tmp_path):
    model = tiny_model(tiny_config("data.pairs.segmenter=mask2former", "data.pairs.weights=nowhere"))
    model.save_pretrained(tmp_path / "checkpoint")
    image = official.jpeg(tmp_path / "a.jpg")
    arguments = [str(image), "--caption", "a star", "--checkpoint", str(tmp_path / "checkpoint"), "--out"]
    monkeypatch.setattr("sys.argv", ["gshn.explain", *arguments, str(tmp_path / "out.png")])
    with pytest.raises(UserError, match="nowhere"):
        explain.main()
