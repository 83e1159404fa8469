"""What the page shows of a photograph, without a browser."""

import json
import re
from pathlib import Path

import numpy as np
import official
import pytest
import torch
from helpers import CAPTIONS, tiny_config, tiny_model
from test_network import write

import gshn
import neuromorphic as nm
from gshn.api import encoded, results
from gshn.browser.photograph import photograph, words
from gshn.browser.shown import shown_or_error
from gshn.model import GSHN, Vocabulary

CAPTION, QUESTION = CAPTIONS[0], "is there a red star?"


def load(folder: Path, *overrides: str, answers: dict[str, list[str]] | None = None) -> gshn.Model:
    """An untrained model with a backbone of its own, and answers to questions."""
    config = tiny_config("graph.backbone=small_conv", *overrides)
    tiny = tiny_model(config)
    torch.manual_seed(0)
    vocabulary = Vocabulary(tiny.vocabulary.categories, answers or {}, tiny.vocabulary.words, 0)
    model = GSHN(config, vocabulary, tiny.tokenizer)
    if model.encoder.spiking is not None:
        torch.nn.init.constant_(model.encoder.spiking.linears[0].bias, 0.7)  # so that there are spikes
    model.save_pretrained(folder)
    return gshn.load(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> gshn.Model:
    return load(tmp_path_factory.mktemp("page") / "model", answers={"vqa": ["no", "yes", "red"]})


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return official.jpeg(tmp_path_factory.mktemp("picture") / "a.jpg", 3, (60, 40))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take longer than all else; where a test is about numbers, none are drawn."""
    for place, name in ((results, "draw_panel"), (results, "draw_explanation"), (encoded, "draw_graph")):
        monkeypatch.setattr(place, name, lambda *_, **__: b"\x89PNG")


@pytest.mark.usefixtures("undrawn")
def test_a_question_is_answered_and_all_numbers_are_the_apis(model, picture) -> None:
    shown = photograph(model, picture, QUESTION)
    answer, match, network = (make(picture, QUESTION) for make in (model.answer, model.explain, spiking(model)))
    assert shown.headline == f"{QUESTION} {answer} ({100 * answer.probability:.0f} %)"
    told = json.loads(shown.json)
    assert told["answers"] == pytest.approx(dict(zip(answer.answers, answer.probabilities.tolist(), strict=True)))
    assert told["similarity"] == pytest.approx(match.similarity) and told["image"] == "a.jpg"
    np.testing.assert_allclose(told["shares"], match.shares, atol=1e-6)
    np.testing.assert_allclose(told["segment_similarity"], match.details.segment_similarity, atol=1e-6)
    assert told["firing_rate"] == {name: float(own.mean()) for name, own in network.spikes.items()}
    assert any(told["firing_rate"].values())
    profile = network.network.profile(network.inputs)
    assert {name: (own["low"], own["high"]) for name, own in told["joules"].items()} == profile.joules
    assert set(told["joules"]) >= {"loihi1", "cmos45-fp32"}
    assert shown.png == match.png


def spiking(model: gshn.Model):
    return lambda picture, _: model.spiking_network(picture)


@pytest.mark.usefixtures("undrawn")
def test_the_nir_file_spikes_as_pytorch_does(model, picture, tmp_path) -> None:
    (tmp_path / "a.nir").write_bytes(photograph(model, picture, CAPTION).nir)
    network = model.spiking_network(picture)
    run = nm.load(tmp_path / "a.nir").run(network.inputs)
    assert all(np.array_equal(run.spikes[name], spikes) for name, spikes in network.spikes.items())


def test_every_picture_has_a_text_and_the_best_segments_are_told(model, picture) -> None:
    shown = photograph(model, picture, CAPTION)
    html = shown.html()
    titles = ["Segments and scene graph", "Which segments match", "Which segments match which words", "Spikes"]
    assert [title for title in shown.sections if title in titles] == titles
    images = re.findall(r"<img [^>]*>", html)
    assert len(images) == 6 and all(re.search(r'alt="[^"]{20,}"', image) for image in images)
    assert "Answer" not in shown.sections and shown.headline.startswith("Similarity ")
    match = model.explain(picture, CAPTION)
    found = words(match)
    assert [row[0] for row in found] == match.details.compared
    for row, (_, by_v, by_spikes) in enumerate(found):
        for met, told in (
            (match.details.segment_similarity, by_v),
            (match.details.segment_similarity_by_spikes, by_spikes),
        ):
            if told:
                best = max(range(met.shape[1]), key=lambda segment, own=met[row]: float(own[segment]))
                assert told == f"{match.details.names[best]} ({float(met[row, best]):.2f})"


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(("words", "width", "scrolls"), [(4, "660", False), (20, "780", True)])
def test_heat_maps_of_long_captions_scroll_on_a_phone(model, picture, words: int, width: str, scrolls: bool) -> None:
    caption = " ".join((CAPTIONS[0].split() * words)[:words])
    html = photograph(model, picture, caption).sections["Which segments match which words"]
    images = re.findall(r'(<div class="wide" [^>]*>)?<img [^>]* width="(\d+)"', html)
    assert [(bool(region), own) for region, own in images] == [(scrolls, width)] * 2, "by V' and by spikes"


@pytest.mark.usefixtures("undrawn")
def test_what_is_typed_is_text(model, picture) -> None:
    html = photograph(model, picture, "<script>alert(1)</script> a star?").html()
    assert "<script>" not in html and "&lt;script&gt;" in html


@pytest.mark.usefixtures("undrawn")
def test_words_that_the_model_does_not_know_are_told(model, picture) -> None:
    assert model.unknown_words("a zyzzyva, a star, a zyzzyva") == ["zyzzyva"]
    told = "Words that the model does not know"
    assert "zyzzyva" in photograph(model, picture, "a zyzzyva").sections[told]
    assert told not in photograph(model, picture, "a star").sections


@pytest.mark.usefixtures("undrawn")
def test_what_a_checkpoint_cannot_do_is_told(tmp_path, picture) -> None:
    retrieval = load(tmp_path / "retrieval")
    assert "answers no questions" in photograph(retrieval, picture, QUESTION).sections["Answer"]
    verdicts = load(
        tmp_path / "entailment", "finetune.tasks=[entailment]", answers={"entailment": ["entailment", "neutral"]}
    )
    assert "entailment" in photograph(verdicts, picture, CAPTION).sections["Answer"]
    silent = load(tmp_path / "silent", "model.spiking.enabled=false")
    shown = photograph(silent, picture, CAPTION)
    assert "has no spiking path" in shown.sections["Spikes"] and shown.nir is None
    assert "Energy of the spiking path" not in shown.sections
    plain = load(tmp_path / "plain", "model.encoder=transformer")
    assert shown_or_error(lambda: photograph(plain, picture, CAPTION), str(picture)) == (
        "model.encoder is transformer; only hybrid has the two paths to show"
    )


def huge(path: Path) -> Path:
    """A PNG whose header says 100,000 x 100,000 pixels."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""))
    return path


def test_what_is_wrong_is_one_line_without_folders(model, picture, tmp_path) -> None:
    cases = [
        (None, CAPTION, "there is no photograph yet: choose a file, or draw a scene"),
        (picture, " \n", "the text is empty: type a caption, or a question that ends with a question mark"),
        (picture, None, "the text is empty"),
        (official.write(tmp_path / "a.png", "text"), CAPTION, "a.png is not an image that Pillow can read"),
        (official.write(tmp_path / "a.csv", "a,b"), CAPTION, "a.csv is not an image that Pillow can read"),
        (write(tmp_path / "network.nir"), CAPTION, "network.nir is not an image that Pillow can read"),
        (huge(tmp_path / "huge.png"), CAPTION, "image huge.png has more than 178,956,970 pixels; scale it down"),
        (tmp_path / "gone.jpg", CAPTION, "image gone.jpg is missing"),
    ]
    for path, text, said in cases:
        made = shown_or_error(lambda path=path, text=text: photograph(model, path, text), path and str(path))
        assert isinstance(made, str) and made.startswith(said) and "\n" not in made and str(tmp_path) not in made
