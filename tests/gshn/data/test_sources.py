"""Loaders of the field's data sets, on tiny data sets in their official formats and on real samples."""

import csv
import json
import logging
import shutil

import numpy as np
import official
import pytest
from PIL import Image

from gshn.config import load_config
from gshn.data.coco import CocoCaptions
from gshn.data.flickr import FLICKR8K, Flickr8k, Flickr30K
from gshn.data.image_files import read_lines
from gshn.data.nlvr2 import NLVR2
from gshn.data.snli_ve import SNLIVE
from gshn.data.sources import Texts, open_source
from gshn.data.visual_genome import VisualGenomeCaptions, split_of
from gshn.data.vqa2 import VQAv2
from gshn.errors import ConfigError, DataError
from gshn.registry import DATASETS
from gshn.segments.panoptic import Category
from gshn.training.corpora import Corpora

sample = pytest.mark.skipif(not official.SHARED.is_dir(), reason="the real samples (shared/data) are not at hand")


class TestCoco:
    def test_official_layout(self, tmp_path):
        data = CocoCaptions(official.coco(tmp_path), "val")
        assert len(data) == 3 and repr(data) == "CocoCaptions(COCO val: 3 images)"
        assert data.captions[1] == [f"A cat on grass, 2-{k}." for k in range(5)]
        assert data.categories == (Category(17, "cat", True), Category(193, "grass-merged", False))
        segments = data[1].panoptic
        assert [(s.id, s.category_id, s.area, s.iscrowd) for s in segments.segments] == [
            (300, 17, 100, True),
            (7_000_000, 193, 1099, False),
        ]

    @pytest.mark.parametrize(
        ("before", "after"),
        [("val2017", "images/val2017"), ("val2017", "images"), ("annotations/panoptic_val2017", "panoptic")],
    )
    def test_other_places(self, tmp_path, before, after):
        official.coco(tmp_path)
        (tmp_path / after).parent.mkdir(exist_ok=True)
        (tmp_path / before).rename(tmp_path / after)
        data = CocoCaptions(tmp_path, "val")
        assert data[0].panoptic is not None and len(data) == 3

    def test_2014_without_panoptic(self, tmp_path):
        official.coco(tmp_path, "train", year="2014")
        (tmp_path / "annotations/panoptic_train2014.json").unlink()
        data = CocoCaptions(tmp_path, "train")
        assert len(data) == 3 and data.categories == () and data[0].panoptic is None

    def test_scaled_down_with_its_segments(self, tmp_path):
        data = CocoCaptions(official.coco(tmp_path), "val", image_size=20)
        item = data[0]
        assert item.image.shape == (15, 20, 3) == (*item.panoptic.segment_map.shape, 3)
        item.panoptic.validate()
        assert item.panoptic.segments[0].area == 25
        assert data.key != CocoCaptions(tmp_path, "val").key

    def test_karpathy_split(self, tmp_path):
        official.coco(tmp_path, "val", year="2014")
        entries = [
            {"filename": f"{i:012d}.jpg", "filepath": "val2014", "split": split, "texts": [f"text {i}"]}
            for i, split in ((1, "train"), (2, "restval"), (3, "test"))
        ]
        official.karpathy(tmp_path / "annotations/dataset_coco.json", entries)
        assert CocoCaptions(tmp_path, "train").captions == [["text 1"], ["text 2"]]
        assert CocoCaptions(tmp_path, "test").captions == [["text 3"]]

    def test_rows_of_one_image_are_joined_and_an_image_in_two_splits_is_refused(self, tmp_path):
        official.coco(tmp_path, "val", year="2014")
        rows = [{"filename": f"{i % 3 + 1:012d}.jpg", "filepath": "val2014", "split": "train"} for i in range(15)]
        path = official.karpathy(
            tmp_path / "dataset_coco.json", [row | {"texts": [f"text {i}"]} for i, row in enumerate(rows)]
        )
        captions = CocoCaptions(tmp_path, "train").captions
        assert captions == [[f"text {i}" for i in range(k, 15, 3)] for k in range(3)]
        official.karpathy(
            path, [row | {"texts": ["a"], "split": s} for row, s in zip(rows[::3], ("restval", "test"), strict=False)]
        )
        with pytest.raises(DataError, match=r"000000000001.jpg is in train and in test; an image belongs to one split"):
            CocoCaptions(tmp_path, "train")

    def test_captions_of_images_that_are_listed_twice(self, tmp_path):
        path = official.coco(tmp_path) / "annotations/captions_val2017.json"
        content = json.loads(path.read_text())
        listed, captions = content["images"], content["annotations"]
        # One row a caption: image 1 is listed under the ids 1, 2 and 3.
        official.write(
            path, {"images": [e | {"file_name": listed[0]["file_name"]} for e in listed], "annotations": captions}
        )
        (joined,) = CocoCaptions(tmp_path, "val").captions
        assert joined == [f"A cat on grass, {i}-{k}." for i in (1, 2, 3) for k in range(5)]
        official.write(path, {"images": [*listed, listed[0]], "annotations": captions})
        assert CocoCaptions(tmp_path, "val").captions[0] == [f"A cat on grass, 1-{k}." for k in range(5)]
        official.write(path, {"images": [*listed, listed[0] | {"id": 2}], "annotations": captions})
        with pytest.raises(DataError, match=r"images 000000000002.jpg and 000000000001.jpg have one id, 2"):
            CocoCaptions(tmp_path, "val")

    def test_which_of_two_splits_is_used_is_told_with_counts(self, tmp_path, caplog):
        official.coco(tmp_path, "val")
        entry = {"filename": f"{3:012d}.jpg", "filepath": "val2017", "split": "val", "texts": ["text"]}
        path = official.karpathy(tmp_path / "dataset_coco.json", [entry])
        assert len(CocoCaptions(tmp_path, "val")) == 1
        told = (
            f"{path} says which images are val: 1; {tmp_path}/annotations/captions_val2017.json names 3, 1 of them the"
        )
        assert told in caplog.text

    def test_an_unknown_category(self, tmp_path):
        path = official.coco(tmp_path) / "annotations/panoptic_val2017.json"
        content = json.loads(path.read_text())
        content["annotations"][1]["segments_info"][0]["category_id"] = 99
        official.write(path, content)
        data = CocoCaptions(tmp_path, "val")
        with pytest.raises(DataError, match=r"000000000002.jpg has segment 300 of category 99, which the annotation"):
            data[1]
        assert data[0].panoptic is not None

    def test_an_empty_mask(self, tmp_path):
        path = official.coco(tmp_path) / "annotations/panoptic_val2017/000000000001.png"
        Image.fromarray(np.zeros((30, 40, 3), dtype=np.uint8)).save(path)
        with pytest.raises(DataError, match=r"000000000001.png: segment 300 of the annotation has no pixel"):
            CocoCaptions(tmp_path, "val")[0]

    def test_what_is_missing_is_named(self, tmp_path):
        with pytest.raises(
            DataError, match=r"captions_val2017.json is missing; COCO has it in annotations_trainval2017"
        ):
            CocoCaptions(tmp_path, "val")
        official.coco(tmp_path)
        shutil.rmtree(tmp_path / "annotations/panoptic_val2017")
        with pytest.raises(DataError, match=r"panoptic_val2017 is missing; COCO has it in panoptic_annotations"):
            CocoCaptions(tmp_path, "val")
        shutil.rmtree(tmp_path / "val2017")
        with pytest.raises(
            DataError, match=r"panoptic_val2017 is missing|like all images of captions_val2017.json \(3\)"
        ):
            CocoCaptions(tmp_path, "val")
        with pytest.raises(ConfigError, match="COCO has no split 'validation'; choose one of train, val, test"):
            CocoCaptions(tmp_path, "validation")

    @sample
    def test_real_images(self):
        data = open_source(f"coco:{official.SHARED / 'coco_panoptic_sample'}", "val", image_size=320)
        assert len(data) == 16 and all(len(captions) >= 5 for captions in data.captions)
        assert len(data.categories) == 133
        for i in range(len(data)):
            item = data[i]
            item.panoptic.validate()
            assert max(item.image.shape) == 320 and item.panoptic.segment_map.shape == item.image.shape[:2]


