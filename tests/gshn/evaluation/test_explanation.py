import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from helpers import random_graph, tiny_config, tiny_model
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image
from torch_geometric.data import Batch

from gshn import explain as command
from gshn.encoders.text import tokenize
from gshn.errors import CheckpointError
from gshn.evaluation import picture
from gshn.evaluation.explanation import explain, shares
from gshn.graphs.draw import draw_graph
from gshn.graphs.scene_graph import GraphParameters, segments_to_graph
from gshn.segments.panoptic import Category, segments_from_map
from neuromorphic.cli import run_command

CAPTION = "a star on grass"


def test_shares_worked_by_hand() -> None:
    similarity = torch.tensor([[0.5, 0.1, 0.2], [-0.4, -0.2, -0.3], [0.9, 0.8, 0.7]])
    torch.testing.assert_close(shares(similarity), torch.tensor([1.4 / 3, -0.2 / 3, 0.0]))


@pytest.mark.parametrize("overrides", [[], ["model.spiking.enabled=false"]], ids=["hybrid", "gat"])
def test_shares_add_up_to_the_similarity(overrides: list[str]) -> None:
    model, graph = tiny_model(tiny_config(*overrides)).eval(), random_graph(5, 0)
    if model.encoder.spiking is not None:
        torch.nn.init.constant_(model.encoder.spiking.linears[-1].bias, 2.0)  # so that there are spikes
    e = explain(model, graph, CAPTION)
    ids, mask = tokenize(model.tokenizer, [CAPTION])
    with torch.no_grad():
        encoded = model.encode_graphs(Batch.from_data_list([graph]))
        texts, images = model.embed_texts(model.encode_text(ids, mask)), model.embed_images(encoded)
        assert e.similarity == pytest.approx(float(model.similarity(texts, images)), abs=1e-6)
    whole = float(texts.whole @ images.whole.T)
    if overrides:
        assert e.segment_similarity_by_spikes is None
    else:
        assert e.segment_similarity_by_spikes is not None and e.segment_similarity_by_spikes.any()
        w = float(model.stl.scale() / model.scale())
        whole = (whole + w * float(texts.spikes.whole @ images.spikes.whole.T)) / (1 + w)
    assert (whole + float(e.share.sum())) / 2 == pytest.approx(e.similarity, abs=1e-5)
    assert e.tokens == ["[CLS]", "a", "star", "on", "grass", "[SEP]"] and e.segment_similarity.shape == (6, 5)


@torch.no_grad()
@pytest.mark.parametrize("text", ["whole", "words"])
def test_where_wholes_are_compared_a_segment_has_the_similarity_that_it_would_have_alone(text: str) -> None:
    keys = [f"model.spiking.text={text}", "model.similarity=whole", "objectives.mlm=0", "objectives.itm=0"]
    model, graph = tiny_model(tiny_config(*keys)).eval(), random_graph(5, 0)
    model.vocabulary.answers.clear()
    e = explain(model, graph, CAPTION)
    ids, mask = tokenize(model.tokenizer, [CAPTION])
    nodes = model.encode_graphs(Batch.from_data_list([graph])).nodes
    whole = model.embed_texts(model.encode_text(ids, mask)).whole[0]
    expected = torch.stack([model.image_head.of_wholes(node[None])[0] @ whole for node in nodes])
    torch.testing.assert_close(e.segment_similarity, expected[None])
    assert e.compared == ["the text"] and e.matching is None and e.attention is None
    if text == "words":
        assert e.segment_similarity_by_spikes is None and torch.equal(e.share, e.segment_similarity[0])
    else:
        w = float(model.spike_weight())
        torch.testing.assert_close(e.share, (e.segment_similarity[0] + w * e.segment_similarity_by_spikes[0]) / (1 + w))
    drawn = picture.draw_explanation(
        picture.Shown(np.zeros((8, 8, 3), np.uint8), np.arange(64, dtype=np.int32).reshape(8, 8) % 5, e), CAPTION
    )
    assert drawn[1:4] == b"PNG"


def test_attention_is_the_fusions_own() -> None:
    """Watching changes no result and leaves no hook behind."""
    model, graph = tiny_model().eval(), random_graph(5, 1)
    ids, mask = tokenize(model.tokenizer, [CAPTION])
    with torch.no_grad():
        tokens = model.node_tokens(model.encode_graphs(Batch.from_data_list([graph])))
        read = model.encode_text(ids, mask)
        plain = model.fuse(read, tokens)
        with model.fusion.watched() as weights:
            watched = model.fuse(read, tokens)
        again = model.fuse(read, tokens)
    torch.testing.assert_close(watched, plain, atol=1e-5, rtol=1e-5)
    assert torch.equal(again, plain) and len(weights) == model.config.model.fusion_layers
    e = explain(model, graph, CAPTION)
    torch.testing.assert_close(e.attention, torch.stack(weights).mean(dim=0)[0])
    torch.testing.assert_close(e.attention.sum(dim=1), torch.ones(6))


