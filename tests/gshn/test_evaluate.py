"""``python -m gshn.evaluate`` on other data than the checkpoint was trained on."""

import json
import logging
from pathlib import Path

import official
import pytest
from PIL import Image

from gshn import evaluate, explain
from gshn.errors import ConfigError, DataError
from gshn.model import GSHN
from gshn.segments.panoptic import Category
from gshn.training.corpora import Corpora
from neuromorphic.errors import ArgumentError, UserError


@pytest.fixture
def run(monkeypatch, finished, cache, tmp_path):
    def run(*arguments, task="retrieval"):
        path = tmp_path / "figures.json"
        command = ["gshn.evaluate", "--checkpoint", str(finished), "--task", task, "--json", str(path)]
        monkeypatch.setattr("sys.argv", [*command, cache, *map(str, arguments)])
        evaluate.main()
        return json.loads(path.read_text())

    return run


@pytest.mark.parametrize(
    ("command", "arguments"),
    [(evaluate, ["--task", "retrieval", "--json"]), (explain, ["image.jpg", "--caption", "a star", "--out"])],
)
def test_a_place_that_cannot_be_written_is_told_before_the_work(monkeypatch, tmp_path, command, arguments):
    monkeypatch.setattr("sys.argv", ["gshn", "--checkpoint", "nowhere", *arguments, str(tmp_path)])
    with pytest.raises(UserError, match="is a folder; name a file in it"):
        command.main()


def test_other_segments(run):
    truth, superpixels = run(), run("data.pairs.segmenter=superpixels")
    assert truth.keys() == superpixels.keys() and "retrieval.caption4.t2i_r10" in truth
    assert truth["firing_rate"] != superpixels["firing_rate"]


def test_retrieval_among_photographs_of_another_data_set(run, tmp_path):
    root = official.coco(official.coco(tmp_path / "coco"), "train", count=5)
    for path in root.glob("annotations/panoptic*.json"):
        path.unlink()
    for number in range(1, 6):
        official.jpeg(root / f"train2017/{number:012d}.jpg", 10 + number)
    other = (f"data.pairs.source=coco:{root}", "data.pairs.segmenter=superpixels", "data.pairs.test=null")
    parts = [run(*other, "--split", split) for split in ("val", "train", "train+val")]
    # Among 3 or 5 photographs one's own is always one of five, among 8 it is not: chance is 5 in 8.
    assert [figures["retrieval.t2i_r5"] == 1 for figures in parts] == [True, True, False]
    assert parts[2]["split"] == "train+val" and parts[2]["retrieval.t2i_r10"] == 1
    with pytest.raises(ConfigError, match=r"split val\+test: these splits of coco:.* share images; name one"):
        run(*other, "--split", "val+test")


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


def test_answers_that_are_not_published_give_a_submission_and_no_figure(run, tmp_path):
    questions = [{"image_id": 9, "question": "Why?", "question_id": 10**12 + k} for k in range(3)]
    root = tmp_path / "vqa"
    official.write(root / "v2_OpenEnded_mscoco_test2015_questions.json", {"questions": questions})
    official.jpeg(root / "test2015/COCO_test2015_000000000009.jpg")
    with pytest.raises(DataError, match=r"the answers of split test are not published: .*--submission FILE"):
        run(f"data.questions.source=vqa2:{root}", task="vqa")
    path = tmp_path / "answers.json"
    figures = run("--submission", path, f"data.questions.source=vqa2:{root}", task="vqa")
    assert "vqa.accuracy" not in figures and "firing_rate" in figures
    rows = json.loads(path.read_text())
    assert [row["question_id"] for row in rows] == [10**12 + k for k in range(3)]
    assert all(row.keys() == {"question_id", "answer"} and isinstance(row["answer"], str) for row in rows)


def test_a_submission_goes_with_the_figures_of_answers_that_are_known(run, tmp_path, capsys):
    root = official.vqa2(tmp_path / "vqa", "val")
    figures = run("--submission", tmp_path / "a.json", f"data.questions.source=vqa2:{root}", task="vqa")
    assert figures["vqa.accuracy"] == 0, "no answer of easy-VQA is one of these"
    assert "answers to 4 of 4 texts" in capsys.readouterr().out


def test_what_has_no_submission(run, tmp_path):
    with pytest.raises(DataError, match="--submission: the texts of this source have no ids"):
        run("--submission", tmp_path / "a.json", task="vqa")
    with pytest.raises(ArgumentError, match="--submission needs a --task that has answers"):
        run("--submission", tmp_path / "a.json")
    assert not (tmp_path / "a.json").exists()


def test_pictures_that_were_trained_on(run, tmp_path):
    # easy-VQA's first training picture, under another name.
    import easy_vqa

    picture = min(easy_vqa.get_train_image_paths().items())[1]
    root = official.vqa2(tmp_path / "vqa", "val", numbers=(9, 25, 31))
    (root / "val2014/COCO_val2014_000000000025.jpg").write_bytes(Path(picture).read_bytes())
    source = f"data.questions.source=vqa2:{root}"
    with pytest.raises(
        DataError, match=r"1 of the 3 pictures of data.questions \(vqa2:.*25.jpg as .*/train/images/0.png"
    ):
        run(source, task="vqa")
    assert "vqa.accuracy" in run(source, "data.allow_overlap=true", task="vqa")
    assert "vqa.accuracy" in run("--split", "train", task="vqa"), "asked for by name"
    official.vqa2(root)
    (root / "train2014/COCO_train2014_000000000009.jpg").write_bytes(Path(picture).read_bytes())
    with pytest.raises(DataError, match=r"1 of the 2 pictures of data.questions \(vqa2:.*, train\)"):
        run(source, "--split", "train", task="vqa")


def test_a_gallery_beside_the_figures(run, tmp_path, capsys):
    picture = tmp_path / "gallery.png"
    figures = run("--gallery", picture, "data.pairs.test=6")
    assert Image.open(picture).format == "PNG" and f"{picture}: the queries" in capsys.readouterr().out
    assert figures["retrieval.i2t_r10"] == 1
    with pytest.raises(ArgumentError, match="--gallery needs --task retrieval and one split"):
        run("--gallery", picture, task="vqa")