def test_the_switch_of_orientation(tmp_path):
    root = official.coco(tmp_path, count=1)
    path = root / "val2017/000000000001.jpg"
    picture = Image.open(path)
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(path, exif=exif)
    sizes = {}
    for upright in (True, False):
        corpora = Corpora(load_config("default", [f"data.pairs.source=coco:{root}", f"data.upright={upright}"]))
        sample = corpora.images("val", 1)[0]
        sizes[upright] = sample.image.shape[:2]
        assert sample.panoptic.segment_map.shape == sizes[upright]
    assert sizes == {True: (40, 30), False: (30, 40)}


class TestFlickr:
    def test_flickr8k(self, tmp_path):
        official.flickr8k(tmp_path)
        train, val, test = (Flickr8k(tmp_path, split) for split in ("train", "val", "test"))
        assert [len(part) for part in (train, val, test)] == [2, 1, 1]
        assert test.captions[0][4] == "A dog number 3 , view 4 ."
        assert train[1].name.endswith("1001_ab1.jpg") and train.categories == ()
        assert len({part.key for part in (train, val, test)}) == 3
        assert len(Flickr8k(tmp_path, "train", limit=1).captions) == 1

    def test_the_official_token_file_has_one_wrong_name(self, tmp_path):
        path = official.flickr8k(tmp_path) / "Flickr8k.token.txt"
        rows = "".join(f"2258277193_586949ec62.jpg.1#{k}\tA person {k} .\n" for k in range(5))
        path.write_text(rows + path.read_text())
        assert [len(Flickr8k(tmp_path, split)) for split in ("train", "val", "test")] == [2, 1, 1]

    def test_kaggles_copy(self, tmp_path):
        tokens = official.flickr8k(tmp_path) / "Flickr8k.token.txt"
        expected = [Flickr8k(tmp_path, split).captions for split in ("train", "val", "test")]
        rows = [line.split("\t") for line in tokens.read_text().splitlines()]
        table = [f'{reference.partition("#")[0]},"{caption}"' for reference, caption in rows]
        tokens.unlink()
        official.write(tmp_path / "captions.txt", "\n".join(["image,caption", *table]))
        (tmp_path / "Flicker8k_Dataset").rename(tmp_path / "Images")
        assert [Flickr8k(tmp_path, split).captions for split in ("train", "val", "test")] == expected
        (tmp_path / "Flickr_8k.testImages.txt").unlink()
        mend = f"data.pairs.source=captions:{tmp_path}/captions.txt data.pairs.file.folder={tmp_path}/Images"
        with pytest.raises(DataError, match=r"captions.txt has no splits; Flickr8k has them in") as error:
            Flickr8k(tmp_path, "test")
        assert str(error.value).endswith(mend)

    def test_which_of_two_splits_is_used_is_told_with_counts(self, tmp_path, caplog):
        official.flickr8k(tmp_path)
        entry = {"filename": "1000_ab0.jpg", "split": "train", "texts": ["text"]}
        path = official.karpathy(tmp_path / "dataset_flickr8k.json", [entry])
        assert Flickr8k(tmp_path, "train").captions == Flickr8k(tmp_path, "train").captions == [["text"]]
        assert [record.getMessage() for record in caplog.records] == [
            f"{path} says which images are train: 1; {tmp_path}/Flickr_8k.trainImages.txt names 2, 1 of them the same, "
            "and is not used: move away the one that is wrong"
        ]

    @sample
    def test_kaggles_copy_of_the_real_captions(self, tmp_path):
        root = official.SHARED / "flickr8k"
        for name in ("Images", "Flickr_8k.testImages.txt"):
            (tmp_path / name).symlink_to(root / name)
        with (tmp_path / "captions.txt").open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["image", "caption"])
            for line in (root / "Flickr8k.token.txt").read_text().splitlines():
                reference, _, caption = line.partition("\t")
                writer.writerow([reference.partition("#")[0], caption])
        assert Flickr8k(tmp_path, "test").captions == Flickr8k(root, "test").captions

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    def test_encodings_and_line_ends(self, tmp_path, encoding, end, caplog):
        official.flickr8k(tmp_path)
        caption = "Ein Hündchen \u2013 naß" if encoding == "cp1252" else "Ein\u2028Hündchen \x85 naß"
        lines = ["1002_ab2.jpg#0\tnone", f"1003_ab3.jpg#0\t{caption}"]
        (tmp_path / "Flickr8k.token.txt").write_bytes((end.join(lines) + end).encode(encoding))
        (tmp_path / "Flickr_8k.testImages.txt").write_bytes(f"1003_ab3.jpg{end}".encode(encoding))
        assert Flickr8k(tmp_path, "test").captions == [[caption]]
        numbered = read_lines(tmp_path / "Flickr8k.token.txt", FLICKR8K, "")
        assert [number for number, _ in numbered] == [1, 2], "an editor's line numbers"
        told = [r.getMessage() for r in caplog.records if "cp1252" in r.getMessage()]
        assert len(told) == (encoding == "cp1252") and all("token.txt is not UTF-8 (line 2)" in line for line in told)

    def test_a_broken_byte_of_utf_8_is_not_taken_for_another_encoding(self, tmp_path):
        official.flickr8k(tmp_path)
        content = "1003_ab3.jpg#0\tHündchen\n1003_ab3.jpg#1\tÜbermut\n".encode()
        (tmp_path / "Flickr8k.token.txt").write_bytes(content.replace("Ü".encode(), b"\xc3\xff"))
        with pytest.raises(DataError, match=r"token.txt is broken at line 2: it is not UTF-8 there; get it again"):
            Flickr8k(tmp_path, "test")

    @pytest.mark.parametrize("images", ["flickr30k-images", "images"])
    def test_flickr30k_by_karpathy(self, tmp_path, images):
        entries = [
            {"filename": f"{i}.jpg", "split": ["train", "val", "test"][i % 3], "texts": [f"t{i}"]} for i in range(6)
        ]
        official.karpathy(tmp_path / "dataset_flickr30k.json", entries)
        for i in range(6):
            official.jpeg(tmp_path / images / f"{i}.jpg", i)
        assert Flickr30K(tmp_path, "test").captions == [["t2"], ["t5"]]

    def test_flickr30k_by_token_file(self, tmp_path):
        official.write(tmp_path / "results_20130124.token", "1.jpg#0\tA man .\n2.jpg#0\tA cat .\n2.jpg#1\tA pet .\n")
        official.write(tmp_path / "val.txt", "2\n")
        official.jpeg(tmp_path / "flickr30k-images/2.jpg")
        assert Flickr30K(tmp_path, "val").captions == [["A cat .", "A pet ."]]
        with pytest.raises(DataError, match=r"train.txt is missing; Flickr30K has it in"):
            Flickr30K(tmp_path, "train")

    def test_absent_images_are_left_out_with_one_line(self, tmp_path, caplog):
        official.flickr8k(tmp_path)
        (tmp_path / "Flicker8k_Dataset/1000_ab0.jpg").unlink()
        with caplog.at_level(logging.WARNING):
            data = Flickr8k(tmp_path, "train")
        assert len(data) == 1 and data.captions[0][0].startswith("A dog number 1")
        (record,) = caplog.records
        assert "Flickr8k.token.txt: 1 of 2 images is absent, e.g." in record.getMessage()

    def test_bad_files(self, tmp_path):
        with pytest.raises(DataError, match=r"trainImages.txt is missing; Flickr8k has it in Flickr8k_text.zip"):
            Flickr8k(tmp_path, "train")
        official.flickr8k(tmp_path)
        shutil.rmtree(tmp_path / "Flicker8k_Dataset")
        with pytest.raises(
            DataError, match=r"like all images of Flickr8k.token.txt \(2\), is missing; .*Flickr8k_Dataset.zip"
        ):
            Flickr8k(tmp_path, "train")
        official.write(tmp_path / "Flickr8k.token.txt", "1000_ab0.jpg#0\tA dog .\nnonsense\n")
        with pytest.raises(DataError, match=r"token.txt: line 2 is not of the form name.jpg#0<TAB>caption: 'nonsense'"):
            Flickr8k(tmp_path, "train")
        official.write(tmp_path / "Flickr8k.token.txt", "1000_ab0.jpg#0\tA dog .\n")
        with pytest.raises(DataError, match=r"has no caption of 1001_ab1.jpg, which the split lists \(1 such"):
            Flickr8k(tmp_path, "train")

    @pytest.mark.parametrize("content", ['{"images": [{"filename": "a', "", "[]", '{"images": [{"split": "train"}]}'])
    def test_broken_json_is_one_clear_line(self, tmp_path, content):
        official.write(tmp_path / "dataset_flickr30k.json", content)
        pattern = r"json is not complete JSON|has no 'images'|images\[0\] has no key 'sentences'"
        with pytest.raises(DataError, match=pattern) as error:
            Flickr30K(tmp_path, "train")
        assert "dataset_flickr30k.json" in str(error.value)

    def test_a_broken_jpeg(self, tmp_path):
        official.flickr8k(tmp_path)
        path = tmp_path / "Flicker8k_Dataset/1001_ab1.jpg"
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(DataError, match=r"1001_ab1.jpg (is broken|is not an image)|image .*1001_ab1.jpg is broken"):
            Flickr8k(tmp_path, "train")[1]

    @sample
    def test_real_photographs(self):
        sizes = []
        for split in ("train", "val", "test"):
            data = open_source(f"flickr8k:{official.SHARED / 'flickr8k_small'}", split)
            sizes.append(len(data))
            assert all(len(captions) == 5 for captions in data.captions)
            assert max(data[0].image.shape) == 224
        assert sizes == [800, 100, 100]