def test_paths_add_up_to_the_nodes() -> None:
    model, graph = tiny_model().eval(), random_graph(5, 2)
    torch.nn.init.constant_(model.encoder.r, 3.0)
    torch.nn.init.constant_(model.encoder.spiking.linears[-1].bias, 2.0)  # so that there are spikes
    e = explain(model, graph, CAPTION)
    assert e.spikes is not None and len(e.spikes) == 2 and all(layer.any() for layer in e.spikes)
    with torch.no_grad():
        inputs = model.node_inputs(Batch.from_data_list([graph]))
        continuous = model.encoder.gat(inputs.x, inputs.edge_index, inputs.edge_attr)[0]
    torch.testing.assert_close(e.continuous, continuous.norm(dim=1), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(e.spiking, 3 * e.spikes[-1].mean(dim=0).float().norm(dim=1), atol=1e-4, rtol=1e-4)


def test_the_picture_has_the_first_layers_spikes_and_the_last_ones(monkeypatch) -> None:
    model = tiny_model(tiny_config()).eval()
    torch.nn.init.constant_(model.encoder.spiking.linears[-1].bias, 2.0)
    e = explain(model, random_graph(3, 0), CAPTION)
    drawn: dict[str, np.ndarray] = {}
    monkeypatch.setattr(picture, "raster", lambda _, spikes, title, names: drawn.update({title.split()[0]: spikes}))
    picture.draw_explanation(
        picture.Shown(np.zeros((8, 8, 3), np.uint8), np.arange(64, dtype=np.int32).reshape(8, 8) % 3, e), CAPTION
    )
    assert not np.array_equal(drawn["first"], drawn["last"])
    for name, layer in (("first", 0), ("last", -1)):
        np.testing.assert_array_equal(drawn[name], e.spikes[layer].numpy() > 0)


@pytest.mark.parametrize("tokens", [3, 25, 60])
def test_labels_of_a_heat_maps_rows_do_not_touch(monkeypatch, tokens: int) -> None:
    e = explain(tiny_model(tiny_config()).eval(), random_graph(3, 0), CAPTION)
    e = replace(e, compared=["bypass"] * tokens, segment_similarity=torch.rand(tokens, 3))
    figures: list[Figure] = []
    monkeypatch.setattr(picture, "to_png", lambda figure: figures.append(figure) or b"")
    shown = picture.Shown(np.zeros((8, 8, 3), np.uint8), np.arange(64, dtype=np.int32).reshape(8, 8) % 3, e)
    picture.draw_panel(shown, "words")
    picture.draw_explanation(shown, CAPTION)
    panel, whole = (FigureCanvasAgg(figure) for figure in figures)
    for canvas, place in ((panel, 0), (whole, list(picture.PANELS).index("words"))):
        canvas.draw()
        labels = canvas.figure.axes[place].get_yticklabels()
        boxes = [label.get_window_extent() for label in labels]
        assert len(boxes) == tokens and all(low.y1 <= high.y0 for high, low in pairwise(boxes))
        assert canvas is whole or labels[0].get_fontsize() > 9, "readable on a phone"


@pytest.mark.parametrize("similarity", ["parts", "attention"])
def test_titles_lie_within_the_picture(monkeypatch, similarity: str) -> None:
    overrides = [f"model.similarity={similarity}", *(["model.spiking.text=whole"] if similarity == "attention" else [])]
    model, graph = tiny_model(tiny_config(*overrides)).eval(), random_graph(3, 0)
    graph.whole = torch.tensor([True, False, False])
    kept: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *_, **__: kept.append(figure))
    node_map = np.array([[1, 1, 2], [-1, 2, 2]], dtype=np.int32)
    picture.draw_explanation(
        picture.Shown(np.zeros((2, 3, 3), np.uint8), node_map, explain(model, graph, CAPTION)), CAPTION
    )
    (figure,) = kept
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    titles = [axes.title for axes in figure.axes if axes.get_title()]
    assert len(titles) >= 7
    for title in titles:
        box = title.get_window_extent()
        assert box.x0 >= 0 and box.x1 <= figure.bbox.x1, title.get_text()


