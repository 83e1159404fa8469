"""``python -m gshn.evaluate`` on other data than the checkpoint was trained on."""

import json
import logging

import pytest

from gshn import evaluate, explain
from gshn.errors import ConfigError, GSHNError
from gshn.model import GSHN
from gshn.segments.panoptic import Category
from gshn.training.corpora import Corpora


@pytest.fixture
def run(monkeypatch, finished, cache, tmp_path):
    def run(*arguments):
        path = tmp_path / "figures.json"
        command = ["gshn.evaluate", "--checkpoint", str(finished), "--task", "retrieval", "--json", str(path)]
        monkeypatch.setattr("sys.argv", [*command, cache, *arguments])
        evaluate.main()
        return json.loads(path.read_text())

    return run


@pytest.mark.parametrize(
    ("command", "arguments"),
    [(evaluate, ["--task", "retrieval", "--json"]), (explain, ["image.jpg", "--caption", "a star", "--out"])],
)
def test_a_place_that_cannot_be_written_is_told_before_the_work(monkeypatch, tmp_path, command, arguments):
    monkeypatch.setattr("sys.argv", ["gshn", "--checkpoint", "nowhere", *arguments, str(tmp_path)])
    with pytest.raises(GSHNError, match="is a folder; name a file in it"):
        command.main()


def test_other_segments(run):
    truth, superpixels = run(), run("data.pairs.segmenter=superpixels")
    assert truth.keys() == superpixels.keys() and "retrieval.caption4.t2i_r10" in truth
    assert truth["firing_rate"] != superpixels["firing_rate"]


def test_a_trained_models_own_keys_are_settled(run):
    with pytest.raises(ConfigError, match=r"override model.width=3: a trained model's own keys are settled"):
        run("model.width=3")


def test_segments_of_unknown_categories_are_regions_without_a_name(finished, caplog):
    model = GSHN.from_pretrained(finished)
    corpora = Corpora(model.config, model.vocabulary)
    known = model.vocabulary.categories
    with caplog.at_level(logging.WARNING):
        positions = corpora._positions([Category(1, known[3], True), Category(2, "giraffe", True)])
    assert positions.tolist() == [3, known.index("region")]
    assert "does not know 1 of the segmenter's 2 categories, e.g. giraffe" in caplog.text