def test_visual_genome(tmp_path):
    official.visual_genome(tmp_path, range(1, 81))
    parts = {split: VisualGenomeCaptions(tmp_path, split) for split in ("train", "val", "test")}
    assert sum(map(len, parts.values())) == 80 and len(parts["train"]) > 60
    number = int(parts["train"].paths[3].stem)
    assert parts["train"].captions[3] == ["a tall tree", f"sign {number}"] and split_of(number) == "train"
    path = tmp_path / "region_descriptions.json"
    content = json.loads(path.read_text())
    rows = [{"id": entry["id"], "regions": [region]} for entry in content for region in entry["regions"]]
    official.write(path, rows)
    assert VisualGenomeCaptions(tmp_path, "train").captions == parts["train"].captions, "one row a phrase"
    shares = [split_of(i) for i in range(20000)]
    assert shares.count("val") / 20000 == pytest.approx(0.025, abs=0.005)


class TestVQAv2:
    def test_official_layout(self, tmp_path):
        data = VQAv2(official.vqa2(tmp_path), "train")
        assert len(data) == 2 and len(data.questions) == 4
        question = data.questions[2]
        assert (question.text, question.image_index, question.id) == ("What is 0?", 1, "25000")
        assert question.answers == tuple(official.TEN), "as people gave them"
        assert len(VQAv2(tmp_path, "train", limit=1).questions) == 2

    def test_test_has_no_answers_and_falls_back_to_val(self, tmp_path, caplog):
        official.vqa2(tmp_path, "val")
        assert VQAv2(tmp_path, "test").questions[0].answers
        assert f"{tmp_path} has no questions of test2015; those of val2014 are taken for test" in caplog.text
        questions = [{"image_id": 9, "question": "Why?", "question_id": 9000}]
        official.write(tmp_path / "v2_OpenEnded_mscoco_test2015_questions.json", {"questions": questions})
        official.jpeg(tmp_path / "test2015/COCO_test2015_000000000009.jpg")
        (question,) = VQAv2(tmp_path, "test").questions
        assert question.answers == () and question.text == "Why?"

    def test_two_lists_of_answers(self, tmp_path):
        path = official.vqa2(tmp_path) / "v2_mscoco_train2014_annotations.json"
        content = json.loads(path.read_text())
        content["annotations"].append(content["annotations"][0] | {"answers": [{"answer": "mesh"}]})
        official.write(path, content)
        with pytest.raises(DataError, match=r"annotations.json has two lists of answers to question 25001"):
            VQAv2(tmp_path, "train")

    def test_missing_files_are_named(self, tmp_path):
        with pytest.raises(
            DataError, match=r"v2_OpenEnded_mscoco_train2014_questions.json is missing; VQA v2 has it in"
        ):
            VQAv2(tmp_path, "train")
        official.vqa2(tmp_path)
        (tmp_path / "v2_mscoco_train2014_annotations.json").unlink()
        with pytest.raises(DataError, match=r"v2_mscoco_train2014_annotations.json is missing"):
            VQAv2(tmp_path, "train")

    @sample
    def test_real_rows(self):
        data = open_source(f"vqa2:{official.SHARED / 'vl_samples' / 'vqav2'}", "train")
        assert len(data.questions) == 3 and all(len(question.answers) == 10 for question in data.questions)
        assert data[0].image.ndim == 3


