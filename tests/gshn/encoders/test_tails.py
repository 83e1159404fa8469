"""A backbone's last layers, trained with the model on the maps that graphs keep."""

import json

import numpy as np
import pytest
import torch
from helpers import tiny_config
from torch_geometric.data import Batch

from gshn.backbones.choose import make_backbone
from gshn.config import load_config
from gshn.data.images import ImageSample
from gshn.encoders.tails import TunedFeatures
from gshn.errors import ConfigError, DataError
from gshn.graphs.build import build_graphs
from gshn.graphs.region_features import COLOUR_DIM, cell_weights, mask_pool
from gshn.graphs.scene_graph import GraphParameters, Pixels
from gshn.model import GSHN
from gshn.segments.ground_truth import GroundTruthSegmenter
from gshn.segments.panoptic import Category, segments_from_map
from gshn.training import loop
from gshn.training.checkpoint import save_state
from gshn.training.loop import Trainer, make_optimizer

BOTH = "efficientnet_lite0@64+efficientnet_lite2@96"
SIZES = ((64, 64), (70, 40), (48, 96))
SEGMENTER = GroundTruthSegmenter((Category(1, "thing", True),))


def sample(size: tuple[int, int]) -> ImageSample:
    """An image of coloured squares in a few stripes of segments, some of it in none."""
    rng = np.random.default_rng(sum(size))
    image = np.kron(rng.integers(0, 256, (-(-size[0] // 8), -(-size[1] // 8), 3)), np.ones((8, 8, 1)))
    image = image[: size[0], : size[1]].astype(np.uint8)
    stripes = np.add.outer(np.arange(size[0]) * 2 // size[0] * 3, np.arange(size[1]) * 3 // size[1])
    return ImageSample(str(size), image, segments_from_map(stripes, dict.fromkeys(range(6), 1)))


def graphs(tuned: int, mirror: bool, **parameters) -> Batch:
    """Scene graphs of images of three sizes."""
    backbone = make_backbone(BOTH, [32], mirror=mirror, tuned=tuned)
    samples = [sample(size) for size in SIZES]
    return Batch.from_data_list(build_graphs(samples, SEGMENTER, backbone, GraphParameters(**parameters)))


def tuned_features(blocks: int, mirror: bool = False) -> TunedFeatures:
    backbone = make_backbone(BOTH, [32], mirror=mirror, tuned=blocks)
    return TunedFeatures(backbone.tails())


@pytest.mark.parametrize("blocks", [1, 3])
@pytest.mark.parametrize(
    "parameters",
    [{}, {"whole_image": True}, {"regions": "boxes"}, {"whole_image": True, "pooling": "bilinear"}],
    ids=["masks", "whole image", "boxes", "bilinear"],
)
def test_untrained_tails_give_the_frozen_features(blocks, parameters):
    """For images of any shape, and with mirror images: the maps' float16 is the only difference."""
    batch, frozen = graphs(blocks, True, **parameters), graphs(0, True, **parameters)
    assert torch.equal(batch.x, frozen.x) and "maps" not in frozen
    assert batch.maps.shape[:2] == (3, 2)
    assert batch.extent.tolist() == [[[2, 2], [3, 3]], [[2, 1], [3, 2]], [[1, 2], [2, 3]]]
    with torch.no_grad():
        found = tuned_features(blocks, True).eval()(batch)
    torch.testing.assert_close(found, frozen.x[:, COLOUR_DIM:], atol=4e-3, rtol=4e-3)
    assert frozen.x[:, COLOUR_DIM:].std() > 0.1


def test_each_view_is_that_of_its_image():
    """The second view gives the nodes what they have in the mirror image, in which they lie elsewhere."""
    batch, own = graphs(1, True), tuned_features(1, True).eval()
    one, mean = (graphs(0, mirror).x[:, COLOUR_DIM:] for mirror in (False, True))
    cells = batch.cells.unflatten(0, (3, 5))
    with torch.no_grad():
        seen = [
            own.pooled(batch.maps[:, view], batch.extent, cells, torch.full((3,), view)).flatten(0, 1)
            for view in (0, 1)
        ]
    torch.testing.assert_close(seen[0], one, atol=4e-3, rtol=4e-3)
    torch.testing.assert_close(seen[1], 2 * mean - one, atol=8e-3, rtol=8e-3)
    assert not torch.allclose(seen[0], seen[1], atol=0.05)
    torch.manual_seed(0)
    own.train()
    drawn = [[], [], []]
    for _ in range(6):
        features = own(batch).detach()
        for i, views in enumerate(drawn):
            nodes = slice(5 * i, 5 * i + 5)
            (view,) = (place for place, one in enumerate(seen) if torch.allclose(features[nodes], one[nodes]))
            views.append(view)
    assert all(set(views) == {0, 1} for views in drawn) and len({tuple(views) for views in drawn}) == 3


def test_chunks_have_the_gradients_of_the_whole_batch():
    batch, own = graphs(2, True, whole_image=True), tuned_features(2, True)
    found = []
    for chunk in (None, 2, 1):
        own.zero_grad()
        torch.manual_seed(3)  # the same views
        features = own(batch, chunk)
        features.square().sum().backward()
        found.append([features.detach(), *(p.grad.clone() for p in own.parameters())])
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * float(a.abs().max()))
    assert min(float(gradient.abs().max()) for gradient in found[0]) > 0


@pytest.mark.parametrize("bilinear", [False, True])
def test_weights_of_cells_pool_as_maps_are_pooled(bilinear):
    rng = torch.Generator().manual_seed(3)
    node_map = torch.randint(-1, 5, (2, 12, 17), generator=rng)
    node_map[1] = torch.where(node_map[1] < 0, -1, node_map[1] + 5)
    feature_map, pixels = torch.randn(2, 4, 3, 5, generator=rng), Pixels.of_map(node_map)
    weights = cell_weights(pixels, (12, 17), (3, 5), 11, bilinear=bilinear)
    image = torch.tensor([0] * 5 + [1] * 6)
    pooled = torch.einsum("nij,ncij->nc", weights, feature_map[image])
    torch.testing.assert_close(pooled, mask_pool([feature_map], pixels, (12, 17), 11, bilinear))
    assert not weights[10].any()  # a node without a pixel
    whole = torch.arange(11) == 2
    weights = cell_weights(pixels, (12, 17), (3, 5), 11, whole, bilinear)
    assert (weights[2] == 1 / 15).all() and torch.equal(
        weights[3:], cell_weights(pixels, (12, 17), (3, 5), 11, None, bilinear)[3:]
    )


RUN = (
    "graph.backbone=efficientnet_lite0@64",
    "graph.levels=[32]",
    "graph.tune=last:1",
    "graph.mirror=true",
    "pretrain.pretrained_lr=1e-4",
    "data.pairs.train=8",
    "data.pairs.test=4",
    "pretrain.batch_size=4",
    "finetune.tasks=[]",
)


def test_tails_are_trained_resumed_and_loaded(tmp_path, monkeypatch):
    """A run that is killed after its first step ends in the same weights, which a checkpoint brings back."""
    config = tiny_config(*RUN, f"data.cache={tmp_path}/cache", "pretrain.steps=2", "checkpoint_every=1")
    trainer = Trainer(config, tmp_path / "run", resume=False)
    before = {name: p.clone() for name, p in trainer.model.tuned_features.named_parameters()}
    groups = make_optimizer(trainer.model, trainer.config.pretrain).param_groups
    slow = {id(p) for group in groups if group["peak"] == 1e-4 for p in group["params"]}
    assert slow == {id(p) for p in trainer.model.tuned_features.parameters()}
    trainer.train()
    trainer.close()
    after = dict(trainer.model.tuned_features.named_parameters())
    assert all(not torch.equal(after[name], old) for name, old in before.items())
    loaded = GSHN.from_pretrained(tmp_path / "run")
    assert all(torch.equal(own, after[name]) for name, own in loaded.tuned_features.named_parameters())
    graph = trainer.corpora.test_pairs.graphs.batch([0, 1])
    with torch.no_grad():
        torch.testing.assert_close(loaded.node_inputs(graph).x, trainer.model.eval().node_inputs(graph).x)
    del graph.maps
    with pytest.raises(DataError, match=r"graph\.tune is last:1, but these graphs have no maps"):
        loaded.node_inputs(graph)

    def save_and_die(*arguments) -> None:
        save_state(*arguments)
        raise KeyboardInterrupt

    killed = Trainer(config, tmp_path / "killed", resume=False)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "save_state", save_and_die)
        killed.train()
    killed.close()
    resumed = Trainer(config, tmp_path / "killed", resume=True)
    assert resumed.progress.step == 1
    resumed.train()
    resumed.close()
    for name, own in resumed.model.tuned_features.named_parameters():
        assert torch.equal(own, after[name])


def test_shards_with_maps_serve_frozen_runs_too(tmp_path):
    """A run without tuning reads the same shards; one that tunes is refused those without maps."""
    from gshn.preprocess import main

    for name, tune in (("tuned", "last:1"), ("frozen", "none")):
        arguments = ["--config", "smoke", "--data", "shapescenes", "--segmenter", "ground-truth", "--limit", "4"]
        arguments += ["--out", str(tmp_path / name), "--split", "train", "test", "--image-size", "64"]
        run_main(main, *arguments, *RUN[:2], "graph.mirror=true", f"graph.tune={tune}")
        manifest = json.loads((tmp_path / name / "train" / "manifest.json").read_text())
        assert manifest["settings"]["graph.tune"] == tune
    base = ["pretrain.steps=1", "pretrain.batch_size=2", "finetune.tasks=[]", f"data.cache={tmp_path}/cache"]
    tuned = load_config("smoke", [*base, f"data.pairs.source=shards:{tmp_path}/tuned"])
    assert tuned.graph.tune == "last:1"
    for overrides in (["graph.tune=none"], []):
        config = load_config("smoke", [*base, f"data.pairs.source=shards:{tmp_path}/tuned", *overrides])
        trainer = Trainer(config, tmp_path / f"run{len(overrides)}", resume=False)
        trainer.train()
        trainer.close()
        assert (trainer.model.tuned_features is None) == bool(overrides)
    config = load_config("smoke", [*base, f"data.pairs.source=shards:{tmp_path}/frozen", "graph.tune=last:1"])
    with pytest.raises(ConfigError, match=r"'graph\.tune' is 'last:1': the graphs in .* were made with 'none'"):
        Trainer(config, tmp_path / "refused", resume=False)


def run_main(main, *arguments: str) -> None:
    """Call a command in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["gshn.preprocess", *arguments])
        main()


@pytest.mark.parametrize(
    ("backbone", "levels", "tuned", "message"),
    [
        ("efficientnet_lite0@64", [16], 1, r"it needs graph\.levels=\[32\]"),
        ("efficientnet_lite0@64", [32], 5, "at most last:4 of efficientnet_lite0"),
        ("efficientnet_lite0", [32], 1, r"write efficientnet_lite0@224 in graph\.backbone"),
        ("small_conv", None, 1, "small_conv is trained as a whole"),
        ("timm:resnet10t@64", None, 1, "timm:resnet10t cannot be cut"),
    ],
)
def test_what_cannot_be_tuned_is_refused(backbone, levels, tuned, message, monkeypatch):
    import gshn.backbones.timm as kind

    class Stub(kind.FrozenBackbone):
        def __init__(self, name, levels):
            torch.nn.Module.__init__(self)
            self.name, self.levels, self.dim, self.key = f"timm:{name}", [32], 1, "stub"

    monkeypatch.setattr(kind, "TimmBackbone", Stub)
    with pytest.raises(ConfigError, match=message):
        make_backbone(backbone, levels, tuned=tuned)


def test_a_wrong_value_names_the_key():
    with pytest.raises(ConfigError, match=r"'graph\.tune' is 'all'.*choose none or last:K"):
        load_config("default", ["graph.tune=all"])
