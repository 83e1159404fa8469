"""The Python API on a run of a few steps, and on an untrained model of all tasks."""

import json
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import official
import pytest
import torch
from helpers import CAPTIONS, tiny_config, tiny_model
from PIL import Image

import gshn
from gshn import evaluate
from gshn.data.shapescenes import ShapeScenes
from gshn.data.tasks import TASKS
from gshn.errors import CheckpointError, ConfigError, DataError
from gshn.evaluation.answers import answer_all
from gshn.evaluation.retrieval import recalls
from gshn.inference import SpikeCount
from gshn.model import GSHN, Vocabulary
from gshn.training.corpora import Corpora


@pytest.fixture(scope="module")
def model(finished: Path) -> gshn.Model:
    return gshn.load(finished)


@pytest.fixture(scope="module")
def of_all_tasks(tmp_path_factory: pytest.TempPathFactory) -> gshn.Model:
    """Untrained, with a backbone of its own, and answers to every task."""
    config = tiny_config("graph.backbone=small_conv", "finetune.tasks=[vqa,entailment,nlvr2]")
    tiny = tiny_model(config)
    answers = {"vqa": ["no", "yes"]} | {name: list(task.answers) for name, task in TASKS.items() if task.answers}
    torch.manual_seed(0)
    vocabulary = Vocabulary(tiny.vocabulary.categories, answers, tiny.vocabulary.words, 0)
    folder = tmp_path_factory.mktemp("tasks") / "model"
    GSHN(config, vocabulary, tiny.tokenizer).save_pretrained(folder)
    return gshn.load(folder)


def pictures(folder: Path) -> list[Path]:
    return [official.jpeg(folder / f"{number}.jpg", number, (40 + 8 * number, 30)) for number in range(3)]


def test_importing_the_package_imports_no_pytorch() -> None:
    told = "import sys, gshn; print(dir(gshn), 'torch' in sys.modules, 'numpy' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True).stdout
    assert "'load'" in out and out.endswith("False False\n")
    with pytest.raises(AttributeError, match="'gshn' has no attribute 'laod'"):
        _ = gshn.laod
    assert all(getattr(gshn, name).__doc__ for name in gshn.__all__)


def test_similarity_is_what_evaluate_ranks_by(monkeypatch, tmp_path, finished, cache) -> None:
    path = tmp_path / "figures.json"
    command = ["gshn.evaluate", "--checkpoint", str(finished), "--task", "retrieval", "--json", str(path), cache]
    monkeypatch.setattr("sys.argv", [*command, "data.pairs.test=12"])
    evaluate.main()
    figures = json.loads(path.read_text())
    model = gshn.load(finished)
    scenes = model.corpora.images("test", 12)
    images = model.encode_images([scenes[index] for index in range(len(scenes))], categories=scenes.categories)
    assert len(images) == 12 and images.firing_rate == pytest.approx(figures["firing_rate"], abs=1e-6)
    for level, name in ((0, "retrieval"), (4, "retrieval.caption4")):
        scores = model.similarity([own[level] for own in scenes.captions], images)
        assert scores.shape == (12, 12) and scores.dtype == np.float32
        found = recalls(torch.from_numpy(scores), torch.arange(12), name)
        assert found == {key: figures[key] for key in found}