class TestSNLIVE:
    def test_official_layout(self, tmp_path, caplog):
        with caplog.at_level(logging.WARNING):
            data = SNLIVE(official.snli_ve(tmp_path), "val")
        assert "1 pair without a gold label is left out" in caplog.text
        assert [(h.text, h.label, h.image_index) for h in data.hypotheses] == [
            ("Somebody rests 0.", "entailment", 0),
            ("Somebody rests 1.", "neutral", 0),
            ("Somebody rests 2.", "contradiction", 0),
            ("Somebody rests 4.", "entailment", 1),
            ("Somebody rests 5.", "neutral", 1),
        ]

    def test_bad_files(self, tmp_path):
        with pytest.raises(DataError, match=r"snli_ve_train.jsonl is missing; SNLI-VE has it in"):
            SNLIVE(tmp_path, "train")
        path = official.snli_ve(tmp_path) / "snli_ve_dev.jsonl"
        path.write_text(path.read_text().replace('"gold_label": "neutral"', '"gold_label": "maybe"', 1))
        with pytest.raises(DataError, match=r"pair 100.jpg#0r1n has gold_label 'maybe', not one of entailment"):
            SNLIVE(tmp_path, "val")
        path.write_text(path.read_text()[:-20])
        with pytest.raises(DataError, match=r"snli_ve_dev.jsonl is not complete JSON .* at line 6"):
            SNLIVE(tmp_path, "val")

    @sample
    def test_real_rows(self):
        data = open_source(f"snli-ve:{official.SHARED / 'vl_samples' / 'snli_ve'}", "test")
        assert len(data.hypotheses) == 16 and {h.label for h in data.hypotheses} <= {
            "entailment",
            "neutral",
            "contradiction",
        }

    def test_val_is_cut_from_train_by_photograph_where_no_file_has_it(self, tmp_path):
        root = official.snli_ve(tmp_path, "train")
        parts = [SNLIVE(root, split) for split in ("train", "val")]
        assert [len(part) for part in parts] == [1, 1] and sum(len(part.hypotheses) for part in parts) == 5
        assert {parts[0].paths[0].name, parts[1].paths[0].name} == {"100.jpg", "101.jpg"}
        official.snli_ve(tmp_path)
        assert [len(SNLIVE(root, split).hypotheses) for split in ("train", "val")] == [5, 5]

    def test_photographs_of_another_data_set(self, tmp_path, caplog):
        root = official.snli_ve(tmp_path / "rows", "train")
        (root / "snli_ve_dev.jsonl").symlink_to("snli_ve_train.jsonl")
        (root / "flickr30k-images").rename(tmp_path / "Images")
        data = open_source(f"snli-ve:{root}", "train", photographs=tmp_path / "Images")
        assert [path.parent.name for path in data.paths] == ["Images"] * 2 and len(data.hypotheses) == 5
        (tmp_path / "Images/101.jpg").unlink()
        data = open_source(f"snli-ve:{root}", "train", photographs=tmp_path / "Images")
        assert len(data) == 1 and {h.image_index for h in data.hypotheses} == {0}
        assert "snli_ve_train.jsonl: 1 of 2 images is absent, e.g." in caplog.text
        mend = r"name the folder that the images' paths start from: data.hypotheses.images=DIR"
        with pytest.raises(DataError, match=rf"nowhere/100.jpg, like all images of .* \(2\), is missing; {mend}"):
            open_source(f"snli-ve:{root}", "train", photographs=tmp_path / "nowhere")

    @sample
    @pytest.mark.parametrize(("split", "rows"), [("train", 1901), ("val", 364), ("test", 2224)])
    def test_real_rows_over_photographs_of_flickr8k(self, split, rows):
        source, images = (official.SHARED / name for name in ("snli_ve_flickr8k", "flickr8k/Images"))
        config = load_config(
            "photographs", [f"data.hypotheses.source=snli-ve:{source}", f"data.hypotheses.images={images}"]
        )
        data = Corpora(config).task_images("entailment", split, None)
        assert len(data.hypotheses) == rows and all(path.parent == images for path in data.paths)


