"""Captions of one's own: tables and JSON lines."""

import json

import official
import pytest

from gshn.config import CaptionFile, load_config
from gshn.data.caption_file import OwnCaptions, read_rows, split_by_share
from gshn.data.sources import open_source
from gshn.errors import ConfigError, DataError

ROWS = [("a.jpg", "A dog, wet"), ("b.jpg", 'A "cat"'), ("a.jpg", "Ein Hündchen"), ("sub/c.jpg", "A hen;\ton a tab")]


def quoted(text):
    return '"' + text.replace('"', '""') + '"'


FORMS = {
    "table.csv": "image,caption\n" + "".join(f"{image},{quoted(text)}\n" for image, text in ROWS),
    "table.tsv": "filepath\ttitle\n" + "".join(f"{image}\t{quoted(text)}\n" for image, text in ROWS),
    "excel.csv": ";file_name;text\r\n" + "".join(f"1;{image};{quoted(text)}\r\n" for image, text in ROWS) + ";;\r\n",
    "kaggle.csv": "image_name| comment_number| comment\n"
    + "".join(f"{image}| 0| {quoted(text)}\n" for image, text in ROWS),
    "rows.jsonl": "".join(json.dumps({"file": image, "text": text}) + "\n" for image, text in ROWS),
    "lists.ndjson": "\n".join(
        json.dumps({"image": image, "captions": [text for other, text in ROWS if other[-5:] == image[-5:]]})
        for image in ("a.jpg", "b.jpg", ".\\sub\\c.jpg")
    ),
}
EXPECTED = {"a.jpg": ["A dog, wet", "Ein Hündchen"], "b.jpg": ['A "cat"'], "sub/c.jpg": ["A hen;\ton a tab"]}


def photographs(folder):
    for seed, name in enumerate(("a.jpg", "b.jpg", "sub/c.jpg")):
        official.jpeg(folder / name, seed)
    return folder


def captions_of(path, split="train", form=None):
    data = OwnCaptions(path, split, form=form or CaptionFile(split="100/0/0"))
    return {str(p.relative_to(path.parent)): own for p, own in zip(data.paths, data.captions, strict=True)}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_captions(tmp_path, name):
    path = photographs(tmp_path) / name
    path.write_bytes(FORMS[name].encode())
    assert captions_of(path) == EXPECTED


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_encodings(tmp_path, encoding, caplog):
    path = photographs(tmp_path) / "table.csv"
    path.write_bytes(FORMS["table.csv"].replace("\n", "\r\n").encode(encoding))
    assert captions_of(path) == EXPECTED
    assert ("table.csv is not UTF-8 (line 4); it is read as cp1252" in caplog.text) == (encoding == "cp1252")


def test_columns_folder_and_splits_are_named(tmp_path):
    photographs(tmp_path / "photos")
    rows = ["a.jpg,x,A dog,TRAIN", "b.jpg,x,A cat,dev", "sub/c.jpg,x,A hen,test", "./a.jpg,x,Wet,train"]
    path = official.write(tmp_path / "table.csv", "\n".join(["photo,alt,what,set", *rows]))
    folder, caption = f"data.pairs.file.folder={tmp_path / 'photos'}", "data.pairs.file.caption_column=what"
    form = load_config("photographs", [folder, caption, "data.pairs.file.split=set"]).data.pairs.file
    found = {split: open_source(f"captions:{path}", split, form=form).captions for split in ("train", "val", "test")}
    assert found == {"train": [["A dog", "Wet"]], "val": [["A cat"]], "test": [["A hen"]]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ('[{"image": "a.jpg"}]', "is one JSON list; write JSON lines"),
        (
            "a.jpg,A dog\nb.jpg,A cat\n",
            r"has no column of images \(such as 'image'\): its first line has 'a.jpg', 'A dog'",
        ),
        ("image,words\na.jpg,A dog\n", "has no column of captions .*data.pairs.file.caption_column=NAME"),
        ("image,path,caption\na.jpg,a.jpg,A dog\n", "'image' and 'path' could each be the image"),
        ("image,caption\na.jpg,A dog, wet\n", "line 2 has 3 columns, the first line 2; quote a text that has ','"),
        ('image,caption\na.jpg,"A dog\nb.jpg,A cat\n', "the row at line 2 cannot be read .*quote a field"),
        ("image,caption\n,A dog\n", "line 2 is not as it should be .it names no image"),
        ("image,caption,split\na.jpg,A dog,holdout\n", "line 2 has the split 'holdout', which is none of train"),
        ("image,caption,split\na.jpg,A,train\n\na.jpg,B,test\n", "line 4 puts a.jpg in test, another line in train"),
        ('{"image": "a.jpg", "caption": "A"}\n{"image": "b.jpg"}', "line 2 has no 'caption'"),
        ('{"image": "a.jpg", "caption": 7}', "line 1 is not as it should be .7 is not a text"),
        ('{"image": "a.jpg", "caption": "A"}\n["b.jpg"]', "line 2 is not a JSON object"),
        ('{"image": "a.jpg", "caption": "A"', "line 1 is not a complete JSON object"),
        ("image,caption\nz.jpg,A dog\n", r"z.jpg, like all images of .* \(1\), is missing; name the folder"),
        ("image,caption\na.jpg,A \0dog\n", "is not a text: line 2 has a null character"),
    ],
)
def test_what_does_not_fit_is_one_line(tmp_path, content, message):
    path = official.write(photographs(tmp_path) / "table", content)
    form = CaptionFile(split=None if "split" in content else "100/0/0")
    with pytest.raises(DataError, match=message) as error:
        captions_of(path, form=form)
    assert path.name in str(error.value)