def test_answers_are_what_evaluate_counts(finished, cache) -> None:
    from gshn.config import load_config

    model = gshn.load(finished)
    corpora = Corpora(load_config(finished / "config.yaml", [cache]), model.module.vocabulary)
    texts = corpora.test_texts("vqa")
    expected = answer_all(model.module, texts, SpikeCount())[:6]
    files = corpora.task_images("vqa", "test", 32)
    questions = [example.text for example in texts.examples[:6]]
    own = [files[example.images[0]].image for example in texts.examples[:6]]
    answers = model.answer(own, questions)
    assert [answer.answer for answer in answers] == expected
    one = model.answer(own[0], questions[0])
    assert isinstance(one, gshn.Answer) and str(one) == expected[0] and one.text == questions[0]
    assert set(one.answers) == set(model.module.vocabulary.answers["vqa"])
    assert one.probabilities.sum() == pytest.approx(1, abs=1e-5) and (np.diff(one.probabilities) <= 0).all()
    assert one.top(2) == [(one.answer, one.probability), (one.answers[1], float(one.probabilities[1]))]
    of_one = model.answer(own[0], questions[:2])
    assert [answer.text for answer in of_one] == questions[:2]
    np.testing.assert_allclose(of_one[0].probabilities, one.probabilities, atol=1e-5)


def test_files_pillow_and_arrays_give_the_same(model, tmp_path) -> None:
    paths = pictures(tmp_path)
    arrays = [np.asarray(Image.open(path)) for path in paths]
    mixed = model.encode_images([str(paths[0]), Image.open(paths[1]), arrays[2]])
    assert mixed.names == (str(paths[0]), "image 1", "image 2")
    folder = model.encode_images(tmp_path)
    assert folder.names == tuple(map(str, paths))
    np.testing.assert_allclose(mixed.embeddings, folder.embeddings, atol=1e-5)
    np.testing.assert_allclose(model.encode_images(paths[1]).embeddings[0], folder.embeddings[1], atol=1e-5)
    for pixels, array in zip(folder.pixels, arrays, strict=True):
        assert np.array_equal(pixels, array)
    for segments, graph, features, nodes in zip(
        folder.segments, folder.graphs, folder.features, folder.nodes, strict=True
    ):
        assert set(np.unique(segments)) == set(range(graph.num_nodes))
        assert len(features) == len(nodes) == graph.num_nodes and nodes.shape[1] == 32
    np.testing.assert_allclose(np.linalg.norm(folder.embeddings, axis=1), 1, atol=1e-5)


def test_encoded_images_are_taken_apart(model, tmp_path) -> None:
    images = model.encode_images(pictures(tmp_path))
    assert [own.names for own in images] == [(name,) for name in images.names]
    assert images[[2, 0]].names == (images.names[2], images.names[0]) and len(images[1:]) == 2
    assert np.array_equal(images[2].embeddings, images.embeddings[2:])
    assert np.array_equal(images[-1].segments[0], images.segments[2])
    texts = model.encode_texts(CAPTIONS[:3])
    scores = model.similarity(texts, images)
    np.testing.assert_allclose(model.similarity(texts[1], images[2]), scores[1:2, 2:], atol=1e-5)
    bare = model.encode_images(pictures(tmp_path), keep=False)
    np.testing.assert_allclose(model.similarity(CAPTIONS[:3], bare), scores, atol=1e-5)
    with pytest.raises(DataError, match=r"only embeddings of these images were kept; .*keep=True"):
        _ = bare.segments


def test_large_images_are_scaled_as_training_scales_them(model, tmp_path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (100, 200, 3), dtype=np.uint8)
    Image.fromarray(array).save(tmp_path / "a.png")
    from_file, from_array = model.encode_images([tmp_path / "a.png", array]).pixels
    assert from_file.shape == (48, 96, 3) and np.array_equal(from_file, from_array)


def test_a_backbone_that_is_trained_sees_images_of_any_size(of_all_tasks, tmp_path) -> None:
    paths = pictures(tmp_path)
    images = of_all_tasks.encode_images([*paths, paths[0]])
    assert images.features is None
    for position, path in enumerate([*paths, paths[0]]):
        np.testing.assert_allclose(
            images.embeddings[position], of_all_tasks.encode_images(path).embeddings[0], atol=1e-5
        )