class TestNLVR2:
    @pytest.mark.parametrize(("split", "file"), [("val", "dev"), ("train", "train")])
    def test_official_layout(self, tmp_path, split, file):
        data = NLVR2(official.nlvr2(tmp_path, file), split)
        assert len(data) == 6 and [s.label for s in data.statements] == [False, True, False]
        statement = data.statements[1]
        left, right = (data[i] for i in statement.image_indices)
        assert left.name.endswith(f"{file}-850-1-img0.png") and right.name.endswith("-img1.png")
        assert statement.text == "The left image has 1 bottles." and statement.id == f"{file}-850-1-0"

    def test_pairs_with_an_absent_image_are_left_out(self, tmp_path, caplog):
        official.nlvr2(tmp_path)
        (tmp_path / "images/dev/dev-850-1-img1.png").unlink()
        data = NLVR2(tmp_path, "val")
        assert [s.id for s in data.statements] == ["dev-850-0-0", "dev-850-2-0"]
        assert "1 of 6 images is absent" in caplog.text

    def test_bad_label(self, tmp_path):
        path = official.nlvr2(tmp_path) / "data/dev.json"
        path.write_text(path.read_text().replace('"label": "True"', '"label": 1'))
        with pytest.raises(DataError, match=r"dev.json: line\[1\] is not as it should be \(label 1 is neither"):
            NLVR2(tmp_path, "val")

    @sample
    def test_real_rows(self):
        data = open_source(f"nlvr2:{official.SHARED / 'vl_samples' / 'nlvr2'}", "val")
        assert len(data.statements) == 8 and len(data) == 8
        assert all(data[i].image.ndim == 3 for i in range(len(data)))