def test_columns_and_splits_that_are_not_there(tmp_path):
    path = official.write(photographs(tmp_path) / "table.csv", "image,caption,split\na.jpg,A dog,train\n")
    with pytest.raises(DataError, match="has no column 'words'"):
        read_rows(path, caption_column="words")
    with pytest.raises(DataError, match=r"has no column 'fold': .*data.pairs.file.split=NAME"):
        OwnCaptions(path, "train", form=CaptionFile(split="fold"))
    with pytest.raises(DataError, match=r"has no image in test \(1 in train, 0 in val, 0 in test\)"):
        OwnCaptions(path, "test")
    with pytest.raises(DataError, match=r"has 1 image, too few for 3 splits"):
        OwnCaptions(path, "test", form=CaptionFile(split="80/10/10"))
    with pytest.raises(ConfigError, match="has no split 'fold'"):
        OwnCaptions(path, "fold")
    with pytest.raises(DataError, match=r"nowhere.csv is missing"):
        open_source("captions:nowhere.csv", "train")
    with pytest.raises(ConfigError, match=r"'data.pairs.file.split' is '80/30/10': give percent"):
        load_config("photographs", ["data.pairs.file.split=80/30/10"])


def test_empty_captions_are_told_and_left_out(tmp_path, caplog):
    path = official.write(photographs(tmp_path) / "table.csv", "image,caption\na.jpg,A dog\na.jpg,  \nb.jpg,\n")
    assert captions_of(path) == {"a.jpg": ["A dog"]}
    assert "table.csv: 2 empty captions of train are left out" in caplog.text
    assert "table.csv: 1 image of train without a caption is left out" in caplog.text


class TestSplitByShare:
    def test_shares_hold_and_splits_are_of_images(self):
        images = [f"photos/{i}.jpg" for i in range(4000)]
        found = split_by_share(images, (0.8, 0.1, 0.1), "f")
        counts = [list(found.values()).count(split) for split in ("train", "val", "test")]
        assert sum(counts) == 4000 and counts == pytest.approx([3200, 400, 400], abs=80)

    def test_neither_order_nor_new_images_move_one(self):
        images = [f"{i}.jpg" for i in range(300)]
        found = split_by_share(images, (0.7, 0.2, 0.1), "f")
        assert split_by_share(images[::-1], (0.7, 0.2, 0.1), "f") == found
        more = split_by_share([*images, *(f"new{i}.jpg" for i in range(300))], (0.7, 0.2, 0.1), "f")
        assert {image: more[image] for image in images} == found

    @pytest.mark.parametrize("count", range(2, 30))
    def test_no_wanted_split_is_empty(self, count):
        for stem in range(20):
            images = [f"{stem}-{i}" for i in range(count)]
            for shares in [(0.8, 0.1, 0.1), (0.1, 0.1, 0.8), (0.9, 0, 0.1), (0, 0.99, 0.01), (1, 0, 0)]:
                wanted = {split for split, share in zip(("train", "val", "test"), shares, strict=True) if share}
                if count >= len(wanted):
                    assert set(split_by_share(images, shares, "f").values()) == wanted
