"""DAQUAR in each of its forms, tiny and real."""

import json

import numpy as np
import official
import pytest
from PIL import Image

from gshn.config import load_config
from gshn.data.daquar import DAQUAR, FORMS, HELD_OUT, LABELS, items
from gshn.data.sources import open_source
from gshn.errors import ConfigError, DataError, MissingError
from gshn.training.corpora import Corpora


def rows(data):
    return [(data.paths[q.image_index].stem, q.text, q.answers, q.id) for q in data.questions]


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_data_set(tmp_path, form):
    root = official.daquar(tmp_path, form)
    train, val, test = (DAQUAR(root, split) for split in ("train", "val", "test"))
    assert sorted(rows(train) + rows(val), key=lambda row: row[3]) == [
        ("image3", "what is on the desk", ("book, lamp",), "1"),
        ("image3", "what is the largest object", ("desk",), "2"),
        ("image9", "how many doors", ("2",), "3"),
        ("image12", "what is on the floor of the image behind the door", ("bag, shoe, shoe",), "4"),
        ("image20", "what is on the desk", ("book, lamp",), "5"),
    ]
    assert rows(test) == [("image1", "what is left of the oven", ("garbage_bin",), "1")]
    assert test[0].image.shape == (30, 40, 3)
    # By a digest of the name: the same in every form, and no photograph in both.
    assert [path.stem for path in val.paths] == ["image3"] and len(train) == 3
    assert train.key != val.key
    assert [question.id for question in DAQUAR(root, "train", limit=1).questions] == ["3"]


def test_a_file_of_the_split_val_is_read_where_there_is_one(tmp_path):
    root = official.daquar(tmp_path)
    official.write(root / "qa.894.raw.val.txt", "what is this in the image9 ?\ndoor\n")
    assert rows(DAQUAR(root, "val")) == [("image9", "what is this", ("door",), "1")]
    assert len(DAQUAR(root, "train").questions) == 5


def test_images_of_another_suffix_and_absent_ones(tmp_path, caplog):
    root = official.daquar(tmp_path)
    (root / "nyu_depth_images/image9.png").rename(root / "nyu_depth_images/image9.jpg")
    (root / "nyu_depth_images/image12.png").unlink()
    data = DAQUAR(root, "train")
    assert [path.name for path in data.paths] == ["image9.jpg", "image20.png"]
    assert "qa.894.raw.train.txt: 1 of 3 images is absent, e.g." in caplog.text


def test_which_of_two_forms_is_read_is_told(tmp_path, caplog):
    root = official.daquar(official.daquar(tmp_path), FORMS[1])
    official.write(root / "qa.894.raw.test.txt", "what is here in the image1 ?\noven\n")
    assert rows(DAQUAR(root, "test"))[0][2] == ("oven",)
    assert f"{root} has qa.894.raw.*.txt and qa.37.raw.*.txt; qa.894.raw.*.txt is read" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("what is here in the image1 ?\n", "the question on line 1 has no line of answers"),
        (
            "what is a in the image1 ?\nwhat is b in the image1 ?\noven\n",
            "the question on line 1 has no line of answers",
        ),
        ("what is a in the image1 ?\n,\n", "the question on line 1 has no line of answers"),
        ("what is here ?\noven\n", r"line 1 should be a question on an image, such as image3: 'what is here \?'"),
    ],
)
def test_broken_lines(tmp_path, content, message):
    root = official.daquar(tmp_path)
    official.write(root / "qa.894.raw.test.txt", content)
    with pytest.raises(DataError, match=rf"qa.894.raw.test.txt: {message}"):
        DAQUAR(root, "test")


@pytest.mark.parametrize(
    "row", [{"question": "a"}, {"answers": "oven"}, {"answers": []}, {"answers": [3]}, {"image": None}, {"question": 1}]
)
def test_broken_rows(tmp_path, row):
    root = official.daquar(tmp_path, FORMS[2])
    whole = {"image": "image1.jpg", "question": "a", "answers": ["oven"]}
    content = [whole, row if row == {"question": "a"} else whole | row]
    official.write(root / "qa_test.jsonl", "\n".join(map(json.dumps, content)))
    with pytest.raises(DataError, match=r"qa_test.jsonl: line\[1\] (has no key|is not as it should be)"):
        DAQUAR(root, "test")


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(MissingError, match=r"has none of qa.894.raw.train.txt, qa.37.raw.train.txt, qa_train.jsonl"):
        DAQUAR(tmp_path, "train")
    root = official.daquar(tmp_path)
    (root / "qa.894.raw.train.txt").unlink()
    with pytest.raises(MissingError, match=r"qa.894.raw.train.txt is missing; DAQUAR has it in"):
        DAQUAR(root, "val")
    (root / "nyu_depth_images/image1.png").unlink()
    with pytest.raises(
        MissingError, match=r"image1.png, like all images .* \(1\), is missing; .* nyu_depth_images.tar"
    ):
        DAQUAR(root, "test")


def test_items_are_taken_apart_as_the_official_evaluation_does():
    assert items("book, lamp ,table") == ["book", "lamp", "table"] and items(" , ") == []