def test_sources_by_name(tmp_path):
    for source in ("imagenet:/x", "coco", "coco:", "easyvqa:/x"):
        with pytest.raises(ConfigError, match=rf"no data set '{source}'; choose one of captions:FILE, coco:DIR,"):
            open_source(source, "train")
    names = [kind.name for kind in DATASETS.kinds.values() if kind.form.endswith(":DIR")]
    assert len(names) == 8
    for name in names:
        with pytest.raises(DataError, match=r"folder .*nowhere is missing; .* from \S"):
            open_source(f"{name}:{tmp_path / 'nowhere'}", "train")
        with pytest.raises(ConfigError, match="no split 'dev'"):
            open_source(f"{name}:{tmp_path}", "dev")


def test_texts_are_stored_with_their_image(tmp_path):
    nlvr2 = Texts(open_source(f"nlvr2:{official.nlvr2(tmp_path / 'a')}", "val"))
    assert [len(nlvr2(i)["statements"]) for i in range(6)] == [1, 0, 1, 0, 1, 0]
    vqa = Texts(open_source(f"vqa2:{official.vqa2(tmp_path / 'b')}", "train"))
    assert [question["id"] for question in vqa(1)["questions"]] == ["25000", "25001"]
    assert json.loads(json.dumps(vqa(0))) is not None
    coco = Texts(open_source(f"coco:{official.coco(tmp_path / 'c')}", "val"))
    assert coco(2) == {"captions": [f"A cat on grass, 3-{k}." for k in range(5)]}