def test_entailment_and_statements_on_two_images(of_all_tasks, tmp_path) -> None:
    a, b, _ = pictures(tmp_path)
    verdict = of_all_tasks.entails(a, CAPTIONS[0])
    assert set(verdict.answers) == {"entailment", "neutral", "contradiction"}
    truth = of_all_tasks.judge(a, b, CAPTIONS[1])
    assert set(truth.answers) == set(TASKS["nlvr2"].answers)
    both = of_all_tasks.judge([a, b], [b, a], CAPTIONS[1])
    np.testing.assert_allclose(both[0].probabilities, truth.probabilities, atol=1e-5)
    assert not np.allclose(both[1].probabilities, truth.probabilities, atol=1e-4)
    with pytest.raises(DataError, match="got 2 images and 1 image and 3 texts"):
        of_all_tasks.judge([a, b], a, CAPTIONS[:3])


def test_zero_shot_classification_is_a_softmax_of_mean_similarities(model) -> None:
    scenes = ShapeScenes("test", 3)
    images = model.encode_images([scenes[index] for index in range(3)], categories=scenes.categories)
    labels, templates = ["star", "circle", "grass"], ["{}", "a {}"]
    found = model.classify(images, labels, templates)
    scores = model.similarity([t.replace("{}", label) for label in labels for t in templates], images)
    logits = float(model.module.similarity_scale().detach()) * scores.reshape(3, 2, 3).mean(axis=1).T
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    for answer, row in zip(found, expected, strict=True):
        assert answer.answer == labels[row.argmax()]
        np.testing.assert_allclose(answer.probabilities, np.sort(row)[::-1], atol=1e-5)
    assert isinstance(model.classify(images.pixels[0], labels), gshn.Answer)
    # "photo" stands in no caption of ShapeScenes.
    assert model._templates() == ["{}", "a {}"]
    for given, said in (("no place", "must have {} once"), (["{} {}"], "must have {} once"), ([], "no template")):
        with pytest.raises(DataError, match=said):
            model.classify(images, labels, given)
    with pytest.raises(DataError, match="no label"):
        model.classify(images, [])


def test_explanations_are_saved_and_shown(model, tmp_path) -> None:
    (path, *_) = pictures(tmp_path)
    match = model.explain(path, "a red star on grass")
    assert match.similarity == pytest.approx(float(model.similarity("a red star on grass", path)[0, 0]), abs=1e-5)
    name, share = match.strongest(1)[0]
    assert share == pytest.approx(float(match.shares.max())) and match.details.names[match.shares.argmax()] == name
    assert match.save(tmp_path / "why.png").read_bytes() == match.png and match.png[1:4] == b"PNG"
    assert 'alt="Match(' in match._repr_html_() and "a red star on grass" in repr(match)
    with pytest.raises(DataError, match=r"why\.jpg does not end in \.png"):
        match.save(tmp_path / "why.jpg")
    with pytest.raises(DataError, match="there are 3 images, and one is asked about"):
        model.explain(model.encode_images(pictures(tmp_path)), "a star")


def test_the_spiking_network_of_an_image_spikes_as_pytorch_does(model, tmp_path) -> None:
    (path, *_) = pictures(tmp_path)
    network = model.spiking_network(path)
    assert all(x.shape[0] == model.config.model.spiking.steps for x in network.inputs.values())
    record = network.run(backend="numpy").spikes
    assert record.keys() == network.spikes.keys() and any(spikes.any() for spikes in network.spikes.values())
    for name, spikes in network.spikes.items():
        assert np.array_equal(record[name], spikes)
    assert f"{sum(s.shape[1] for s in network.spikes.values())} neurons" in repr(network)
    assert "lif_0" in network._repr_html_()