def test_a_list_is_an_answer_of_the_classifier(tmp_path, caplog):
    root = official.daquar(tmp_path / "rooms")
    settings = [f"data.questions.source=daquar:{root}", "data.questions.image_size=48", "finetune.tasks=[vqa]"]
    data = Corpora(load_config("smoke", [*settings, "data.questions.train=null", f"data.cache={tmp_path / 'cache'}"]))
    corpus = data.texts("vqa")
    assert corpus.answer_lists and data.answers == {"vqa": ["2", "bag, shoe, shoe", "book, lamp"]}
    if corpus.wordnet is None:
        assert "WUPS is left out: it needs WordNet; install gshn[wups], or name the folder" in caplog.text
    missing = Corpora(load_config("smoke", [*settings, f"data.questions.wordnet={tmp_path}"]))
    with pytest.raises(DataError, match=r"index.noun cannot be read .*; WordNet's nouns are index.noun, data.noun"):
        missing.check_test()
    with pytest.raises(ConfigError, match="DAQUAR has no split 'dev'"):
        data.test_texts("vqa", "dev")


@pytest.mark.skipif(not official.SHARED.is_dir(), reason="the real samples (shared/data) are not at hand")
def test_real_questions():
    train, val, test = (
        open_source(f"daquar:{official.SHARED / 'daquar'}", split) for split in ("train", "val", "test")
    )
    # The official files' counts.
    assert len(train.questions) + len(val.questions) == 6795 and len(test.questions) == 5673
    assert [len(train) + len(val), len(test)] == [794, 653], "of 795 and 654 photographs two have no question"
    assert 0.7 * HELD_OUT < len(val) / 794 < 1.3 * HELD_OUT
    assert not {path.name for path in train.paths} & {path.name for path in (*val.paths, *test.paths)}
    asked = [question.text for data in (train, val, test) for question in data.questions]
    assert not any("?" in text or any(f"image{digit}" in text for digit in range(10)) for text in asked)
    assert max(test[0].image.shape) == 224


def labelled(root):
    """DAQUAR with a map of labels for one of its test photographs: a wall with two chairs and a speck, and void."""
    official.daquar(root)
    labels = np.full((60, 80), 12, np.uint8)
    labels[:, 70:] = 0
    labels[10:30, 4:24] = 4
    labels[30:50, 40:60] = 4
    labels[0, 0] = 7
    (root / LABELS).mkdir()
    Image.fromarray(labels).save(root / LABELS / "image1.png")
    return root, labels


def test_maps_of_labels_are_annotated_segments(tmp_path):
    root, _ = labelled(tmp_path)
    data = DAQUAR(root, "test")
    names = {category.id: category.name for category in data.categories}
    found = [(names[s.category_id], s.area, s.bbox) for s in data[0].panoptic.segments]
    # Scaled to half; the speck joins the wall, and what has no label is void.
    assert sorted(found) == [
        ("chair", 100, (2, 5, 10, 10)),
        ("chair", 100, (20, 15, 10, 10)),
        ("wall", 35 * 30 - 200, (0, 0, 35, 30)),
    ]
    assert data.files(0) == (root / "nyu_depth_images/image1.png", root / LABELS / "image1.png")
    assert [c.name for c in data.categories if not c.isthing] == ["ceiling", "floor", "wall"]
    assert DAQUAR(root, "train")[0].panoptic is None, "a photograph without a map"
    (root / LABELS).rename(root / "else")
    assert DAQUAR(root, "test").categories == () and DAQUAR(root, "test").key != data.key


def test_questions_can_be_asked_of_annotated_segments(tmp_path):
    root = official.labelled_daquar(tmp_path / "rooms", 4)
    settings = [f"data.questions.source=daquar:{root}", "data.questions.image_size=48", "finetune.tasks=[vqa]"]
    settings += [
        "data.questions.segmenter=ground-truth",
        "data.questions.test=null",
        f"data.cache={tmp_path / 'cache'}",
    ]
    data = Corpora(load_config("smoke", settings))
    graphs = data.test_texts("vqa", "test").graphs
    found = {data.categories[k] for index in range(4) for k in graphs[index].category.tolist()}
    assert found == {"books", "ceiling", "chair", "floor"}, "images 1 to 4 are of one class each"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda labels: labels + 100, r"image1.png is no map of the labels 0 to 13, one channel"),
        (lambda labels: np.stack([labels] * 3, axis=2), r"image1.png is no map of the labels 0 to 13, one channel"),
        (lambda labels: labels[:30], r"image1.png is 80 x 30 pixels, another shape than its image, 40 x 30"),
    ],
)
def test_maps_of_labels_that_cannot_be_used(tmp_path, change, message):
    root, labels = labelled(tmp_path)
    Image.fromarray(change(labels).astype(np.uint8)).save(root / LABELS / "image1.png")
    with pytest.raises(DataError, match=message):
        DAQUAR(root, "test")[0]


@pytest.mark.skipif(not official.SHARED.is_dir(), reason="the real samples (shared/data) are not at hand")
def test_real_maps_of_labels_have_things():
    data = DAQUAR(official.SHARED / "daquar", "test", 320)
    counts = [len(data[index].panoptic.segments) for index in range(0, len(data), 60)]
    assert all(data[index].panoptic.validate() is None for index in range(0, len(data), 200))
    assert 8 <= np.mean(counts) <= 20
