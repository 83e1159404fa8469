"""Pictures in training and in test data."""

from pathlib import Path

import official
import pytest

from gshn.config import load_config
from gshn.data import overlap
from gshn.data.overlap import shared_pictures
from gshn.data.sources import open_source
from gshn.errors import DataError
from gshn.training.corpora import Corpora
from gshn.training.loop import Trainer


@pytest.fixture
def photographs(tmp_path):
    """Files 0 to 5, of which 4 and 5 are as long as 0; two links and a copy."""
    paths = [official.write(tmp_path / f"{i}.jpg", chr(97 + i) * (9000 + i)) for i in range(4)]
    paths.append(official.write(tmp_path / "4.jpg", "x" * 9000))
    paths.append(official.write(tmp_path / "5.jpg", "y" + "a" * 8999))  # the middle is as in 0
    (tmp_path / "link.jpg").symlink_to(paths[1])
    (tmp_path / "folder").symlink_to(tmp_path)
    (tmp_path / "copy.png").write_bytes(paths[2].read_bytes())
    return [str(path) for path in paths]


def test_one_file_a_link_and_a_copy_are_one_picture(photographs, tmp_path):
    link, copy, linked = (str(tmp_path / name) for name in ("link.jpg", "copy.png", "folder/3.jpg"))
    test = [photographs[0], link, copy, linked, *photographs[4:]]
    found = {photographs[0]: photographs[0], link: photographs[1], copy: photographs[2], linked: photographs[3]}
    assert shared_pictures(photographs[:4], test) == found
    assert shared_pictures(photographs[:4], photographs[4:]) == {}
    assert shared_pictures(photographs, []) == shared_pictures([], photographs) == {}


def test_files_that_are_gone_are_told_by_name(photographs):
    assert shared_pictures(["gone/1.jpg", "gone/7.jpg"], photographs) == {photographs[1]: "gone/1.jpg"}
    assert shared_pictures(photographs, ["gone/2.jpg", "else/2.jpg", "gone/9.jpg"]) == {
        "gone/2.jpg": photographs[2],
        "else/2.jpg": photographs[2],
    }
    assert shared_pictures(["a/1.jpg"], ["b/1.jpg"]) == {"b/1.jpg": "a/1.jpg"}


def test_only_files_that_may_be_the_same_are_read(photographs, tmp_path, monkeypatch):
    read = []
    for name in ("_sample", "_digest"):
        function = getattr(overlap, name)
        monkeypatch.setattr(overlap, name, lambda path, name=name, f=function: (read.append((name, path)), f(path))[1])
    assert shared_pictures(photographs[:4], photographs[4:]) == {}
    # 1, 2 and 3 have lengths of their own; 0 and 5 have the same middle; 4 has not.
    assert sorted({path[-5:] for name, path in read if name == "_sample"}) == ["0.jpg", "4.jpg", "5.jpg"]
    assert sorted(path[-5:] for name, path in read if name == "_digest") == ["0.jpg", "5.jpg"]


def corpora(tmp_path, *overrides):
    root = tmp_path / "data"
    if not root.exists():
        # Karpathy's split takes some of val2014 into training; VQA's val has them too.
        official.vqa2(root)
        official.vqa2(root, "val", numbers=(9, 25, 31))
        entries = [(f"COCO_val2014_{number:012d}.jpg", split) for number, split in ((9, "restval"), (25, "test"))]
        official.karpathy(
            root / "dataset_coco.json",
            [{"filename": name, "filepath": "val2014", "split": split, "texts": ["a"]} for name, split in entries],
        )
    sources = [f"data.pairs.source=coco:{root}", f"data.questions.source=vqa2:{root}", "finetune.tasks=[vqa]"]
    return Corpora(load_config("photographs", [*sources, f"data.cache={tmp_path / 'cache'}", *overrides]))


def test_captions_of_karpathys_split_and_questions_on_the_same_pictures(tmp_path, caplog):
    # The training pictures of VQA are bytes of numbers 9 and 25, as are two of val, drawn by the same seeds.
    with pytest.raises(DataError, match=r"set data.allow_overlap=true") as error:
        corpora(tmp_path).check_overlap()
    counts = [part.split(" (")[0] for part in str(error.value).split("; ")]
    assert counts[:3] == [
        "test pictures are trained on: 1 of the 1 pictures of data.pairs",
        "1 of the 3 pictures of data.questions",
        "2 of the 3 pictures of data.questions",
    ]
    corpora(tmp_path, "data.allow_overlap=true").check_overlap()
    assert caplog.text.count("test pictures are trained on") == 3
    corpora(tmp_path, "finetune.tasks=[]").check_overlap()


def test_a_run_does_not_start(tmp_path):
    with pytest.raises(DataError, match="test pictures are trained on"):
        Trainer(corpora(tmp_path).config, tmp_path / "run", resume=False)
    assert not (tmp_path / "cache").exists()


@pytest.mark.skipif(not official.SHARED.is_dir(), reason="the real samples (shared/data) are not at hand")
def test_real_photographs_of_two_data_sets(tmp_path):
    rows, photographs = official.SHARED / "snli_ve_flickr8k", official.SHARED / "flickr8k"
    (tmp_path / "snli_ve_test.jsonl").symlink_to(rows / "snli_ve_test.jsonl")
    (tmp_path / "flickr30k-images").symlink_to(photographs / "Images")
    train, test = open_source(f"flickr8k:{photographs}", "train"), open_source(f"snli-ve:{tmp_path}", "test")
    found = shared_pictures(map(str, train.paths), map(str, test.paths))
    listed = (rows / "test_photographs_in_flickr8k_train.txt").read_text().split()
    left = load_config(
        "photographs",
        [
            f"data.pairs.source=flickr8k:{photographs}",
            f"data.pairs.leave_out={rows / 'test_photographs_in_flickr8k_train.txt'}",
        ],
    )
    (pictures,) = Corpora(left).training_pictures()
    assert len(pictures.names) == 6000 - 536
    # One of them stands in Flickr8k twice, under another name, which the list does not have.
    again = shared_pictures(pictures.names, map(str, test.paths))
    assert [(Path(a).stem, Path(b).stem) for a, b in again.items()] == [
        ("2851198725_37b6027625", "3050606344_af711c726c")
    ]
    assert len(listed) == 536 and {Path(name).stem for name in found} == {Path(name).stem for name in listed}


def test_the_default_has_nothing_in_common():
    data = Corpora(load_config("default"))
    assert [len(p.names) for p in (*data.training_pictures(), *data.test_pictures(["retrieval", "vqa"]))] == [
        0,
        4000,
        0,
        1000,
    ]
    data.check_overlap()