def test_reprs_are_a_line_and_html_escapes_what_is_not_ours(model, tmp_path) -> None:
    path = official.jpeg(tmp_path / "<b>.jpg")
    images, texts = model.encode_images(path), model.encode_texts(["a star"])
    for shown in (model, images, texts):
        assert "\n" not in repr(shown)
    assert "retrieval + vqa" in repr(model) and "Images(1: " in repr(images) and "'a star'" in repr(texts)
    assert "<b>" not in images._repr_html_() and "&lt;b&gt;" in images._repr_html_()
    assert "efficientnet_lite0" in model._repr_html_()
    assert "<td>" in model.classify(path, ["<i>", "star"])._repr_html_()
    assert "<i>" not in model.classify(path, ["<i>", "star"])._repr_html_()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m, _: m.encode_images([]), "no image to encode"),
        (lambda m, _: m.encode_images([np.zeros((4, 4), np.uint8)]), r"image 0 is uint8 of shape \(4, 4\); give RGB"),
        (lambda m, _: m.encode_images([np.zeros((4, 4, 3))]), "image 0 is float64 of shape"),
        (lambda m, _: m.encode_images([None]), "image 0 is of type NoneType; give a file"),
        (lambda m, _: m.encode_images("nowhere.jpg"), "nowhere.jpg is missing"),
        (
            lambda m, p: m.encode_images([official.jpeg(p / "a.jpg"), official.write(p / "b.jpg", "x")]),
            "b.jpg is not a",
        ),
        (lambda m, p: m.encode_images(p), "has no image that Pillow reads"),
        (lambda m, _: m.encode_images(Image.new("F", (9, 9))), "image 0 has floating-point pixels"),
        (lambda m, _: m.encode_texts([]), "no text to encode"),
        (lambda m, _: m.encode_texts(["a", 3]), "text 1 is of type int; give a str"),
        (
            lambda m, p: m.entails(official.jpeg(p / "a.jpg"), "a star"),
            "was not trained on entailment, but on retrieval",
        ),
        (lambda m, p: m.judge(p / "a.jpg", p / "a.jpg", "a star"), r"train with finetune.tasks=\[nlvr2\]"),
        (lambda m, p: m.encode_images(p, "captioning"), "there is no task 'captioning'; choose one of retrieval, vqa"),
        (lambda m, p: m.answer(p, "why?"), "has no image that Pillow reads"),
        (lambda m, p: m.answer([official.jpeg(p / "a.jpg")] * 3, ["why?"] * 2), "got 3 images and 2 texts"),
    ],
)
def test_what_cannot_be_done_is_one_line(model, tmp_path, call, said) -> None:
    with pytest.raises((DataError, CheckpointError, ConfigError), match=said) as raised:
        call(model, tmp_path)
    assert "\n" not in str(raised.value)


def test_what_a_checkpoint_lacks_is_told(model, finished, tmp_path, caplog) -> None:
    with pytest.raises(CheckpointError, match="nowhere is not a folder"):
        gshn.load("nowhere")
    with pytest.raises(ConfigError, match="mask2former needs weights"):
        gshn.load(finished, segmenter="mask2former")
    with pytest.raises(ConfigError, match="device abacus cannot be used"):
        gshn.load(finished, device="abacus")
    plain = tiny_model(tiny_config("model.encoder=transformer", "graph.backbone=small_conv"))
    plain.save_pretrained(tmp_path / "plain")
    path = official.jpeg(tmp_path / "a.jpg")
    with pytest.raises(CheckpointError, match=r"model\.encoder is transformer; only hybrid"):
        gshn.load(tmp_path / "plain").explain(path, "a star")
    with pytest.raises(CheckpointError, match=r"plain has no spiking path: .*train with model.spiking.enabled=true"):
        gshn.load(tmp_path / "plain").spiking_network(path)
    with caplog.at_level(logging.WARNING):
        model.encode_images(path)
        model.answer(model.encode_images(path), "a zyzzyva?")
    assert "was trained on annotated segments (ground-truth): images without annotation" in caplog.text
    assert "images were encoded for retrieval, whose segmenter or image size is not that of vqa" in caplog.text
    assert "vqa texts: " in caplog.text and "unknown to the model" in caplog.text