def test_the_whole_image_is_called_so_and_hides_no_segment(monkeypatch) -> None:
    model, graph = tiny_model(tiny_config()).eval(), random_graph(3, 0)
    graph.whole = torch.tensor([True, False, False])
    e = explain(model, graph, CAPTION)
    assert e.names == ["whole image", "1", "2"]
    outlined: list[str] = []
    monkeypatch.setattr(Axes, "contour", lambda *_, **__: outlined.append("outline"))
    written: list[str] = []
    monkeypatch.setattr(Axes, "set_xticks", lambda _, ticks, labels, **__: written.extend(labels))
    node_map = np.array([[1, 1, 2], [-1, 2, 2]], dtype=np.int32)
    picture.draw_explanation(picture.Shown(np.zeros((2, 3, 3), np.uint8), node_map, e), CAPTION)
    assert len(outlined) == 4, "two segments in two panels"
    assert written[:3] == ["whole\nimage", "1", "2"]


def test_a_drawn_graph_leaves_the_whole_images_edges_out(monkeypatch) -> None:
    titles: list[str] = []
    monkeypatch.setattr(Axes, "set_title", lambda _, title, **__: titles.append(title))
    segments = segments_from_map(np.array([[1, 1, 0, 2], [1, 1, 0, 2]]), {1: 5, 2: 5})
    cat = (Category(5, "cat", True),)
    graph = segments_to_graph(segments, cat, GraphParameters(whole_image=True))
    png = draw_graph(np.zeros((2, 4, 3), np.uint8), segments, graph, ["cat"], "a.jpg")
    assert titles == ["2 nodes, 1 edge; and the whole image, joined to all", "a.jpg"]
    assert png.startswith(b"\x89PNG")


def test_one_path_and_no_path() -> None:
    e = explain(tiny_model(tiny_config("model.spiking.enabled=false")).eval(), random_graph(3, 0), CAPTION)
    assert e.spikes is None and not e.spiking.any() and e.continuous.all()
    with pytest.raises(CheckpointError, match=r"model\.encoder is transformer; only hybrid"):
        explain(tiny_model(tiny_config("model.encoder=transformer")).eval(), random_graph(3, 0), CAPTION)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    from gshn.training.loop import Trainer

    folder = tmp_path_factory.mktemp("explain")
    config = tiny_config("data.pairs.train=16", "data.pairs.test=4", "finetune.tasks=[]", "pretrain.steps=1",
                         "pretrain.batch_size=8", f"data.cache={folder / 'cache'}")  # fmt: skip
    Trainer(config, folder / "run", resume=False).run()
    return folder / "run"


def run(monkeypatch, checkpoint, out, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["gshn.explain", "--checkpoint", str(checkpoint), "--out", str(out), *arguments])
    with pytest.raises(SystemExit) as stopped:
        run_command(command.main)
        raise SystemExit(0)
    return int(stopped.value.code or 0)


def test_a_picture_of_a_scene_and_of_a_file(monkeypatch, capsys, caplog, checkpoint, tmp_path) -> None:
    assert run(monkeypatch, checkpoint, tmp_path / "a.png", "--index", "2") == 0
    assert "segments that drive it most: " in capsys.readouterr().out
    half = np.zeros((60, 80, 3), np.uint8)
    half[:, 40:] = (250, 80, 10)
    Image.fromarray(half).save(tmp_path / "half.png")
    caption = "a zyzzyva of $x{$"
    assert run(monkeypatch, checkpoint, tmp_path / "b.png", str(tmp_path / "half.png"), "--caption", caption) == 0
    assert "the text: 5 of 7 words (71.43%) are unknown to the model" in caplog.text
    sizes = [np.asarray(Image.open(tmp_path / name)).shape for name in ("a.png", "b.png")]
    assert all(width > 1000 for _, width, _ in sizes)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "name an image file or --index"),
        (["x.png"], "an image file needs --caption"),
        (["x.png", "--caption", "a"], "x.png is missing"),
        (["--index", "-1"], "argument --index: must be a whole number from 0 to"),
        (["--index", "0", "--split", "nowhere"], "no split 'nowhere'"),
        (["--index", "0", "--segmenter", "mask2former"], "mask2former needs weights"),
    ],
)
def test_bad_arguments_leave_no_picture(monkeypatch, capsys, checkpoint, tmp_path, arguments, said) -> None:
    assert run(monkeypatch, checkpoint, tmp_path / "a.png", *arguments) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "a.png").exists()
